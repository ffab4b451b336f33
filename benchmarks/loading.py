# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Bulk loading of subscriptions, for cases that do not measure registering."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence

from redis import Redis

from benchmarks.servers import KEY_PREFIX

_AT_ONCE = 5_000

Topics = Sequence[tuple[str, Sequence[str]]]


def load(redis_port: int, topics: Topics) -> None:
    """Add the client_ids of each topic, as the store would write them one by one.

    Call this before a daemon reads any of these topics, since nobody is told.
    """
    with Redis(port=redis_port) as redis:
        for subscriptions in _in_pieces(topics):
            pipeline = redis.pipeline(transaction=False)
            for topic, client_ids in subscriptions:
                pipeline.zadd(f"{KEY_PREFIX}topics", {topic: 0})
                pipeline.sadd(f"{KEY_PREFIX}topic:{topic}", *client_ids)
                claims = {f"{topic}_{name}": f"{topic}\0{name}" for name in client_ids}
                pipeline.hset(f"{KEY_PREFIX}claims", mapping=claims)
            pipeline.execute()
    asyncio.run(_check(redis_port, topics))


def _in_pieces(topics: Topics) -> Iterator[Topics]:
    pieces = (
        (topic, client_ids[start : start + _AT_ONCE])
        for topic, client_ids in topics
        for start in range(0, len(client_ids), _AT_ONCE)
    )
    while piece := list(itertools.islice(pieces, 100)):
        yield piece


async def _check(redis_port: int, topics: Topics) -> None:
    """Read the last topic as a daemon would, to check that the store finds it."""
    from gearhorn.store import open_store

    store = open_store(
        f"redis://127.0.0.1:{redis_port}/0",
        key_prefix=KEY_PREFIX,
        matchmaking_topic="__matchmaking",
        timeout=60,
    )
    await store.open()
    topic, client_ids = topics[-1]
    found = await store.members(topic, "")
    assert sorted(found.client_ids) == sorted(client_ids), "the store has another layout"
    await store.close()
