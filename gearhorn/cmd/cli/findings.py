# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The findings of ``gearhorn doctor``."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from gearhorn.service import advice

Level = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""The levels, worst first."""


class Check(NamedTuple):
    """A kind of finding.

    :param name: its name for scripts.
    :param level: its severity.
    """

    name: str
    level: Level


SERVER = Check("server", "error")
SERVER_UNSUPPORTED = Check("server-unsupported", "error")
SERVER_VERSION = Check("server-version", "note")
SERVER_OPTIONS = Check("server-options", "note")
SERVER_DROPS = Check("server-drops", "error")
FUNCTION = Check("function", "error")
FUNCTION_FULL = Check("function-full", "error")
STORE = Check("store", "error")
STORE_EVICTS = Check("store-evicts", "warning")
JOURNAL = Check("journal", "error")
JOURNAL_MEMORY = Check("journal-memory", "warning")
QUERY = Check("query", "error")
DAEMON_SERVERS = Check("daemon-servers", "error")
DAEMON_LATE = Check("daemon-late", "warning")
DAEMON_UNREACHABLE = Check("daemon-unreachable", "warning")
DAEMON_UNKNOWN = Check("daemon-unknown", "error")
DAEMON_WAITS = Check("daemon-waits", "error")
DAEMON_STORE = Check("daemon-store", "error")
DAEMON_SETTINGS = Check("daemon-settings", "error")
DAEMON_LIMITS = Check("daemon-limits", "warning")
DAEMON_LEFTOVER = Check("daemon-leftover", "note")
BACKLOG = Check("backlog", "warning")
QUEUE_FULL = Check("queue-full", "warning")
QUEUE_DEEP = Check("queue-deep", "note")
QUEUE_UNREAD = Check("queue-unread", "warning")
QUEUE_GROWS = Check("queue-grows", "warning")
QUEUE_HALF_READ = Check("queue-half-read", "warning")
QUEUE_UNREGISTERED = Check("queue-unregistered", "warning")
QUEUE_PERHAPS_UNREGISTERED = Check("queue-unregistered", "note")
"""One that may as well be another application's function."""
QUEUE_ORPHANED = Check("queue-orphaned", "warning")
QUEUE_FOREIGN = Check("queue-orphaned", "note")
"""An orphan that does not look like a subscriber's."""
COLLISION = Check("collision", "error")


@dataclass(frozen=True)
class Finding:
    """Something that an operator should know.

    :param subject: the server, function, daemon or queue in question.
    :param text: the state of things, in a sentence.
    :param advice: the remedy.
    :param anchor: that of the entry of the runbook, if it is not the check's.
    """

    check: Check
    subject: str
    text: str
    advice: str
    anchor: str = ""

    @property
    def level(self) -> Level:
        return self.check.level

    def link(self, docs: str = "") -> str:
        """Return where the documentation says more.

        :param docs: where it is, or nothing for an address within it.
        """
        return advice.link(self.anchor or advice.finding(self.check.name), docs)

    def row(self, docs: str = "") -> dict[str, str]:
        """Return the finding for scripts."""
        return {
            "level": self.level,
            "check": self.check.name,
            "subject": self.subject,
            "text": self.text,
            "advice": self.advice,
            "link": self.link(docs),
        }


def worst_first(found: list[Finding]) -> list[Finding]:
    """Return the findings, sorted by level."""
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))
