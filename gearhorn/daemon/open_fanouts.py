# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The foreground fan-outs that are open, and their bounds.

A foreground fan-out is open from when its subscribers are known until its report, and
receivers may take long. So those that wait for receivers, or for their turn, do not count
against the window that is to be kept moving: one publisher could fill it. They have bounds
of their own, of which one topic may have half. Whoever is alone is within them.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gearhorn import errors, messages


@dataclass(frozen=True)
class OpenBounds:
    """The bounds of open fan-outs, of which one topic may have half."""

    fanouts: int = 100_000
    copies: int = 1_000_000
    """The most copies that are not answered."""
    waiting_bytes: int = 4 * messages.MAX_MESSAGE_BYTES
    """The most bytes of requests that wait for their turn."""
    out: int = 1000
    """The most fan-outs of one topic that have copies out at a time."""


class Crowd:
    """The open fan-outs of one topic."""

    __slots__ = (
        "copies",
        "fanouts",
        "most_out",
        "out",
        "topic",
        "turn_due",
        "waiting",
        "waiting_bytes",
    )

    def __init__(self, topic: str, most_out: int) -> None:
        self.topic = topic
        self.fanouts = 0
        self.copies = 0
        self.waiting_bytes = 0
        self.out = 0
        """The fan-outs that have copies out."""
        self.waiting: OrderedDict[Any, None] = OrderedDict()
        """Those that wait for their turn, in order."""
        self.turn_due = False
        """True while the next turns are about to be taken."""
        self.most_out = most_out

    @property
    def has_turn(self) -> bool:
        """True while another fan-out may have copies out."""
        return self.out < self.most_out


class Place:
    """The place of one fan-out among the open ones."""

    __slots__ = ("_all", "_copies", "_is_out", "_waiting_bytes", "crowd")

    def __init__(self, every: "OpenFanOuts", crowd: Crowd, copies: int, waiting_bytes: int) -> None:
        self._all = every
        self.crowd = crowd
        self._copies = 0
        self._waiting_bytes = waiting_bytes
        self._is_out = False
        every.fanouts += 1
        crowd.fanouts += 1
        every.waiting_bytes += waiting_bytes
        crowd.waiting_bytes += waiting_bytes
        self._count(copies)

    def begin(self, copies: int) -> None:
        """Count it as one that has so many copies out."""
        self._is_out = True
        self.crowd.out += 1
        self._give_bytes_back()
        self._count(copies - self._copies)

    def answered(self) -> None:
        """Count one copy less."""
        self._copies -= 1
        self.crowd.copies -= 1
        self._all.copies -= 1

    def leave(self) -> None:
        """Give all back that it counts for."""
        self._count(-self._copies)
        self._give_bytes_back()
        crowd = self.crowd
        crowd.fanouts -= 1
        self._all.fanouts -= 1
        if self._is_out:
            crowd.out -= 1
        self._all.left(crowd)

    def ask_for_turn(self) -> None:
        """Have a turn taken if there is one."""
        if self.crowd.has_turn:
            self._all.on_turn(self.crowd)

    def _count(self, copies: int) -> None:
        self._copies += copies
        self.crowd.copies += copies
        self._all.copies += copies

    def _give_bytes_back(self) -> None:
        self.crowd.waiting_bytes -= self._waiting_bytes
        self._all.waiting_bytes -= self._waiting_bytes
        self._waiting_bytes = 0


class OpenFanOuts:
    """The open fan-outs of a daemon."""

    def __init__(self, bounds: OpenBounds) -> None:
        self.bounds = bounds
        self.fanouts = 0
        self.copies = 0
        self.waiting_bytes = 0
        self.crowds: dict[str, Crowd] = {}
        self.on_turn: Callable[[Crowd], None] = lambda crowd: None
        """Called when a fan-out that waits may have its turn."""

    @property
    def waiting(self) -> int:
        """The number of those that wait for their turn."""
        return sum(crowd.fanouts - crowd.out for crowd in self.crowds.values())

    def apply(self, bounds: OpenBounds) -> None:
        """Go by these bounds from now on; what is open stays so."""
        self.bounds = bounds
        for crowd in self.crowds.values():
            crowd.most_out = bounds.out
            if crowd.waiting and crowd.has_turn:
                self.on_turn(crowd)

    def enter(
        self, topic: str, copies: int, waiting_bytes: int = 0, *, bound: bool = True
    ) -> Place:
        """Return a place for a fan-out.

        :param copies: the number of its copies.
        :param waiting_bytes: the bytes of its request, if it waits for its turn.
        :param bound: false to give a place beyond the bounds too.
        :raises TooManyOpen: it would be beyond a bound.
        """
        if bound:
            self.check(topic, copies, waiting_bytes)
        crowd = self.crowds.get(topic)
        if crowd is None:
            crowd = self.crowds[topic] = Crowd(topic, self.bounds.out)
        return Place(self, crowd, copies, waiting_bytes)

    def check(self, topic: str, copies: int, waiting_bytes: int = 0) -> None:
        """Refuse one more fan-out beyond all of a bound, or beyond half for its topic.

        :raises TooManyOpen: it would be beyond a bound.
        """
        bounds, crowd = self.bounds, self.crowds.get(topic)
        for whose, those, times in (("the daemon", self, 1), ("the topic", crowd, 2)):
            # Whoever is alone is within them.
            if (
                those is not None
                and those.fanouts
                and (
                    times * (those.fanouts + 1) > bounds.fanouts
                    or times * (those.copies + copies) > bounds.copies
                    or times * (those.waiting_bytes + waiting_bytes) > bounds.waiting_bytes
                )
            ):
                raise errors.TooManyOpen(
                    f"{whose} has {those.fanouts} open foreground fan-outs with {those.copies} "
                    "unanswered copies: publish in the background, or again when receivers have "
                    "answered"
                )

    def left(self, crowd: Crowd) -> None:
        """Forget ``crowd`` if it was the last of it, or give its next a turn."""
        if not crowd.fanouts:
            self.crowds.pop(crowd.topic, None)
        elif crowd.waiting and crowd.has_turn:
            self.on_turn(crowd)
