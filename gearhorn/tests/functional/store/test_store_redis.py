# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Events that only a store in Redis can meet with."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis as Client

from gearhorn import clock, errors
from gearhorn.messages import Limits
from gearhorn.store import redis_calls, redis_scripts
from gearhorn.store.base import Change, Store
from gearhorn.store.redis import RedisStore
from gearhorn.tests.clusters import Cluster
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.store.stores import AnyRedis, holder, opened
from gearhorn.tests.servers import Redis


@pytest.fixture
async def store(any_redis: AnyRedis, key_prefix: str) -> AsyncIterator[Store]:
    async with opened(any_redis.url, key_prefix) as store:
        yield store


@pytest.fixture
async def client(any_redis: AnyRedis, key_prefix: str) -> AsyncIterator[Client]:
    async with Client.from_url(holder(any_redis, key_prefix).url) as client:
        yield client


# Keys.


async def test_the_keys_are_those_documented(
    store: Store, any_redis: AnyRedis, key_prefix: str
) -> None:
    node = holder(any_redis, key_prefix)
    # In a cluster they always exist.
    fixed = set(redis_scripts.KEYS) | {"follows"} if isinstance(any_redis, Cluster) else set()
    async with Client.from_url(node.url, decode_responses=True) as client:
        await store.add("memos", "alice", 60, Limits(remove_idle=3600))
        await store.join("one", "{}")
        await store.looked(1)
        await store.unserved(["memos_alice"], 0)
        await store.add("memos", "bob", None)
        await store.remove("memos", "bob")
        await store.take("memos_bob", "token", length=60, age=0)
        types = {
            key.removeprefix(key_prefix): await client.type(key)
            async for key in client.scan_iter(f"{key_prefix}*")
        }
        assert types == {
            "identity": "string",
            "counter": "string",
            "topics": "zset",
            "topic:memos": "set",
            "topic:__matchmaking": "set",
            "claims": "hash",
            "expiry": "zset",
            "unconfirmed": "hash",
            "daemons": "hash",
            "seen": "hash",
            "settings": "hash",
            "secrets": "hash",
            "knows": "hash",
            "limits:memos": "hash",
            "ended": "hash",
            "ended_at": "zset",
            "ended_queues": "zset",
            "discards": "hash",
            "idle": "zset",
            "idle_after": "hash",
            "looked": "string",
            "run": "string",
            **({"told": "hash", "follows": "set", "patterns": "hash"} if fixed else {}),
        }
        assert await client.hget(f"{key_prefix}claims", "memos_alice") == "memos\0alice"
        await store.reap(1)
        await store.remove("memos", "alice")
        await store.release("memos_bob", "token")
        await store.leave("one")
        (change,) = await store.unconfirmed(1)
        await store.confirm(change)
        left = {key async for key in client.scan_iter(f"{key_prefix}*")}
        # Nothing stays behind but the records of what ended.
        kept = {"identity", "counter", "run", "ended", "ended_at", "ended_queues", "looked"}
        assert left == {key_prefix + name for name in kept | fixed}


async def test_a_large_set_is_read_in_pages(
    store: Store, client: Client, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_calls, "_PAGE", 100)
    names = {f"subscriber {number}" for number in range(5000)}
    await client.sadd(f"{key_prefix}topic:memos", *names)
    await store.join("one", "{}")
    members = await store.members("memos", "one")
    assert len(members.client_ids) == 5000
    assert set(members.client_ids) == names
    assert members.reader_known
    rows = await store.subscribers("memos", "subscriber 3", 3)
    assert [row.client_id for row in rows] == sorted(
        name for name in names if name > "subscriber 3"
    )[:3]
    for number in range(500):
        await store.add(f"topic {number}", "alice", None)
    assert len(await store.unconfirmed(10_000)) == 500


async def test_who_leaves_while_a_large_set_is_read_is_not_known(
    store: Store, client: Client, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_calls, "_PAGE", 10)
    await client.sadd(f"{key_prefix}topic:memos", *range(5000))
    await store.join("one", "{}")
    reading = asyncio.create_task(store.members("memos", "one"))
    await asyncio.sleep(0.01)
    assert not reading.done()
    await store.leave("one")
    members = await reading
    assert len(members.client_ids) == 5000
    assert not members.reader_known


async def test_an_entry_removed_from_the_set_by_hand_is_gone(
    store: Store, any_redis: AnyRedis, key_prefix: str
) -> None:
    await store.join("one", "{}")
    await store.join("two", "{}")
    any_redis.ask("SREM", f"{key_prefix}topic:__matchmaking", "one")
    assert not await store.renew("one")


# Restarts and what is lost in them.


async def test_a_restart_is_noticed(redis: Redis) -> None:
    async with opened(redis.url) as store:
        changes = await store.add("memos", "alice", None)
        assert store.run_changed_at == -math.inf
        redis.stop()
        with pytest.raises(errors.StoreAway):
            await store.add("memos", "bob", None)
        before = clock.now()
        redis.start()
        assert await store.add("memos", "alice", None) == changes
        assert before < store.run_changed_at <= clock.now()
        changed_at = store.run_changed_at
        # Scripts were loaded again; one that runs on changes nothing.
        await store.join("one", "{}")
        assert await store.renew("one")
        assert store.run_changed_at == changed_at


async def test_who_finds_a_store_cannot_tell_what_it_lost(start: Start) -> None:
    server = start(Redis(appendonly="yes", appendfsync="always"))
    async with opened(server.url):
        pass
    server.stop()
    server.start()
    before = clock.now()
    async with opened(server.url) as second:
        assert before < second.run_changed_at <= clock.now()


async def test_who_finds_a_store_that_this_process_has_from_its_beginning_need_not_wait(
    store: Store, any_redis: AnyRedis, key_prefix: str
) -> None:
    assert store.run_changed_at == -math.inf
    async with opened(any_redis.url, key_prefix) as second:
        assert second.run_changed_at == -math.inf


async def test_who_finds_a_store_that_is_vouched_for_need_not_wait(redis: Redis) -> None:
    async with opened(redis.url) as store:
        await store.vouch()
        async with opened(redis.url) as second:
            assert second.run_changed_at == -math.inf
        # Another process: the word for the one before does not count.
        redis.stop()
        before = clock.now()
        redis.start()
        async with opened(redis.url) as third:
            assert before < third.run_changed_at <= clock.now()
            redis.ask("DEL", "gearhorn:identity")
            with pytest.raises(errors.StoreReplaced):
                await third.vouch()


async def test_a_connection_closed_meanwhile_is_opened_again(
    store: Store, any_redis: AnyRedis
) -> None:
    any_redis.ask("CLIENT", "KILL", "TYPE", "normal")
    await store.add("memos", "alice", None)
    any_redis.ask("CLIENT", "KILL", "TYPE", "normal")
    await asyncio.sleep(0.05)
    assert (await store.members("memos", "")).client_ids == ["alice"]
    any_redis.ask("SCRIPT", "FLUSH")
    await store.add("memos", "bob", None)
    assert store.run_changed_at == -math.inf


OPERATIONS: dict[str, tuple[Any, ...]] = {
    "vouch": (),
    "add": ("memos", "alice", None),
    "remove": ("memos", "alice"),
    "members": ("memos", "one"),
    "lists": (["memos", "other"], "one"),
    "reap": (10,),
    "unconfirmed": (10,),
    "confirm": (Change("memos", 1),),
    "join": ("one", "{}"),
    "renew": ("one",),
    "leave": ("one",),
    "daemons": (),
    "bar": ("one",),
    "remove_daemon": ("one", 1),
    "topics": ("", 10),
    "subscribers": ("memos", "", 10),
    "patterns": (),
    "offer_patterns": (["orders.*"], "identity"),
    "adopt_patterns": (["orders.*"], "identity"),
}


@pytest.mark.parametrize("emptied", [True, False])
async def test_an_emptied_or_swapped_store_is_noticed(start: Start, emptied: bool) -> None:
    server = start(Redis())
    async with opened(server.url) as store:
        await store.add("memos", "alice", None)
        if emptied:
            server.ask("FLUSHALL")
        else:
            server.ask("SET", "gearhorn:identity", "another")
        keys = server.ask("DBSIZE")
        for name, args in OPERATIONS.items():
            with pytest.raises(errors.StoreReplaced):
                await getattr(store, name)(*args)
        # Nothing was written to it.
        assert server.ask("DBSIZE") == keys
        # A daemon that starts takes it as it is.
        async with opened(server.url) as restarted:
            await restarted.add("memos", "bob", None)


async def test_a_lost_identity_alone_does_not_make_a_new_store(
    store: Store, any_redis: AnyRedis, key_prefix: str
) -> None:
    await store.add("memos", "alice", None)
    any_redis.ask("DEL", f"{key_prefix}identity")
    async with opened(any_redis.url, key_prefix) as second:
        assert second.run_changed_at > -math.inf


async def test_a_redis_that_evicts_any_key_is_named(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(Redis(maxmemory_policy="allkeys-lru"))
    async with opened(server.url):
        assert "noeviction" in caplog.text
    caplog.clear()
    server.ask("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    async with opened(server.url):
        assert "noeviction" not in caplog.text


async def test_a_run_that_changes_while_a_set_is_read_starts_it_again(
    store: Store, client: Client, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_calls, "_PAGE", 10)
    assert isinstance(store, RedisStore)
    await client.sadd(f"{key_prefix}topic:memos", *range(1000))
    calls = 0
    checked = store._checked

    async def noting(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            store._run = "another process"
        return await checked(*args, **options)

    monkeypatch.setattr(store, "_checked", noting)
    members = await store.members("memos", "one")
    assert len(members.client_ids) == 1000
    once = calls
    await store.members("memos", "one")
    assert once > 1.5 * (calls - once)
