# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What ``gearhorn doctor`` can find."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Level = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""From the worst."""


class Check(NamedTuple):
    """A kind of finding.

    :param name: what scripts know it by.
    :param level: how bad it is.
    """

    name: str
    level: Level


SERVER = Check("server", "error")
SERVER_VERSION = Check("server-version", "note")
SERVER_OPTIONS = Check("server-options", "note")
FUNCTION = Check("function", "error")
STORE = Check("store", "error")
QUERY = Check("query", "error")
DAEMON_SERVERS = Check("daemon-servers", "error")
DAEMON_LATE = Check("daemon-late", "warning")
DAEMON_UNREACHABLE = Check("daemon-unreachable", "warning")
DAEMON_UNKNOWN = Check("daemon-unknown", "error")
DAEMON_LEFTOVER = Check("daemon-leftover", "note")
BACKLOG = Check("backlog", "warning")
QUEUE_UNREAD = Check("queue-unread", "warning")
QUEUE_GROWS = Check("queue-grows", "warning")
QUEUE_HALF_READ = Check("queue-half-read", "warning")
QUEUE_UNREGISTERED = Check("queue-unregistered", "warning")
QUEUE_ORPHANED = Check("queue-orphaned", "warning")
QUEUE_FOREIGN = Check("queue-orphaned", "note")
"""An orphan that does not look like a subscriber's."""
COLLISION = Check("collision", "error")


@dataclass(frozen=True)
class Finding:
    """Something that an operator should know.

    :param subject: what it is about: a server, function, daemon or queue.
    :param text: what is the case.
    :param advice: what to do.
    """

    check: Check
    subject: str
    text: str
    advice: str

    @property
    def level(self) -> Level:
        return self.check.level

    def row(self) -> dict[str, str]:
        """The finding for scripts."""
        return {
            "level": self.level,
            "check": self.check.name,
            "subject": self.subject,
            "text": self.text,
            "advice": self.advice,
        }


def worst_first(found: list[Finding]) -> list[Finding]:
    """The findings, sorted by level."""
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))
