# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The findings of ``gearhorn doctor`` as Nagios, Icinga and their like take them.

The first line has the state and, behind a bar, numbers for graphs; the others the findings.
The exit code is the state.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import IO, Any

import click

from gearhorn.cmd.cli.facts import Facts, jobs_waiting
from gearhorn.cmd.cli.findings import LEVELS, Finding
from gearhorn.cmd.cli.output import plural
from gearhorn.cmd.cli.session import total
from gearhorn.messages import printable

NAME = "GEARHORN"
_UNSEEN = "U"
"""A number that could not be determined, as plugins write it."""
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
OK, WARNING, CRITICAL, UNKNOWN = range(4)
"""The exit codes. That the check itself failed, or its command line is wrong, is unknown;
that nobody answers is critical."""


class Unknown(click.ClickException):
    """A check that could not be made."""

    exit_code = UNKNOWN

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the reason where a plugin's output is looked for."""
        click.echo(unknown(self.message))


def is_asked_for(arguments: Sequence[str]) -> bool:
    """Tell if a command line, which may be wrong, is that of a plugin."""
    return "--format=nagios" in arguments or ("--format", "nagios") in pairwise(arguments)


def state_of(found: Sequence[Finding]) -> int:
    """Return the state that the worst finding makes."""
    levels = {finding.level for finding in found}
    return CRITICAL if "error" in levels else WARNING if "warning" in levels else OK


def lines(
    facts: Facts, found: Sequence[Finding], counts: Mapping[str, int], docs: str = ""
) -> list[str]:
    """Return the output, line by line.

    :param counts: what was seen, by name.
    :param docs: where the documentation is, to which findings link.
    """
    state = state_of(found)
    serious = [finding for finding in found if finding.level != "note"]
    if serious:
        text = serious[0].text
        if len(serious) > 1:
            text += f" (and {plural(len(serious) - 1, 'other finding')})"
    else:
        text = ", ".join(plural(number, what[:-1]) for what, number in counts.items())
    numbers: dict[str, int | str] = {**counts, **_depths(facts)}
    numbers["fanouts_in_hand"] = _UNSEEN if facts.status is None else facts.status.fanouts
    if facts.daemons is None:
        numbers["daemons"] = _UNSEEN
    if facts.subscriptions is None:
        numbers["topics"] = numbers["subscribers"] = _UNSEEN
    for level in LEVELS:
        numbers[f"{level}s"] = sum(finding.level == level for finding in found)
    performance = " ".join(f"{name}={number};;;0" for name, number in numbers.items())
    return [
        f"{NAME} {STATES[state]} - {_safe(text)} | {performance}",
        *(
            f"{one.level.upper()}: " + _safe(f"{one.text}. {one.advice} See {one.link(docs)}")
            for one in serious
        ),
    ]


def _depths(facts: Facts) -> dict[str, int | str]:
    if facts.subscriptions is None or not facts.second:
        return {"waiting": _UNSEEN, "unread_queues": _UNSEEN}
    waiting = [queue for queue in facts.subscriptions if jobs_waiting(facts.second, queue)]
    return {
        "waiting": sum(jobs_waiting(facts.second, queue) for queue in waiting),
        "unread_queues": sum(not total(facts.second, queue).workers for queue in waiting),
    }


def unknown(reason: str) -> str:
    """Return the output of a check that could not be made."""
    return f"{NAME} {STATES[UNKNOWN]} - {_safe(reason)}"


def _safe(text: str) -> str:
    """Return a text in which no name ends the line, or begins the numbers."""
    return printable(text).replace("|", "/")
