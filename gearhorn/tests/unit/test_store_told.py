# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What a daemon remembers of the journals to which it appended."""

from __future__ import annotations

from collections.abc import Sequence

from gearhorn.store.journal import (
    Append,
    Appended,
    Entry,
    First,
    Head,
    JournalLimits,
    JournalRow,
    Placed,
)
from gearhorn.store.told import Told

LIMITS = JournalLimits(10, 1000, 60.0)


def note(told: Told, topic: str, sequence: int, journal: str = "1") -> None:
    append = Append(topic, 1, [Entry([b"a"])], LIMITS)
    told.note([append], [Appended(journal, [Placed(sequence)])])


class Store:
    """The journals of a store, by topic."""

    def __init__(self, **journals: str) -> None:
        self.journals = journals
        self.asked: list[int] = []

    async def rows(self, topics: Sequence[str]) -> Sequence[JournalRow]:
        self.asked.append(len(topics))
        found = ((topic, self.journals.get(topic)) for topic in topics)
        return [JournalRow(t, journal, 1, 1, 1, 1, 1.0) for t, journal in found if journal]


def test_the_last_sequence_of_an_append_is_kept() -> None:
    told = Told()
    entries = [Entry([b"a", b"b"]), Entry([b"c"])]
    first = First(1, 1, "", [])
    told.note([Append("t", 1, entries, LIMITS)], [Appended("1", [Placed(5), Placed(2, first)])])
    assert told.of("t") == Head("1", 6)
    # That of a duplicate is lower, and one of another journal counts anew.
    told.note([Append("t", 2, [Entry([b"c"])], LIMITS)], [Appended("1", [Placed(2, first)])])
    assert told.of("t") == Head("1", 6)
    note(told, "t", 1, "2")
    assert told.of("t") == Head("2", 1)
    assert told.of("u") is None


async def test_no_more_is_forgotten_than_has_to_be() -> None:
    told = Told()
    store = Store()
    for topic in "abcd":
        note(told, topic, 1)
    await told.forget_ended(4, store.rows)
    assert store.asked == []
    note(told, "a", 2)
    await told.forget_ended(3, store.rows)
    assert [told.of(topic) is not None for topic in "abcd"] == [True, False, True, True]


async def test_a_journal_that_goes_on_is_never_forgotten() -> None:
    told = Told()
    names = [f"t{number}" for number in range(250)]
    for topic in names:
        note(told, topic, 1)
    # The last has another journal by now.
    store = Store(**dict.fromkeys(names[:-1], "1"), t249="2")
    await told.forget_ended(10, store.rows)
    assert (len(told), told.of("t249")) == (249, None)
    assert store.asked == [100, 100, 50]


async def test_what_was_appended_while_the_store_is_asked_is_kept() -> None:
    told = Told()
    note(told, "a", 1)

    async def rows(topics: Sequence[str]) -> Sequence[JournalRow]:
        note(told, "a", 1, "2")
        return []

    await told.forget_ended(0, rows)
    assert told.of("a") == Head("2", 1)
