# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The screen of ``gearhorn top``: keys that change what is shown, and the lines that show it.

There is no I/O in it. Names come from strangers, so that all text is made printable.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gearhorn.cmd.cli.output import seconds
from gearhorn.cmd.cli.session import NO_ANSWER, OLDER
from gearhorn.cmd.cli.top_look import Frame
from gearhorn.messages import printable

Row = Mapping[str, Any]

SORTS: Mapping[str, Callable[[Row], Any]] = {
    "waiting": lambda row: (-row["waiting"], row["topic"]),
    "change": lambda row: (-row["change"], row["topic"]),
    "subscribers": lambda row: (-row["subscribers"], row["topic"]),
    "name": lambda row: row["topic"],
}
"""The orders of topics; ``s`` goes from one to the next."""

HELP = "q quit  s sort  / filter  up and down choose  enter open  esc back"

_TOPIC_COLUMNS = ("topic", "subscribers", "waiting", "change", "running", "unread")
_QUEUE_COLUMNS = ("client_id", "waiting", "change", "running", "workers")
_UNREAD_COLUMNS = ("queue", "waiting", "change")
_DAEMON_COLUMNS = ("worker_id", "state", "fanouts", "requests", "up", "store_fault")
_UNREAD_MOST = 5
_DAEMONS_MOST = 8
_NAMED = 3
_UNKNOWN = "unknown"
"""What is shown where nobody has told."""
_MISSING = {
    OLDER: "NOTE of an older release, which tells no counters; the rates are without: {}",
    NO_ANSWER: "WARNING no answer, and all numbers are without: {}",
}
"""What is said of the daemons whose numbers are missing, by the reason."""

ENTER = ("\r", "\n")
ESCAPE = "\x1b"
UP, DOWN = ("\x1b[A", "k"), ("\x1b[B", "j")
BACKSPACE = ("\x7f", "\x08")


class Screen:
    """The state of the screen."""

    def __init__(self) -> None:
        self.sort = "waiting"
        self.filter = ""
        self.opened: str | None = None
        """The topic whose subscribers are shown."""
        self.ended = False
        self._typing = False
        self._chosen = 0

    # Keys.

    def press(self, key: str, frame: Frame | None) -> None:
        """Act on a key."""
        if self._typing:
            self._type(key)
        elif key in ("q", "\x03", "\x04"):
            self.ended = True
        elif key == "s":
            names = list(SORTS)
            self.sort = names[(names.index(self.sort) + 1) % len(names)]
        elif key == "/":
            self._typing, self.filter = True, ""
        elif key in UP:
            self._chosen = max(0, self._chosen - 1)
        elif key in DOWN:
            self._chosen += 1
        elif key in ENTER and frame is not None and self.opened is None:
            rows = self.topics(frame)
            if rows:
                self.opened = rows[min(self._chosen, len(rows) - 1)]["topic"]
        elif key == ESCAPE or key in BACKSPACE:
            if self.opened is None:
                self.filter = ""
            self.opened = None

    def _type(self, key: str) -> None:
        if key in ENTER:
            self._typing = False
        elif key == ESCAPE:
            self._typing, self.filter = False, ""
        elif key in BACKSPACE:
            self.filter = self.filter[:-1]
        elif key.isprintable():
            self.filter += key
        self._chosen = 0

    # What is shown.

    def topics(self, frame: Frame) -> Sequence[Row]:
        """Return the topics that the filter lets through, in order."""
        rows = [row for row in frame.topics if self.filter in row["topic"]]
        return sorted(rows, key=SORTS[self.sort])

    def lines(self, frame: Frame, width: int, height: int) -> list[str]:
        """Return the lines of a screen of this size."""
        lines = summary(frame)
        lines += ["", *daemon_lines(frame)]
        if frame.unread:
            lines += ["", *unread_lines(frame)]
        rows: Sequence[Row]
        columns: Sequence[str]
        if self.opened is None:
            title = f"Topics by {self.sort}" + (f", with {self.filter!r}" if self.filter else "")
            rows, columns = self.topics(frame), _TOPIC_COLUMNS
        else:
            title = f"Subscribers of {self.opened}"
            rows = [row for row in frame.subscribers if row["topic"] == self.opened]
            columns = _QUEUE_COLUMNS
        lines += ["", title]
        left = max(1, height - len(lines) - 3)
        self._chosen = max(0, min(self._chosen, len(rows) - 1))
        first = max(0, self._chosen - left + 1)
        shown = table(rows[first : first + left], columns)
        if rows and self.opened is None:
            at = self._chosen - first + 1
            shown[at] = f"> {shown[at]}"
            shown = [line if index == at else f"  {line}" for index, line in enumerate(shown)]
        lines += shown or ["none" if frame.knows_subscriptions else _UNKNOWN]
        foot = f"filter: {self.filter}_" if self._typing else HELP
        lines = lines[: height - 1]
        lines += [""] * (height - 1 - len(lines)) + [foot]
        return [printable(line)[:width] for line in lines]


def frame_lines(frame: Frame, most: int) -> list[str]:
    """Return a frame as text that scrolls by."""
    lines = [*summary(frame), "", *daemon_lines(frame)]
    if frame.unread:
        lines += ["", *unread_lines(frame, most)]
    nothing = "No topic has subscribers." if frame.knows_subscriptions else _UNKNOWN
    topics = table(frame.topics[:most], _TOPIC_COLUMNS) or [nothing]
    lines += ["", "Topics by waiting", *topics]
    return [printable(line) for line in lines]


def summary(frame: Frame) -> list[str]:
    """Return what is done a second, what is in hand, and what is wrong."""
    rates = "  ".join(
        f"{name.replace('_', ' ')} {'-' if rate is None else f'{rate:,.1f}/s'}"
        for name, rate in frame.rates.items()
    )
    lines = [
        rates,
        f"in hand: fanouts {_number(frame.fanouts, frame.knows_status)}, "
        f"requests {_number(frame.requests, frame.knows_status)}; "
        f"waiting for subscribers: {_number(frame.waiting, frame.knows_waiting)}",
    ]
    # Where no server can be reached, the other line has the reasons.
    lines += [f"ERROR {why}" for why in frame.faults.values() if why not in (frame.fault or "")]
    if frame.fault is not None:
        lines.append(f"ERROR {frame.fault}: see gearhorn doctor")
    for reason, text in _MISSING.items():
        names = [row["worker_id"] for row in frame.daemons if row["missing"] == reason]
        if names:
            more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
            lines.append(text.format(", ".join(names[:_NAMED] + more)))
    return lines


def _number(number: int, is_known: bool) -> str:
    return f"{number:,}" if is_known else "-"


def daemon_lines(frame: Frame) -> list[str]:
    """Return the daemons, those that told nothing of themselves with a dash."""
    rows = [
        {**row, "up": None if row["uptime"] is None else seconds(row["uptime"])}
        for row in frame.daemons
    ]
    more = len(rows) - _DAEMONS_MOST
    after = [f"and {more} more"] if more > 0 else []
    nothing = "none" if frame.knows_daemons else _UNKNOWN
    return ["Daemons", *(table(rows[:_DAEMONS_MOST], _DAEMON_COLUMNS) or [nothing]), *after]


def unread_lines(frame: Frame, most: int = _UNREAD_MOST) -> list[str]:
    """Return the queues with messages that no worker reads, so many at the most."""
    more = len(frame.unread) - most
    after = [f"and {more} more"] if more > 0 else []
    rows = table(frame.unread[:most], _UNREAD_COLUMNS)
    return ["Without a worker", *rows, *after]


def table(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Return a table with titles, or nothing if there are no rows."""
    if not rows:
        return []
    titles = [column.replace("_", " ").upper() for column in columns]
    cells = [[_cell(column, row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    right = [isinstance(rows[0][column], (int, float)) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in (titles, *cells)
    ]


def _cell(column: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:+,}" if column == "change" else f"{value:,}"
    return printable(value)
