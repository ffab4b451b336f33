# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Lists of subscribers are leases: how long they serve, and for whom."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gearhorn import clock, errors
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.metrics import Counts
from gearhorn.store.base import Members
from gearhorn.store.patience import Patience

CACHE_TTL = 10.0


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(clock, "now", fake)
    return fake


class SlowStore:
    """Answers when the test says what."""

    def __init__(self) -> None:
        self.questions: asyncio.Queue[tuple[str, asyncio.Future[Members]]] = asyncio.Queue()

    async def members(self, topic: str, reader: str) -> Members:
        assert reader == "worker-1"
        answer: asyncio.Future[Members] = asyncio.get_running_loop().create_future()
        self.questions.put_nowait((topic, answer))
        return await answer

    async def answer(self, *client_ids: str) -> None:
        _, answer = await asyncio.wait_for(self.questions.get(), 10)
        answer.set_result(Members(client_ids, True))


class Room:
    def __init__(self, max_topics: int = 100) -> None:
        self.store = SlowStore()
        self.counts = Counts()
        store: Any = self.store
        self.lists = ListCache(
            store,
            Patience(),
            worker_id="worker-1",
            uncached_topic="__matchmaking",
            cache_ttl=CACHE_TTL,
            max_topics=max_topics,
            counts=self.counts,
        )
        self.lists.keep_until(math.inf)

    async def fetch(
        self,
        *client_ids: str,
        topic: str = "t",
        known: bool = True,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> tuple[Sequence[str], bool]:
        """Read a list; what happens ``meanwhile`` happens between question and answer."""
        task = asyncio.ensure_future(self.lists.fetch(topic))
        _, answer = await asyncio.wait_for(self.store.questions.get(), 10)
        meanwhile()
        answer.set_result(Members(client_ids, known))
        recipients, kept = await task
        return recipients.whole.client_ids, kept

    def cached(self, topic: str = "t") -> Sequence[str] | None:
        recipients = self.lists.cached(topic)
        return None if recipients is None else recipients.whole.client_ids


async def test_a_list_may_be_used_for_its_time_from_before_it_was_asked_for(now: Clock) -> None:
    room = Room()
    assert room.cached() is None

    def answer_comes_late() -> None:
        now.time += 4.0

    assert await room.fetch("bob", meanwhile=answer_comes_late) == (["bob"], True)
    assert room.cached() == ["bob"]
    now.time += 5.9
    assert room.cached() == ["bob"]
    now.time += 0.1
    assert room.cached() is None
    assert room.counts.dropped == {"expired": 1}


async def test_a_list_that_took_longer_than_its_time_serves_nobody_else(now: Clock) -> None:
    room = Room()

    def answer_comes_too_late() -> None:
        now.time += CACHE_TTL

    await room.fetch("bob", meanwhile=answer_comes_too_late)
    assert room.cached() is None


async def test_a_notice_drops_the_list_of_its_topic(now: Clock) -> None:
    room = Room()
    await room.fetch("bob")
    await room.fetch("alice", topic="u")
    room.lists.drop("t")
    room.lists.drop("unheard of")
    assert room.cached() is None
    assert room.cached("u") == ["alice"]
    assert room.lists.subscribers == 1
    room.lists.keep_none()
    assert room.cached("u") is None
    assert room.lists.subscribers == 0
    # What was not there is not dropped.
    assert room.counts.dropped == {"changed": 1, "all": 1}


@pytest.mark.parametrize("all_", [False, True])
async def test_a_list_is_not_kept_if_a_notice_came_while_it_was_read(
    now: Clock, all_: bool
) -> None:
    room = Room()
    drop = room.lists.keep_none if all_ else lambda: room.lists.drop("t")
    assert await room.fetch("old", meanwhile=drop) == (["old"], False)
    assert room.cached() is None
    room.lists.keep_until(math.inf)
    assert await room.fetch("new", meanwhile=lambda: room.lists.drop("u")) == (["new"], True)


async def test_a_second_reading_knows_what_disturbed_the_first(now: Clock) -> None:
    room = Room()
    first = asyncio.ensure_future(room.lists.fetch("t"))
    _, asked_first = await room.store.questions.get()
    room.lists.drop("t")
    assert await room.fetch("new") == (["new"], True)
    asked_first.set_result(Members(["old"], True))
    assert (await first).kept is False
    assert room.cached() == ["new"]


async def test_what_disturbed_an_attempt_that_failed_is_in_the_next(now: Clock) -> None:
    room = Room()
    task = asyncio.ensure_future(room.lists.fetch("t"))
    _, answer = await room.store.questions.get()
    room.lists.drop("t")
    answer.set_exception(errors.StoreAway("not there"))
    now.time += 100.0
    await room.store.answer("new")
    recipients, kept = await task
    assert (recipients.whole.client_ids, recipients.asked, kept) == (["new"], 1100.0, True)


async def test_no_list_outlives_the_entry_of_the_daemon(now: Clock) -> None:
    room = Room()
    room.lists.keep_until(now.time + CACHE_TTL - 0.1)
    assert await room.fetch("bob") == (["bob"], False)
    room.lists.keep_until(now.time + CACHE_TTL)
    assert await room.fetch("bob") == (["bob"], True)

    assert await room.fetch("bob", meanwhile=room.lists.keep_none) == (["bob"], False)


async def test_a_daemon_that_the_store_does_not_know_keeps_nothing(now: Clock) -> None:
    room = Room()
    told: list[bool] = []
    room.lists.on_unknown = lambda: told.append(True)
    assert await room.fetch("bob", known=False) == (["bob"], False)
    assert told == [True]
    assert await room.fetch("bob") == (["bob"], True)
    assert told == [True]


async def test_the_list_of_the_daemons_is_always_read(now: Clock) -> None:
    room = Room()
    assert await room.fetch("worker-1", topic="__matchmaking") == (["worker-1"], False)


async def test_only_so_many_lists_are_kept_the_last_used(now: Clock) -> None:
    room = Room(max_topics=2)
    await room.fetch("bob", topic="a")
    await room.fetch("bob", topic="b")
    assert room.cached("a")
    await room.fetch("bob", topic="c")
    assert [bool(room.cached(topic)) for topic in "abc"] == [True, False, True]


async def test_a_lower_number_drops_those_that_were_used_longest_ago(now: Clock) -> None:
    room = Room()
    for topic in "abc":
        await room.fetch("bob", topic=topic)
    assert room.cached("a")
    room.lists.set_max_topics(1)
    assert [bool(room.cached(topic)) for topic in "abc"] == [True, False, False]
    assert room.counts.dropped == {"evicted": 2}
    room.lists.set_max_topics(2)
    await room.fetch("bob", topic="b")
    assert [bool(room.cached(topic)) for topic in "abc"] == [True, True, False]
