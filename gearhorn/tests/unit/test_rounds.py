# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Lists that are asked for at the same time are read in one call of the store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gearhorn import errors
from gearhorn.daemon.rounds import Rounds
from gearhorn.store.base import Members

LONG = "long"
"""A topic that the store leaves out of a round."""


def members_of(topic: str) -> Members:
    return Members([f"{topic}'s"], True)


class Store:
    """Answers a call when the test says so."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.alone: list[str] = []
        self.held: list[asyncio.Future[errors.StoreError | None]] = []
        self.called = asyncio.Event()

    async def members(self, topic: str, reader: str) -> Members:
        assert reader == "worker-1"
        self.alone.append(topic)
        return members_of(topic)

    async def lists(self, topics: Sequence[str], reader: str) -> Mapping[str, Members]:
        assert reader == "worker-1"
        self.asked.append(list(topics))
        answer: asyncio.Future[errors.StoreError | None] = (
            asyncio.get_running_loop().create_future()
        )
        self.held.append(answer)
        self.called.set()
        error = await answer
        if error is not None:
            raise error
        return {topic: members_of(topic) for topic in topics if topic != LONG}

    async def until_asked(self, rounds: int) -> None:
        while len(self.asked) < rounds:
            self.called.clear()
            await asyncio.wait_for(self.called.wait(), 10)

    async def answer_all(self, rounds: int) -> None:
        for number in range(rounds):
            await self.until_asked(number + 1)
            if not self.held[number].done():
                self.held[number].set_result(None)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def rounds(store: Store) -> Rounds:
    anything: Any = store
    return Rounds(anything, "worker-1")


def read(rounds: Rounds, *topics: str) -> list[asyncio.Task[Members]]:
    return [asyncio.ensure_future(rounds.members(topic)) for topic in topics]


async def test_what_is_asked_for_in_one_turn_of_the_loop_is_one_call_in_order(
    store: Store, rounds: Rounds
) -> None:
    reads = read(rounds, "c", "a", "b", "a")
    await store.answer_all(1)
    found = await asyncio.gather(*reads)
    assert [members.client_ids for members in found] == [["c's"], ["a's"], ["b's"], ["a's"]]
    assert (store.asked, store.alone) == ([["c", "a", "b"]], [])


async def test_one_topic_alone_is_read_as_ever(store: Store, rounds: Rounds) -> None:
    assert await rounds.members("a") == members_of("a")
    assert (store.asked, store.alone) == ([], ["a"])


async def test_what_is_asked_for_later_is_not_answered_by_a_round_under_way(
    store: Store, rounds: Rounds
) -> None:
    first = read(rounds, "a", "b")
    await store.until_asked(1)
    second = read(rounds, "a", "b")
    await store.until_asked(2)
    store.held[1].set_result(None)
    await asyncio.gather(*second)
    assert not any(task.done() for task in first)
    store.held[0].set_result(None)
    await asyncio.gather(*first)


async def test_a_topic_that_the_store_leaves_out_is_read_by_itself(
    store: Store, rounds: Rounds
) -> None:
    reads = read(rounds, "a", LONG, "b")
    await store.answer_all(1)
    assert await asyncio.gather(*reads) == [members_of(topic) for topic in ("a", LONG, "b")]
    assert store.alone == [LONG]


async def test_while_rounds_hang_the_next_one_gathers(store: Store, rounds: Rounds) -> None:
    hanging = []
    for number in range(4):
        hanging += read(rounds, f"a{number}", f"b{number}")
        await store.until_asked(number + 1)
    later = [*read(rounds, "c"), *read(rounds, "d")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later += read(rounds, "e")
    store.held[2].set_result(None)
    await store.until_asked(5)
    assert store.asked[4] == ["c", "d", "e"]
    await store.answer_all(5)
    await asyncio.gather(*hanging, *later)


async def test_a_hundred_topics_make_a_round(store: Store, rounds: Rounds) -> None:
    topics = [f"t{number}" for number in range(250)]
    reads = read(rounds, *topics)
    await store.answer_all(3)
    await asyncio.gather(*reads)
    assert [len(asked) for asked in store.asked] == [100, 100, 50]
    assert [topic for asked in store.asked for topic in asked] == topics


async def test_each_reader_is_told_by_an_error_of_its_own_that_the_store_is_away(
    store: Store, rounds: Rounds
) -> None:
    reads = read(rounds, "a", "b")
    await store.until_asked(1)
    store.held[0].set_result(errors.StoreAway("not there"))
    first, second = await asyncio.gather(*reads, return_exceptions=True)
    assert isinstance(first, errors.StoreAway)
    assert isinstance(second, errors.StoreAway)
    assert str(first) == str(second) == "not there"
    assert first is not second
    assert store.alone == []


async def test_if_the_store_refuses_a_round_only_the_topic_at_fault_fails(
    store: Store, rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def members(topic: str, reader: str) -> Members:
        if topic == "bad":
            raise errors.StoreMisconfigured("of another type")
        return members_of(topic)

    monkeypatch.setattr(store, "members", members)
    reads = read(rounds, "a", "bad", "b")
    await store.until_asked(1)
    store.held[0].set_result(errors.StoreMisconfigured("of another type"))
    first, bad, last = await asyncio.gather(*reads, return_exceptions=True)
    assert (first, last) == (members_of("a"), members_of("b"))
    assert isinstance(bad, errors.StoreMisconfigured)


async def test_a_reader_that_gives_up_takes_no_other_along(store: Store, rounds: Rounds) -> None:
    impatient, patient, other = read(rounds, "a", "a", "b")
    await store.until_asked(1)
    impatient.cancel()
    await store.answer_all(1)
    assert await patient == members_of("a")
    assert await other == members_of("b")
    assert impatient.cancelled()


async def test_closing_ends_the_rounds(store: Store, rounds: Rounds) -> None:
    reads = read(rounds, "a", "b")
    await store.until_asked(1)
    for task in reads:
        task.cancel()
    await rounds.close()
    assert store.held[0].cancelled()
