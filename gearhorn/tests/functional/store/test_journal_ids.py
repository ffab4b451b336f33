# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A message with an id is appended once, and its repeats find it, in each kind of store."""

from __future__ import annotations

import asyncio
import time

import pytest

from gearhorn.store import redis_journal, sqlite_append
from gearhorn.store.journal import Entry, First, Journals, Mark
from gearhorn.tests.functional.store.journals import (
    LIMITS,
    NewJournals,
    append,
    placed,
    request,
    send,
    shown,
)

pytestmark = pytest.mark.once

ENTRY = Entry([b"a", b"b"], groups=3, id="42")
FOREGROUND = ENTRY._replace(background=False)


async def mark(journals: Journals, sequence: int, counts: str, name: str = "42") -> None:
    journal = (await journals.head("orders")).journal
    await append(journals, marks=[Mark(name, journal or "", sequence, counts)])


async def test_a_message_with_a_known_id_is_not_appended_again(
    journals: Journals, others: Journals
) -> None:
    await append(journals, "first")
    assert (await placed(journals, ENTRY)).sequence == 2
    # Whatever the repeat brings, it is given what the first brought.
    other = Entry([b"other"], groups=9, id="42")
    assert await placed(others, other) == (2, First(2, 3, "", [b"a", b"b"]))
    assert await shown(journals) == [(1, "first"), (2, "a"), (3, "b")]


async def test_ids_are_those_of_one_topic(journals: Journals) -> None:
    assert (await placed(journals, ENTRY)).first is None
    assert (await placed(journals, ENTRY, topic="other")).first is None


async def test_two_messages_with_one_id_in_one_append_are_one(journals: Journals) -> None:
    answer = await append(journals, ENTRY, "between", ENTRY, "behind")
    assert [place.sequence for place in answer.placed] == [1, 3, 1, 4]
    assert [sequence for sequence, _ in await shown(journals)] == [1, 2, 3, 4]


async def test_a_repeated_append_is_answered_alike_if_a_part_of_it_was_a_duplicate(
    journals: Journals,
) -> None:
    await append(journals, "before", ENTRY)
    again = request("new", ENTRY, "newer")
    answer = await send(journals, again)
    assert [place.sequence for place in answer.placed] == [4, 2, 5]
    assert await send(journals, again) == answer


async def test_a_background_repeat_is_given_the_counts_of_a_complete_run(
    journals: Journals,
) -> None:
    await append(journals, ENTRY)
    await mark(journals, 1, '{"queued": 5}')
    found = await placed(journals, ENTRY)
    assert found == (1, First(2, 3, '{"queued": 5}', []))
    # One in the foreground sends its copies in any case.
    assert (await placed(journals, FOREGROUND)).first == First(2, 3, '{"queued": 5}', [b"a", b"b"])


async def test_a_mark_is_written_with_the_appends_of_the_next_turn(journals: Journals) -> None:
    answer = await append(journals, ENTRY)
    marked = Mark("42", answer.journal or "", 1, "counts with spaces")
    second = await append(journals, ENTRY, "c", marks=[marked])
    assert second.placed[0].first == First(2, 3, "counts with spaces", [])


async def test_a_mark_for_another_journal_sequence_or_id_changes_nothing(
    journals: Journals,
) -> None:
    answer = await append(journals, ENTRY)
    assert answer.journal is not None
    await append(journals, marks=[Mark("42", "abc", 1, "x"), Mark("43", answer.journal, 1, "x")])
    await mark(journals, 2, "x")
    assert (await placed(journals, ENTRY)).first == First(2, 3, "", [b"a", b"b"])


async def test_a_message_that_was_trimmed_is_still_a_duplicate(journals: Journals) -> None:
    limits = LIMITS._replace(max_messages=2)
    await append(journals, ENTRY, "c", limits=limits)
    assert (await placed(journals, ENTRY)).first == First(2, 3, "", [None, b"b"])
    await append(journals, "d", "e", limits=limits)
    assert (await placed(journals, ENTRY)).first == First(2, 3, "", [None, None])


async def test_an_id_is_kept_for_the_window_from_its_last_use(new_journals: NewJournals) -> None:
    journals = new_journals(id_window=3600)
    await journals.open()
    await append(journals, ENTRY)
    first = time.monotonic()
    for _ in range(2):
        await asyncio.sleep(0.5)
        assert (await placed(journals, ENTRY)).sequence == 1
    # Its first use is longer ago.
    journals.id_window = time.monotonic() - first - 0.1
    assert (await placed(journals, ENTRY)).sequence == 1
    journals.id_window = 0.05
    await asyncio.sleep(0.1)
    again = await placed(journals, ENTRY)
    assert again == (3, None)
    await journals.close()


async def test_only_the_newest_ids_of_a_topic_are_kept(
    journals: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (redis_journal, sqlite_append):
        monkeypatch.setattr(module, "MOST_IDS", 3)
    for name in "abcde":
        await append(journals, Entry([b"x"], id=name))
        # By the milliseconds of the store's clock.
        await asyncio.sleep(0.005)
    await journals.trim("orders", None)
    assert (await placed(journals, Entry([b"x"], id="c"))).sequence == 3
    assert (await placed(journals, Entry([b"x"], id="a"))).sequence == 6


async def test_ids_are_forgotten_by_upkeep_too(new_journals: NewJournals) -> None:
    journals = new_journals(id_window=0.05)
    await journals.open()
    await append(journals, *(Entry([b"x"], id=str(number)) for number in range(100)))
    await asyncio.sleep(0.1)
    await journals.trim("orders", None)
    journals.id_window = 3600
    assert (await placed(journals, Entry([b"y"], id="7"))).sequence == 101
    await journals.close()


async def test_an_id_can_be_any_text(journals: Journals) -> None:
    for name in ("a b", "größe", "x" * 128, "%d", "\n"):
        first = await placed(journals, Entry([b"x"], id=name))
        assert first.first is None
        await mark(journals, first.sequence, "counts", name)
        assert (await placed(journals, Entry([b"x"], id=name))).first == First(1, 1, "counts", [])
