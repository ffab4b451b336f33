# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What subscribers bring for their queues, in each kind of store."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest

from gearhorn.messages import NO_LIMITS, Limits
from gearhorn.store import redis_calls
from gearhorn.store.base import Store
from gearhorn.tests.clusters import Cluster
from gearhorn.tests.functional.store.stores import AnyRedis, expired, opened

FEW = Limits(max_waiting=100, overflow="skip")
IDLE = Limits(max_waiting=2**63 - 1, remove_idle=60.5)


async def limits(store: Store, topic: str = "memos") -> Mapping[str, Limits]:
    return (await store.members(topic, "reader")).limits


async def test_the_list_has_the_limits_of_those_that_brought_any(
    store: Store, other: Store
) -> None:
    await store.add("memos", "alice", None, FEW)
    await store.add("memos", "bob", 60)
    await store.add("memos", "carol", 60, IDLE)
    await store.add("other", "bob", None, IDLE)
    assert await limits(other) == {"alice": FEW, "carol": IDLE}
    assert await limits(other, "other") == {"bob": IDLE}
    assert await limits(other, "nobody's") == {}
    rows = await other.subscribers("memos", "", 10)
    assert [row.limits for row in rows] == [FEW, NO_LIMITS, IDLE]


async def test_each_registration_replaces_them(store: Store) -> None:
    for brought in (FEW, IDLE, Limits(overflow="refuse")):
        await store.add("memos", "alice", None, brought)
        assert await limits(store) == {"alice": brought}
    await store.add("memos", "alice", 60)
    assert await limits(store) == {}


async def test_other_limits_are_no_change_of_the_topic(store: Store) -> None:
    (added,) = await store.add("memos", "alice", None, FEW)
    await store.confirm(added)
    assert list(await store.add("memos", "alice", None, IDLE)) == []
    assert list(await store.add("memos", "alice", None)) == []


async def test_they_end_with_the_subscription(store: Store) -> None:
    await store.add("memos", "alice", None, FEW)
    await store.remove("memos", "alice")
    await store.add("memos", "bob", 0.02, FEW)
    await expired(store, "memos", "bob")
    await store.reap(10)
    # Taken over by another topic that makes the same queue.
    await store.add("me", "mos_carol", 0.02, FEW)
    await expired(store, "me", "mos_carol")
    await store.add("me_mos", "carol", None)
    assert await limits(store, "me") == await limits(store, "me_mos") == {}
    await store.add("memos", "alice", None)
    await store.add("memos", "bob", None)
    assert await limits(store) == {}


async def test_they_come_with_each_page_of_a_long_list(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_calls, "_PAGE", 100)
    brought = {f"bob {n}": Limits(max_waiting=100 + n) for n in range(0, 1500, 7)}
    names = [f"bob {n}" for n in range(1500)]
    await asyncio.gather(*(store.add("memos", n, None, brought.get(n, NO_LIMITS)) for n in names))
    assert await limits(store) == brought


async def test_in_redis_only_those_that_brought_any_are_kept(
    any_redis: AnyRedis, key_prefix: str
) -> None:
    async with opened(any_redis.url, key_prefix) as store:
        for client_id in ("alice", "bob"):
            await store.add("memos", client_id, None, FEW)
        await store.add("memos", "carol", None)
        await store.add("memos", "bob", None)
        # In a cluster the key lasts as long as the topic.
        kept = int(isinstance(any_redis, Cluster))
        assert any_redis.ask("HLEN", f"{key_prefix}limits:memos") == f":{1 + kept}\r\n"
        await store.add("memos", "alice", None)
        assert any_redis.ask("HLEN", f"{key_prefix}limits:memos") == f":{kept}\r\n"
        for client_id in ("alice", "bob", "carol"):
            await store.remove("memos", client_id)
        assert any_redis.ask("EXISTS", f"{key_prefix}limits:memos") == ":0\r\n"


@pytest.mark.parametrize("text", ["", "no JSON", '{"overflow": "wait"}', '{"max_waiting": "1"}'])
async def test_limits_of_another_release_that_mean_nothing_here_hold_up_no_list(
    any_redis: AnyRedis, key_prefix: str, text: str
) -> None:
    async with opened(any_redis.url, key_prefix) as store:
        await store.add("memos", "alice", None, FEW)
        any_redis.ask("HSET", f"{key_prefix}limits:memos", "alice", text)
        assert await limits(store) == {"alice": NO_LIMITS}


async def test_what_another_release_says_beside_them_is_passed_over(
    any_redis: AnyRedis, key_prefix: str
) -> None:
    async with opened(any_redis.url, key_prefix) as store:
        await store.add("memos", "alice", None, FEW)
        any_redis.ask(
            "HSET", f"{key_prefix}limits:memos", "alice", '{"max_waiting": 200, "colour": 1}'
        )
        assert await limits(store) == {"alice": Limits(max_waiting=200)}


async def test_a_file_of_the_last_release_gets_a_table_for_them(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    url = f"sqlite://{path}"
    async with opened(url) as store:
        await store.add("memos", "alice", None)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE limits")
    async with opened(url) as store:
        await store.add("memos", "bob", None, FEW)
        assert await limits(store) == {"bob": FEW}
        # That release removes a subscriber, and leaves what it does not know.
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("DELETE FROM subscribers WHERE client_id = 'bob'")
        assert await limits(store) == {}
