# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Reading journals, listing them, their upkeep, and the watch, in each kind of store."""

from __future__ import annotations

import asyncio
import time

import async_timeout
import pytest

from gearhorn.store.journal import Head, JournalLimits, JournalRow, Journals, Question
from gearhorn.tests.functional.store.journals import (
    LIMITS,
    TOPIC,
    NewJournals,
    append,
    read,
    shown,
)

pytestmark = pytest.mark.once

SHORT = JournalLimits(1000, 1_000_000, 0.05)


async def test_before_the_first_append_there_is_nothing_to_read(journals: Journals) -> None:
    found = await read(journals, 7)
    assert (found.journal, found.first, found.last, list(found.messages)) == (None, 1, 0, [])
    assert (found.trimmed, found.gap, found.reset) == (False, False, False)
    assert (await read(journals, 7, "id")).reset
    # Reading makes no journal.
    assert await journals.topics("", 10) == []


async def test_reading_goes_on_after_a_sequence_page_by_page(journals: Journals) -> None:
    await append(journals, *(str(number) for number in range(1, 51)))
    after, pages = 0, []
    while page := (await read(journals, after, limit=20)).messages:
        pages.append(len(page))
        after = page[-1].sequence
    assert (pages, after) == ([20, 20, 10], 50)
    assert await shown(journals, 48) == [(49, "49"), (50, "50")]
    assert await shown(journals, 50) == await shown(journals, 1000) == []


async def test_a_page_holds_so_many_bytes_but_one_message_always_fits(journals: Journals) -> None:
    await append(journals, "x" * 5000, *["y" * 100] * 20)
    assert len((await read(journals, max_bytes=10)).messages) == 1
    assert len((await read(journals, max_bytes=5199)).messages) == 2
    assert len((await read(journals, max_bytes=5200)).messages) == 3
    assert len((await read(journals, 1, max_bytes=1000)).messages) == 10


async def test_large_messages_are_read_whole(journals: Journals) -> None:
    large = "x" * 3_000_000
    limits = JournalLimits(1000, 1 << 30, 0)
    await append(journals, large, "small", large, *["small"] * 40, limits=limits)
    found = await read(journals, max_bytes=16 << 20)
    assert [message.sequence for message in found.messages] == [*range(1, 44)]
    assert found.messages[2].payload == large.encode()


async def test_messages_that_are_gone_are_told(journals: Journals) -> None:
    for text in "abcde":
        await append(journals, text, limits=LIMITS._replace(max_messages=2))
    assert (await read(journals, 2)).trimmed
    assert not (await read(journals, 3)).trimmed
    assert (await read(journals, 0)).first == 4


async def test_another_journal_counts_from_its_beginning(journals: Journals) -> None:
    answer = await append(journals, "a", "b")
    found = await read(journals, 2, "another")
    assert found.reset
    assert [message.sequence for message in found.messages] == [1, 2]
    assert not (await read(journals, 1, answer.journal)).reset


async def test_rows_say_what_is_in_each_journal(journals: Journals) -> None:
    answer = await append(journals, "aa", "bbb")
    await append(journals, "c", topic="other")
    (row,) = await journals.rows([TOPIC])
    assert row.age is not None
    assert 0 <= row.age < 30
    assert row == JournalRow(TOPIC, answer.journal or "", 1, 2, 2, 5, row.age)
    named = await journals.rows(["none", "other", TOPIC, "none"])
    assert [row.topic for row in named] == ["other", TOPIC]
    assert await journals.rows([]) == []


async def test_all_rows_come_page_by_page(journals: Journals) -> None:
    names = sorted(f"topic {number}" for number in range(7))
    for name in names:
        await append(journals, "a", topic=name)
    found: list[str] = []
    while page := await journals.page(found[-1] if found else "", 3):
        found += [row.topic for row in page]
    assert found == names


async def test_upkeep_ends_what_is_too_old(journals: Journals) -> None:
    first = await append(journals, "old", "old too")
    old = time.monotonic()
    await asyncio.sleep(1.0)
    await append(journals, "new")
    await journals.upkeep(lambda topic: None)
    assert len(await shown(journals)) == 3
    # However long that took, between the ages of the old and the new.
    limits = LIMITS._replace(max_age=time.monotonic() - old - 0.1)
    await journals.upkeep(lambda topic: limits)
    assert await shown(journals) == [(3, "new")]
    assert (await read(journals)).trimmed
    await asyncio.sleep(0.1)
    await journals.trim(TOPIC, LIMITS._replace(max_age=0.05))
    found = await read(journals)
    # An empty journal is kept, with its numbers.
    assert (found.journal, found.first, found.last, list(found.messages)) == (
        first.journal,
        4,
        3,
        [],
    )
    (row,) = await journals.rows([TOPIC])
    assert (row.messages, row.bytes, row.age) == (0, 0, None)
    answer = await append(journals, "newest")
    assert answer.journal == first.journal
    assert await shown(journals) == [(4, "newest")]
    assert (await read(journals)).first == 4


async def test_upkeep_goes_by_the_limits_of_the_last_append_if_it_is_given_none(
    journals: Journals,
) -> None:
    await append(journals, "a", limits=SHORT)
    await asyncio.sleep(0.1)
    await journals.trim(TOPIC, None)
    assert await shown(journals) == []


async def test_more_messages_end_than_one_step_ends(journals: Journals) -> None:
    limits = JournalLimits(10_000, 1 << 30, 0.05)
    await append(journals, *["x"] * 2500, limits=limits)
    await asyncio.sleep(0.1)
    await append(journals, "y", limits=limits)
    await journals.trim(TOPIC, limits)
    assert [sequence for sequence, _ in await shown(journals)] in ([2501], [])


async def test_a_journal_without_appends_for_long_is_deleted(journals: Journals) -> None:
    first = await append(journals, "a", limits=SHORT)
    await append(journals, "b", topic="kept", limits=SHORT._replace(max_age=0))
    await asyncio.sleep(0.6)
    await journals.upkeep(lambda topic: None)
    assert await journals.head(TOPIC) == Head(None, 0)
    assert await journals.topics("", 10) == ["kept"]
    assert (await read(journals, 1, first.journal)).reset
    again = await append(journals, "c", limits=SHORT)
    assert again.journal not in (None, first.journal)
    assert await shown(journals) == [(1, "c")]


async def test_whoever_watches_a_topic_is_told_of_its_appends(
    journals: Journals, others: Journals
) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    journals.on_append = heard.put_nowait
    await journals.watch(TOPIC)
    await journals.watch("another")
    await journals.watch("another")
    await append(others, "a", topic="unheard")
    await append(others, "b", topic="another")
    while (topic := await heard.get()) != "another":
        assert topic is None
    # Its own appends, too.
    await append(journals, "c")
    while (topic := await heard.get()) != TOPIC:
        assert topic in (None, "another")


async def test_a_topic_that_is_watched_no_more_is_not_heard_of(
    journals: Journals, others: Journals
) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    await journals.watch("another")
    await journals.watch(TOPIC)
    journals.unwatch("another")
    journals.unwatch("never watched")
    journals.on_append = heard.put_nowait

    async def is_heard() -> bool:
        await append(others, "a", topic="another")
        await append(others, "b")
        topics = []
        while (topic := await heard.get()) != TOPIC:
            assert topic in (None, "another")
            topics.append(topic)
        return "another" in topics

    async with async_timeout.timeout(10):
        # It may come while the watch is being given up.
        while await is_heard():
            pass
    assert not await is_heard()
    journals.unwatch(TOPIC)
    await journals.watch(TOPIC)
    await append(others, "d")
    while await heard.get() != TOPIC:
        pass


async def test_a_watch_can_be_begun_before_the_journal_and_closed_at_any_time(
    new_journals: NewJournals,
) -> None:
    view = new_journals()
    await view.open()
    await view.watch(TOPIC)
    await view.close()
    view = new_journals()
    await view.open()
    await view.watch(TOPIC)
    view.unwatch(TOPIC)
    await view.close()


async def test_several_journals_are_read_in_their_order(journals: Journals) -> None:
    first = (await append(journals, "a", "b", topic="one")).journal
    other = (await append(journals, "c", topic="two")).journal
    questions = [
        Question("two", 0, None, 10, 1000),
        Question("none", 5, None, 10, 1000),
        Question("one", 1, first, 10, 1000),
        Question("one", 1, other, 10, 1000),
    ]
    found = await journals.read_all(questions)
    payloads = [[message.payload for message in reading.messages] for reading in found]
    assert payloads == [[b"c"], [], [b"b"], [b"a", b"b"]]
    assert [reading.reset for reading in found] == [False, False, False, True]
    assert await journals.read_all([]) == []
    assert await journals.heads(["two", "none", "one"]) == [
        Head(other, 1),
        Head(None, 0),
        Head(first, 2),
    ]
    assert await journals.heads([]) == []


async def test_more_than_one_answer_can_hold_is_read_all_the_same(journals: Journals) -> None:
    large = "x" * 7_000_000
    limits = JournalLimits(1000, 1 << 30, 0)
    for topic in ("one", "two"):
        await append(journals, large, "small", large, topic=topic, limits=limits)
    question = Question("one", 0, None, 1000, 16 << 20)
    found = await journals.read_all([question, question._replace(topic="two")] * 2)
    assert [[len(message.payload) for message in reading.messages] for reading in found] == [
        [7_000_000, 5, 7_000_000]
    ] * 4
