# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What appending to journals does, in each kind of store."""

from __future__ import annotations

import asyncio
import time

import pytest

from gearhorn import errors
from gearhorn.store import journal
from gearhorn.store.identity import Terms
from gearhorn.store.journal import Appended, Entry, Head, JournalLimits, Journals, Refused
from gearhorn.tests.functional.store.journals import (
    LIMITS,
    TOPIC,
    NewJournals,
    append,
    read,
    request,
    send,
    shown,
)

pytestmark = pytest.mark.once


def sequences(answer: Appended) -> list[int]:
    return [placed.sequence for placed in answer.placed]


async def test_messages_are_numbered_from_one_and_read_as_they_came(journals: Journals) -> None:
    assert await journals.head(TOPIC) == Head(None, 0)
    first = await append(journals, "a", "b")
    second = await append(journals, Entry([b"\xff\x00"], groups=7))
    assert sequences(first) == [1, 2]
    assert sequences(second) == [3]
    assert first.journal == second.journal is not None
    assert await journals.head(TOPIC) == Head(first.journal, 3)
    found = await read(journals)
    assert (found.journal, found.first, found.last) == (first.journal, 1, 3)
    assert [message.payload for message in found.messages] == [b"a", b"b", b"\xff\x00"]
    assert [message.groups for message in found.messages] == [1, 1, 7]
    assert (found.trimmed, found.gap, found.reset) == (False, False, False)


async def test_the_messages_of_one_entry_follow_each_other(journals: Journals) -> None:
    answer = await append(journals, "a", Entry([b"b", b"c", b"d"], groups=2), "e")
    assert sequences(answer) == [1, 2, 5]
    assert await shown(journals) == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]


async def test_a_message_has_the_time_of_the_store(journals: Journals) -> None:
    await append(journals, "a")
    await append(journals, "b")
    one, two = (await read(journals)).messages
    assert abs(one.published - time.time()) < 30
    assert two.published >= one.published


async def test_several_topics_are_appended_to_in_one_call(journals: Journals) -> None:
    answers = await journals.append(
        [request("a", topic="one"), request("b", "c", topic="two"), request("d", topic="größe")]
    )
    assert all(isinstance(answer, Appended) for answer in answers)
    assert await shown(journals, topic="two") == [(1, "b"), (2, "c")]
    assert await shown(journals, topic="größe") == [(1, "d")]
    assert await journals.topics("", 10) == ["größe", "one", "two"]


async def test_a_repeated_append_is_not_done_again(journals: Journals) -> None:
    once = request("a", Entry([b"b", b"c"], id="b"), "d")
    first = await send(journals, once)
    assert await send(journals, once) == first
    await append(journals, "e")
    assert [sequence for sequence, _ in await shown(journals)] == [1, 2, 3, 4, 5]


async def test_an_append_that_comes_late_is_refused(journals: Journals) -> None:
    early, late = request("a"), request("b")
    await send(journals, late)
    assert await journals.append([early]) == [Refused.LATE]
    assert await shown(journals) == [(1, "b")]


async def test_a_repeat_is_known_whatever_others_appended_since(
    journals: Journals, others: Journals
) -> None:
    once = request("a")
    first = await send(journals, once)
    await append(others, "b", "c")
    assert await send(journals, once) == first
    assert await shown(others) == [(1, "a"), (2, "b"), (3, "c")]


async def test_the_last_append_is_kept_of_the_daemons_that_appended_last(
    journals: Journals, others: Journals, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in list_of_modules():
        monkeypatch.setattr(module, "MOST_WORKERS", 2)
    once, twice = request("a"), request("b")
    journals.worker_id = "first"
    await send(journals, once)
    # By the milliseconds of the store's clock.
    await asyncio.sleep(0.005)
    await send(others, twice)
    await asyncio.sleep(0.005)
    journals.worker_id = "third"
    await append(journals, "c")
    assert sequences(await send(others, twice)) == [2]
    journals.worker_id = "first"
    assert sequences(await send(journals, once)) == [4]


def list_of_modules() -> list[object]:
    from gearhorn.store import redis_journal, sqlite_append

    return [journal, redis_journal, sqlite_append]


async def test_daemons_that_append_at_once_share_the_numbers(
    journals: Journals, others: Journals
) -> None:
    async def many(view: Journals, name: str) -> list[int]:
        found = []
        for number in range(50):
            found += sequences(await append(view, f"{name}{number}", f"{name}{number}'"))
        return found

    one, two = await asyncio.gather(many(journals, "x"), many(others, "y"))
    assert sorted(one + two) == [*range(1, 201)]
    assert one == sorted(one)


async def test_the_oldest_messages_end_beyond_the_number(journals: Journals) -> None:
    limits = LIMITS._replace(max_messages=3)
    for text in "abcde":
        await append(journals, text, limits=limits)
    assert await shown(journals) == [(3, "c"), (4, "d"), (5, "e")]
    await append(journals, *"fghijklm", limits=limits)
    assert await shown(journals) == [(11, "k"), (12, "l"), (13, "m")]
    (row,) = await journals.rows([TOPIC])
    assert (row.first, row.last, row.messages, row.bytes) == (11, 13, 3, 3)


async def test_one_message_can_be_all_that_is_kept(journals: Journals) -> None:
    limits = LIMITS._replace(max_messages=1)
    for text in "abc":
        await append(journals, text, text * 2, limits=limits)
        assert len(await shown(journals)) == 1
    assert await shown(journals) == [(6, "cc")]


async def test_the_oldest_messages_end_beyond_the_bytes_but_not_the_newest(
    journals: Journals,
) -> None:
    limits = LIMITS._replace(max_bytes=100)
    for number in range(40):
        await append(journals, f"{number:010}", limits=limits)
    assert [sequence for sequence, _ in await shown(journals)] == [*range(31, 41)]
    await append(journals, "x" * 1000, limits=limits)
    assert [sequence for sequence, _ in await shown(journals)] == [41]
    (row,) = await journals.rows([TOPIC])
    assert row.bytes == 1000


async def test_there_are_only_so_many_journals(new_journals: NewJournals) -> None:
    few = new_journals(max_topics=2)
    await few.open()
    await append(few, "a", topic="one")
    answers = await few.append(
        [request("b", topic="two"), request("c", topic="three"), request("d", topic="one")]
    )
    assert [type(answer) for answer in answers] == [Appended, Refused, Appended]
    assert answers[1] is Refused.TOO_MANY_JOURNALS
    assert await few.head("three") == Head(None, 0)
    # It asks before anything is written, so the same request goes through later.
    few.max_topics = 3
    await append(few, "c", topic="three")
    await few.close()


async def test_an_append_without_entries_makes_no_journal(journals: Journals) -> None:
    assert await append(journals) == Appended(None, [])
    assert await journals.topics("", 10) == []


async def test_journals_stand_beside_the_subscriptions_or_in_a_store_of_their_own(
    new_journals: NewJournals,
) -> None:
    first, second = new_journals(), new_journals("two")
    with pytest.raises(errors.StoreReplaced):
        await first.open(terms=Terms.TAKE)
    made = await first.open()
    assert made.made
    await append(first, "a")
    assert (await second.open([made.tag], Terms.TAKE)).identity == made.identity
    assert await shown(second) == [(1, "a")]
    with pytest.raises(errors.StoreReplaced):
        await second.open(["another"])
    for view in (first, second):
        await view.close()
        await view.close()


async def test_memory_is_that_of_the_whole_store(journals: Journals) -> None:
    await append(journals, "a")
    before = await journals.memory()
    await append(journals, *["x" * 1000] * 500)
    after = await journals.memory()
    assert after.used > before.used + 400_000
    assert after.limit is None


async def test_limits_are_those_of_each_append(journals: Journals) -> None:
    await append(journals, *"abcdef")
    await append(journals, "g", limits=JournalLimits(2, 100, 0))
    assert await shown(journals) == [(6, "f"), (7, "g")]
