# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A subscriber with a position, driven through every order of what can happen to it.

A world has a journal, to which messages are appended, a queue, which their copies reach late,
in another order or never, and a subscriber, which dies and comes back. Everything that may
happen next is tried, in every state.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearhorn.client.journal.actions import Answer, Read, Show, Tell, Wait
from gearhorn.client.journal.order import Order
from gearhorn.client.numbers import Number
from gearhorn.messages import Backlog, JournalMessage

pytestmark = pytest.mark.once

ID = "65f0"
MOST_STATES = 60_000


class World:
    """A journal, a queue and a subscriber.

    :param waiting: messages whose copies wait in the queue at the beginning.
    :param kept: the position at the beginning, if there is one.
    :param any_order: copies are queued in any order, as by two daemons.
    :param forged: the numbers of copies that strangers queue.
    :param checks: how often it is asked in the midst of it if something was left out.
    :param gaps: what was trimmed may have been lost as well.
    :param queue_first: nothing may be told to be gone that waits in the queue. Where copies
        come in any order it may: what is missing before one is waited for a moment only.
    """

    def __init__(
        self,
        messages: int,
        *,
        waiting: int = 0,
        kept: int | None = None,
        any_order: bool = True,
        crashes: int = 0,
        trims: int = 0,
        skips: int = 0,
        forged: tuple[int, ...] = (),
        checks: int = 0,
        gaps: bool = False,
        queue_first: bool = False,
    ) -> None:
        self.count = messages
        self.last = waiting
        self.trimmed = 0
        self.unsent: list[int] = []
        self.queue: list[tuple[int, bool]] = [(n, True) for n in range(1, waiting + 1)]
        self.any_order, self.crashes, self.trims, self.skips = any_order, crashes, trims, skips
        self.forged = list(forged)
        self.checks = checks
        self.gaps = gaps
        self.queue_first = queue_first
        self.order: Order | None = None
        self.kept: bytes | None = None
        self.floor = 0
        if kept is not None:
            self.order = Order(None)
            self.order.begin(ID, kept)
            self.kept = self.order.data().replace(b'"start":%d' % kept, b'"start":0')
            self.order = None
        self.has_begun = kept is not None
        self.shown: list[int] = []
        self.again: set[int] = set()
        """What may be shown again after a crash."""
        self.told: set[int] = set()
        self.fault = ""
        self._start()

    def _start(self) -> None:
        self.hand: dict[int, tuple[int, bool]] = {}
        self.tokens = 0
        self.showing: Show | None = None
        self.writing = False
        self.reading: Read | None = None
        self.answer: Backlog | None = None
        self.waits = False
        self.checked = 0

    # What may happen.

    def events(self) -> Iterator[str]:
        if self.last < self.count:
            yield "append"
        for number in self.unsent if self.any_order else self.unsent[:1]:
            yield f"queue {number}"
            if self.skips:
                yield f"skip {number}"
        if self.trims and self.trimmed < self.last:
            yield "trim"
        yield from (f"forge {number}" for number in self.forged)
        if self.order is None:
            yield "start"
            return
        if self.queue:
            yield "grab"
        if self.showing is not None and not self.writing:
            yield "handle"
        if self.writing:
            yield "write"
        if self.reading is not None and self.answer is None:
            yield "read"
        if self.answer is not None:
            yield "answer"
        if self.waits:
            yield "wait"
        if self.checks:
            yield "look"
        if self.crashes:
            yield "crash"

    def next_events(self) -> list[str]:
        """What may happen now; where nothing else does, it is asked if something was left out."""
        events = [*self.events()]
        if not events and self.order is not None and self.checked < self.last:
            return ["check"]
        return events

    def happens(self, event: str) -> None:
        what, _, number = event.partition(" ")
        getattr(self, f"_{what}_")(*([int(number)] if number else []))
        if self.order is not None:
            self._act()

    def _append_(self) -> None:
        self.last += 1
        self.unsent.append(self.last)

    def _queue_(self, number: int) -> None:
        self.unsent.remove(number)
        self.queue.append((number, True))

    def _skip_(self, number: int) -> None:
        self.unsent.remove(number)
        self.skips -= 1

    def _forge_(self, number: int) -> None:
        self.forged.remove(number)
        self.queue.append((number, False))

    def _trim_(self) -> None:
        self.trimmed += 1
        self.trims -= 1

    def _start_(self) -> None:
        self._start()
        self.order = Order(self.kept)
        if self.kept is None:
            self.order.begin(ID, self.last)
            self.kept = self.order.data()
            self.floor = self.last
            self.has_begun = True
        self.order.told(ID, self.last)

    def _grab_(self) -> None:
        assert self.order is not None
        number, is_real = self.queue.pop(0)
        self.tokens += 1
        self.hand[self.tokens] = (number, is_real)
        self.order.came(self.tokens, Number(ID, number))

    def _check_(self) -> None:
        assert self.order is not None
        self.checked = self.last
        self.order.checked(ID, self.last)

    def _look_(self) -> None:
        assert self.order is not None
        self.checks -= 1
        self.order.checked(ID, self.last)

    def _handle_(self) -> None:
        assert self.order is not None
        assert self.showing is not None
        if self.order.moves(self.showing.number):
            self.writing = True
        else:
            self._is_over()

    def _write_(self) -> None:
        assert self.order is not None
        self.writing = False
        if self.showing is not None:
            self.kept = self.order.data(self.showing.number)
            self._is_over()
        else:
            self.kept = self.order.data()
            self.order.passed()

    def _is_over(self) -> None:
        assert self.order is not None
        assert self.showing is not None
        if self.showing.copy is not None:
            del self.hand[self.showing.copy]
        self.showing = None
        self.order.handled()

    def _read_(self) -> None:
        assert self.reading is not None
        assert self.reading.journal == ID
        first = max(self.reading.after, self.trimmed) + 1
        numbers = range(first, self.last + 1)[: self.reading.limit]
        found = [JournalMessage(number, 0.0, "") for number in numbers]
        gone: Any = {}
        if self.reading.after < self.trimmed:
            gone = {"trimmed": True, "gap": self.gaps}
        self.answer = Backlog(
            topic="t", journal=ID, first=self.trimmed + 1, last=self.last, messages=found, **gone
        )

    def _answer_(self) -> None:
        assert self.order is not None
        assert self.answer is not None
        answer, self.answer, self.reading = self.answer, None, None
        self.order.answered(answer)

    def _wait_(self) -> None:
        assert self.order is not None
        self.waits = False
        self.order.waited(calm=not self.queue and not self.hand)

    def _crash_(self) -> None:
        self.crashes -= 1
        if self.showing is not None and self.showing.number is not None:
            self.again.add(self.showing.number.sequence)
        self.again |= {number for number, _ in self.hand.values() if number <= self.floor}
        self.queue += self.hand.values()
        self._start()
        self.order = None

    # What the subscriber does.

    def _act(self) -> None:
        assert self.order is not None
        while (action := self.order.next()) is not None:
            match action:
                case Show():
                    self.showing = action
                    self._see(action)
                case Answer():
                    number, is_real = self.hand.pop(action.copy)
                    if is_real and number not in self.shown and number not in self.told:
                        self.fault = f"{number} was in the queue and is dropped unseen"
                case Read():
                    self.reading = action
                case Wait():
                    self.waits = True
                case Tell():
                    gone = set(range(action.first, action.last + 1))
                    if self.queue_first and gone & {number for number, _ in self.queue}:
                        self.fault = f"{gone} are told to be gone, and wait in the queue"
                    if gone & {number for number, is_real in self.hand.values() if is_real}:
                        self.fault = f"{gone} are told to be gone, and one is in hand"
                    self.told |= gone
                    self.writing = True

    def _see(self, show: Show) -> None:
        if show.copy is None:
            assert show.number is not None
            number, is_real = show.number.sequence, True
        else:
            number, is_real = self.hand[show.copy]
        if not is_real:
            return
        if number in self.shown and number not in self.again:
            self.fault = f"{number} is shown twice"
        elif self.floor < number < max(self.shown, default=0) and number not in self.again:
            self.fault = f"{number} is shown after {self.shown[-1]}"
        if number in self.told:
            self.fault = f"{number} is shown, and was told to be gone"
        self.shown.append(number)

    def at_rest(self) -> None:
        """Nothing happens any more but by itself."""
        if self.hand:
            self.fault = f"{self.hand} are never answered"
        unseen = set(range(self.trimmed + 1, self.last + 1)) - {*self.shown}
        if unseen := {number for number in unseen if number > self.floor}:
            self.fault = f"{unseen} stand in the journal and are never seen"


def search(world: World, *, most: int = MOST_STATES) -> tuple[int, str]:
    """Try every order of events. Return the states, and the shortest history of a fault."""
    first = pickle.dumps(world)
    came_from: dict[bytes, tuple[bytes, str] | None] = {first: None}
    open_ = [first]
    for state in open_:
        if len(came_from) > most:
            return len(came_from), "there are more"
        for event in pickle.loads(state).next_events():
            after: World = pickle.loads(state)
            after.happens(event)
            if not after.next_events():
                after.at_rest()
            if after.fault:
                history = [event]
                step = came_from[state]
                while step is not None:
                    state, name = step
                    history.append(name)
                    step = came_from[state]
                return len(came_from), f"{after.fault}: {', '.join(reversed(history))}"
            key = pickle.dumps(after)
            if key not in came_from:
                came_from[key] = (state, event)
                open_.append(key)
    return len(came_from), ""


WORLDS: dict[str, Callable[[], World]] = {
    "a subscriber with a queue that is given a position": lambda: World(2, waiting=2),
    "a new one that dies before its first position": lambda: World(1, crashes=1),
    "a new one": lambda: World(2),
    "away while the journal was trimmed": lambda: World(
        3, waiting=3, kept=0, trims=2, queue_first=True
    ),
    "one daemon, skips, trims": lambda: World(2, kept=0, any_order=False, trims=1, skips=1),
    "two daemons and skips": lambda: World(2, kept=0, skips=1),
    "two daemons and a crash": lambda: World(2, kept=0, crashes=1),
    "two daemons and trims": lambda: World(2, kept=0, trims=1),
    "a number that nobody gave out": lambda: World(1, kept=0, forged=(3,)),
    "asked while the queue is full": lambda: World(
        3, waiting=3, kept=0, trims=1, checks=2, queue_first=True
    ),
    "trimmed, and perhaps lost": lambda: World(
        3, waiting=3, kept=0, trims=2, gaps=True, queue_first=True
    ),
}
LARGE_WORLDS: dict[str, Callable[[], World]] = {
    "a new one that dies": lambda: World(2, crashes=1, any_order=False),
    "two daemons and skips": lambda: World(3, kept=0, skips=1),
    "one daemon, asked, skips": lambda: World(2, kept=0, any_order=False, skips=1, checks=2),
    "two daemons, a crash and skips": lambda: World(2, kept=0, crashes=1, skips=1),
}


@pytest.mark.parametrize("name", WORLDS)
def test_each_message_is_seen_in_order_and_once_in_every_order_of_events(name: str) -> None:
    states, fault = search(WORLDS[name]())
    assert fault == "", f"{states} states"


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE_WORLDS)
def test_each_message_is_seen_in_order_and_once_where_more_happens(name: str) -> None:
    states, fault = search(LARGE_WORLDS[name]())
    assert fault == "", f"{states} states"


@pytest.mark.parametrize("seed", range(12))
def test_each_message_is_seen_in_order_and_once_in_long_histories(seed: int) -> None:
    draw = random.Random(seed)
    world = World(
        40, kept=0, any_order=seed % 2 == 0, crashes=3, trims=8, skips=8, checks=20, gaps=True
    )
    history: list[str] = []
    while events := world.next_events():
        history.append(draw.choice(events))
        world.happens(history[-1])
        assert world.fault == "", history
    world.at_rest()
    assert world.fault == "", history
