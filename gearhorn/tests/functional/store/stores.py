# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Opening stores, and asking them what the tests want to know."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from gearhorn import errors
from gearhorn.store import open_store
from gearhorn.store.base import Store
from gearhorn.store.redis_cluster import slot_of
from gearhorn.tests.clusters import Cluster
from gearhorn.tests.servers import Redis

T = TypeVar("T")

MATCHMAKING = "__matchmaking"
PREFIX = "gearhorn:"
"""The beginning of all keys in a server of the test's own."""

AnyRedis = Redis | Cluster
"""One Redis, or a cluster."""

NewStore = Callable[[], Store]


def make(url: str, key_prefix: str = PREFIX, timeout: float = 5.0, *, worker_id: str = "") -> Store:
    """A store, still to be opened."""
    return open_store(
        url,
        key_prefix=key_prefix,
        matchmaking_topic=MATCHMAKING,
        timeout=timeout,
        worker_id=worker_id,
    )


@contextlib.asynccontextmanager
async def opened(url: str, key_prefix: str = PREFIX, timeout: float = 5.0) -> AsyncIterator[Store]:
    store = make(url, key_prefix, timeout)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


def holder(servers: AnyRedis, key_prefix: str) -> Redis:
    """The server that has the keys."""
    return servers if isinstance(servers, Redis) else servers.holder(slot_of(key_prefix))


async def ids(store: Store, topic: str) -> set[str]:
    """The subscribers of a topic."""
    return set((await store.members(topic, "reader")).client_ids)


async def expired(store: Store, topic: str, client_id: str, ttl: float = 0.02) -> None:
    """Add a subscriber and wait until it has expired."""
    await store.add(topic, client_id, ttl)
    while True:
        rows = await store.subscribers(topic, "", 1000)
        left = {row.client_id: row.expires_in for row in rows}[client_id]
        assert left is not None
        if left <= 0:
            return
        await asyncio.sleep(left + 0.002)


def has_copied(replica: Redis, topic: str, client_id: str) -> bool:
    """Return true if a replica of a server of the test's own knows a subscriber."""
    return client_id in replica.ask("SMEMBERS", f"{PREFIX}topic:{topic}")


async def until_it_answers(operation: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Call until the store is back."""
    while True:
        try:
            return await operation(*args)
        except errors.StoreAway:
            await asyncio.sleep(0.05)
