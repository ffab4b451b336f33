# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A subscriber with a position, where a topic's journal is lost, comes back or is taken away."""

from __future__ import annotations

from typing import Any

import pytest

from gearhorn import errors
from gearhorn.client.journal import places
from gearhorn.client.journal.actions import Answer, Read, Show, Tell, Wait
from gearhorn.client.journal.order import Order
from gearhorn.client.numbers import Number, number_of
from gearhorn.messages import Backlog, JournalMessage

OLD, NEW, OTHER = "a1", "b2", "c3"


def backlog(journal: str | None, first: int, last: int, **told: Any) -> Backlog:
    """An answer with every message after the position, which is before the first."""
    messages = [JournalMessage(number, 0.0, str(number)) for number in range(first, last + 1)]
    first = told.pop("first", first)
    return Backlog(topic="t", journal=journal, first=first, last=last, messages=messages, **told)


class Subscriber:
    """An order, and what it has shown."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.shown: list[tuple[str | None, int]] = []
        self.answered: list[int] = []
        self.told: list[Tell] = []
        self.reads: list[Read] = []

    def run(self, *answers: Backlog, until_calm: bool = True) -> None:
        """Do what it says, with these answers."""
        left = list(answers)
        while (action := self.order.next()) is not None:
            match action:
                case Show():
                    number = action.number
                    copy: int = action.copy or 0
                    self.shown.append((None, copy) if number is None else (*number,))
                    self.order.handled()
                case Answer():
                    self.answered.append(action.copy)
                case Tell():
                    self.told.append(action)
                    self.order.passed()
                case Wait():
                    if not (until_calm and left):
                        return
                    self.order.waited(calm=True)
                case Read():
                    self.reads.append(action)
                    if not left:
                        return
                    self.order.answered(left.pop(0))
        assert not left

    def comes(self, copy: int, journal: str, sequence: int) -> None:
        self.order.came(copy, Number(journal, sequence))


def begun(position: int, journal: str | None = OLD) -> Subscriber:
    order = Order(None)
    order.begin(journal, position)
    kept = places.decode(order.data())
    kept[0].start = 0
    subscriber = Subscriber(Order(places.encode(kept)))
    subscriber.run(backlog(journal, position + 1, position))
    return subscriber


def test_the_first_journal_of_a_topic_is_read_from_its_beginning() -> None:
    subscriber = begun(0, None)
    subscriber.comes(2, NEW, 2)
    # The first question is which journal is today's.
    subscriber.run(backlog(NEW, 1, 1), backlog(NEW, 1, 2))
    assert subscriber.reads[-2:] == [Read(0, NEW, 1), Read(0, NEW, 1)]
    assert subscriber.shown == [(NEW, 1), (NEW, 2)]


def test_a_new_journal_is_read_from_its_beginning_and_old_copies_are_shown_as_they_come() -> None:
    subscriber = begun(7)
    # 8 was lost with the store; the queue has 9 still.
    subscriber.comes(9, OLD, 9)
    subscriber.run(backlog(NEW, 1, 1, reset=True), backlog(NEW, 1, 1))
    assert subscriber.shown == [(OLD, 9), (NEW, 1)]
    subscriber.comes(90, OLD, 9)
    subscriber.comes(8, OLD, 8)
    subscriber.comes(80, OLD, 8)
    subscriber.run()
    assert subscriber.shown[2:] == [(OLD, 8)]
    assert sorted(subscriber.answered) == [80, 90]


def test_a_number_that_no_answer_confirms_is_shown_without_it() -> None:
    subscriber = begun(7)
    subscriber.comes(100, OLD, 100)
    subscriber.run(backlog(OLD, 8, 7))
    # As a copy without a number is: the token says which.
    assert subscriber.shown == [(None, 100)]
    # One that came after the question may well be newer than the answer.
    subscriber.comes(9, OLD, 9)
    subscriber.run(until_calm=False)
    subscriber.order.waited(calm=True)
    subscriber.run()
    subscriber.comes(10, OLD, 10)
    subscriber.order.answered(backlog(OLD, 8, 9))
    subscriber.run()
    assert subscriber.shown[1:] == [(OLD, 8), (OLD, 9), (OLD, 10)]


def test_a_journal_that_comes_back_goes_on_where_it_was() -> None:
    subscriber = begun(7)
    subscriber.order.told(NEW, 2)
    subscriber.run(backlog(NEW, 1, 2))
    subscriber.order.told(OLD, 9)
    subscriber.run(backlog(OLD, 8, 9))
    subscriber.order.told(NEW, 3)
    subscriber.run(backlog(NEW, 3, 3))
    assert subscriber.shown == [(NEW, 1), (NEW, 2), (OLD, 8), (OLD, 9), (NEW, 3)]
    assert [read.after for read in subscriber.reads[-2:]] == [7, 2]
    written = places.decode(subscriber.order.data())
    assert [(place.journal, place.position) for place in written] == [(NEW, 3), (OLD, 9)]


def test_the_two_journals_that_were_named_last_are_kept() -> None:
    subscriber = begun(7)
    for journal in (NEW, OTHER):
        subscriber.order.told(journal, 0)
    written = places.decode(subscriber.order.data())
    assert [place.journal for place in written] == [OTHER, NEW]
    # A copy of the third one is nobody's any more: it is asked once which journal it is.
    subscriber.comes(8, OLD, 8)
    subscriber.run(backlog(OTHER, 1, 0, reset=True), until_calm=False)
    assert subscriber.reads[-1] == Read(0, OLD, 1)
    assert subscriber.shown == [(OLD, 8)]


def test_a_topic_that_has_no_journal_any_more_is_seen_as_it_comes() -> None:
    subscriber = begun(7)
    subscriber.comes(9, OLD, 9)
    subscriber.run(until_calm=False)
    subscriber.order.waited(calm=True)
    subscriber.run()
    assert subscriber.reads[-1].after == 7
    subscriber.order.no_journal()
    subscriber.comes(8, OLD, 8)
    subscriber.comes(1, OLD, 1)
    subscriber.run()
    assert subscriber.shown == [(OLD, 9), (OLD, 8)]
    assert subscriber.answered == [1]
    # It has one again.
    subscriber.order.told(OLD, 10)
    subscriber.run(backlog(OLD, 10, 10))
    assert subscriber.shown[-1] == (OLD, 10)


def test_a_jump_of_the_sequences_is_told_as_a_gap() -> None:
    subscriber = begun(7)
    subscriber.order.told(OLD, 2_000)
    messages = [JournalMessage(number, 0.0, "") for number in (8, 1_999, 2_000)]
    answer = Backlog(topic="t", journal=OLD, first=1, last=2_000, messages=messages, gap=True)
    subscriber.run(answer)
    assert subscriber.shown == [(OLD, 8), (OLD, 1_999), (OLD, 2_000)]
    assert subscriber.told == [Tell(OLD, 9, 1_998, "gap")]


def test_what_was_trimmed_and_may_have_been_lost_is_told_as_both() -> None:
    subscriber = begun(7)
    subscriber.order.told(OLD, 2_000)
    messages = [JournalMessage(number, 0.0, "") for number in (1_999, 2_000)]
    told: Any = {"trimmed": True, "gap": True}
    subscriber.run(Backlog(topic="t", journal=OLD, first=9, last=2_000, messages=messages, **told))
    assert subscriber.told == [Tell(OLD, 8, 1_998, why) for why in ("trimmed", "gap")]
    assert subscriber.shown == [(OLD, 1_999), (OLD, 2_000)]


def test_where_the_numbers_jumped_later_what_was_trimmed_is_not_lost() -> None:
    subscriber = begun(7)
    subscriber.order.told(OLD, 2_000)
    messages = [JournalMessage(number, 0.0, "") for number in (10, 2_000)]
    told: Any = {"trimmed": True, "gap": True}
    subscriber.run(Backlog(topic="t", journal=OLD, first=10, last=2_000, messages=messages, **told))
    assert subscriber.told == [Tell(OLD, 8, 9, "trimmed"), Tell(OLD, 11, 1_999, "gap")]


def test_both_are_told_again_after_a_crash_between_them() -> None:
    subscriber = begun(7)
    subscriber.order.told(OLD, 20)
    told: Any = {"trimmed": True, "gap": True}
    answer = Backlog(topic="t", journal=OLD, first=21, last=20, messages=[], **told)
    order = subscriber.order
    assert order.next() == Wait()
    order.waited(calm=True)
    assert isinstance(order.next(), Read)
    order.answered(answer)
    assert order.next() == Tell(OLD, 8, 20, "trimmed")
    kept = order.data()
    order.passed()
    # One that comes now is told to be gone by half.
    subscriber.comes(8, OLD, 8)
    assert order.next() == Tell(OLD, 8, 20, "gap")
    again = Subscriber(Order(kept))
    again.run(answer)
    assert again.told == [Tell(OLD, 8, 20, why) for why in ("trimmed", "gap")]


def test_what_was_missing_twice_is_read_though_another_topic_is_busy() -> None:
    subscriber = begun(7)
    messages = [JournalMessage(8, 0.0, "8")]
    answer = Backlog(topic="t", journal=OLD, first=1, last=8, messages=messages)
    for _ in range(2):
        assert subscriber.shown == []
        subscriber.order.checked(OLD, 8)
        subscriber.run(until_calm=False)
        subscriber.order.waited(calm=False)
        subscriber.run(until_calm=False)
    assert subscriber.reads[-1] == Read(7, OLD, 1000)
    subscriber.order.answered(answer)
    subscriber.run()
    assert subscriber.shown == [(OLD, 8)]


def test_what_is_gone_is_told_only_when_the_queue_has_no_more() -> None:
    subscriber = begun(7)
    messages = [JournalMessage(10, 0.0, "10")]
    answer = Backlog(topic="t", journal=OLD, first=10, last=10, messages=messages, trimmed=True)
    for _ in range(2):
        subscriber.order.checked(OLD, 10)
        subscriber.run(until_calm=False)
    subscriber.order.answered(answer)
    subscriber.run(until_calm=False)
    assert (subscriber.shown, subscriber.told) == ([], [])
    subscriber.comes(8, OLD, 8)
    subscriber.run(until_calm=False)
    assert subscriber.shown == [(OLD, 8)]
    subscriber.order.waited(calm=True)
    subscriber.run(answer)
    assert subscriber.told == [Tell(OLD, 9, 9, "trimmed")]
    assert subscriber.shown == [(OLD, 8), (OLD, 10)]


def test_a_journal_of_which_all_is_gone_is_told() -> None:
    subscriber = begun(7)
    subscriber.order.told(OLD, 20)
    answer = Backlog(topic="t", journal=OLD, first=21, last=20, messages=[], trimmed=True)
    subscriber.run(answer)
    assert subscriber.told == [Tell(OLD, 8, 20, "trimmed")]
    subscriber.comes(9, OLD, 9)
    subscriber.comes(21, OLD, 21)
    subscriber.run()
    assert (subscriber.shown, subscriber.answered) == ([(OLD, 21)], [9])


def test_what_could_not_be_read_is_waited_for_and_read_again() -> None:
    subscriber = begun(7)
    subscriber.comes(9, OLD, 9)
    subscriber.run(until_calm=False)
    subscriber.order.waited(calm=False)
    subscriber.run()
    assert len(subscriber.reads) == 2
    # The missing copy comes while the daemon is away.
    subscriber.comes(8, OLD, 8)
    subscriber.run()
    assert subscriber.shown == [(OLD, 8), (OLD, 9)]
    subscriber.order.unread()
    subscriber.comes(11, OLD, 11)
    subscriber.run(backlog(OLD, 10, 11))
    assert subscriber.shown[2:] == [(OLD, 10), (OLD, 11)]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"version":2,"places":[]}', b'{"version":1,"places":[]}', b"\xff"]
)
def test_what_is_no_position_is_refused(data: bytes) -> None:
    with pytest.raises(errors.PositionUnreadable):
        Order(data)


@pytest.mark.parametrize(
    "unique",
    [
        b"",
        b"j.a1.1",
        b"j.a1.0.1",
        b"j.a1.01.1",
        b"j.A1.1.1",
        b"j..1.1",
        b"j.a1.9007199254740992.1",
        b"j.a1.1.x",
        b"x.a1.1.1",
        b"j.a1.-1.1",
        b"j.a1.1.1x",
    ],
)
def test_a_unique_without_a_number(unique: bytes) -> None:
    assert number_of(unique) is None


def test_a_unique_with_a_number() -> None:
    assert number_of(b"j.65f0.9007199254740991.3") == ("65f0", 2**53 - 1)
    assert number_of(b"j.65f0.12.1.a.token") == ("65f0", 12)
