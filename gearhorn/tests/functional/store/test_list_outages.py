# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The store goes away while the lists of many topics are read, and comes back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from gearhorn.daemon.list_cache import Fetched, ListCache
from gearhorn.store.base import Store
from gearhorn.store.patience import Patience
from gearhorn.tests.functional.store.stores import MATCHMAKING, make
from gearhorn.tests.processes import until
from gearhorn.tests.proxy import Proxy

TOPICS = [f"topic{number}" for number in range(300)]


@pytest.fixture
async def store(proxied_redis: Proxy) -> AsyncIterator[Store]:
    store = make(proxied_redis.url, timeout=20, worker_id="one")
    await store.open()
    await store.join("one", "{}")
    await asyncio.gather(*(store.add(topic, f"{topic}'s", None) for topic in TOPICS))
    store.set_timeout(0.5)
    yield store
    await store.close()


@pytest.fixture
def patience() -> Patience:
    return Patience()


@pytest.fixture
async def lists(store: Store, patience: Patience) -> AsyncIterator[ListCache]:
    lists = ListCache(
        store,
        patience,
        worker_id="one",
        uncached_topic=MATCHMAKING,
        cache_ttl=60,
        max_topics=1000,
    )
    lists.keep_until(math.inf)
    yield lists
    await lists.close()


def read_all(lists: ListCache) -> list[asyncio.Task[Fetched]]:
    return [asyncio.ensure_future(lists.fetch(topic)) for topic in TOPICS]


async def expect_all(reads: list[asyncio.Task[Fetched]]) -> None:
    for topic, (recipients, kept) in zip(TOPICS, await asyncio.gather(*reads), strict=True):
        assert recipients.whole.client_ids == [f"{topic}'s"]
        assert kept


async def test_every_list_comes_when_the_store_is_back(
    lists: ListCache, patience: Patience, proxied_redis: Proxy
) -> None:
    proxied_redis.cut()
    reads = read_all(lists)
    await until(lambda: patience.waiting == len(TOPICS))
    assert not any(task.done() for task in reads)
    proxied_redis.mend()
    await expect_all(reads)
    assert (patience.waiting, patience.fault) == (0, None)


async def test_an_answer_that_breaks_off_is_asked_for_again(
    lists: ListCache, proxied_redis: Proxy
) -> None:
    proxied_redis.truncate(100)
    await expect_all(read_all(lists))


async def test_a_store_that_falls_silent_is_given_its_time_and_asked_again(
    lists: ListCache, patience: Patience, proxied_redis: Proxy
) -> None:
    proxied_redis.stall_after(10_000)
    reads = read_all(lists)
    await until(lambda: patience.waiting)
    assert proxied_redis.stalled
    proxied_redis.resume()
    await expect_all(reads)


async def test_readers_that_are_ended_in_an_outage_leave_nothing_behind(
    lists: ListCache, patience: Patience, proxied_redis: Proxy
) -> None:
    proxied_redis.stall()
    reads = read_all(lists)
    await until(lambda: lists._rounds._under_way == 3)
    for task in reads:
        task.cancel()
    await lists.close()
    await asyncio.gather(*reads, return_exceptions=True)
    assert all(task.cancelled() for task in reads)
    assert patience.waiting == 0
    proxied_redis.resume()
    await expect_all(read_all(lists))
