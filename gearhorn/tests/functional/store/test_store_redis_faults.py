# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A Redis that is away, full, read-only or set up wrongly."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from redis.asyncio import Redis as Client

from gearhorn import errors
from gearhorn.store.redis import RedisStore
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.store.stores import expired, has_copied, opened, until_it_answers
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Redis


def connections_taken(server: Redis) -> int:
    """Return the number of connections that a server has taken since its start."""
    (count,) = re.findall(r"total_connections_received:(\d+)", server.ask("INFO", "stats"))
    return int(count)


async def test_a_store_that_is_not_there_is_away(start: Start) -> None:
    server = start(Redis())
    server.stop()
    with pytest.raises(errors.StoreAway):
        async with opened(server.url):
            pass


async def test_a_store_that_does_not_answer_is_away(start: Start) -> None:
    server = start(Redis())
    async with opened(server.url, timeout=1.5) as store:
        await store.add("memos", "alice", None)
        before = connections_taken(server)
        server.pause()
        with pytest.raises(errors.StoreAway):
            await store.add("memos", "bob", None)
        server.resume()
        # A lost reply is not hidden by a second try, which would be on another connection. There
        # is one more, which this is asked on.
        assert connections_taken(server) == before + 1
        server.pause()
        with pytest.raises(errors.StoreAway):
            await store.members("memos", "one")
        server.resume()
        await until_it_answers(store.add, "memos", "bob", None)
        members = await store.members("memos", "one")
        assert set(members.client_ids) == {"alice", "bob"}


async def test_after_an_outage_no_old_connection_costs_a_timeout(
    start: Start,
) -> None:
    server = start(Redis())
    async with opened(server.url, timeout=1.0) as store:

        def many() -> list[Any]:
            return [store.add("memos", str(n), None) for n in range(16)]

        await asyncio.gather(*many())
        assert isinstance(store, RedisStore)
        idle = list(store._connections.pool._available_connections)
        assert len(idle) > 1
        server.pause()
        with pytest.raises(errors.StoreAway):
            await store.renew("one")
        server.resume()
        await asyncio.gather(*many())
        assert not [c for c in idle if c.is_connected]


async def test_a_loading_store_is_away(start: Start) -> None:
    server = start(Redis(key_load_delay="2000"))
    async with opened(server.url, timeout=1.0) as store:
        for number in range(300):
            await store.add("memos", str(number), None)
            server.ask("SET", f"key {number}", "x" * 10_000)
        server.ask("SAVE")
        loading = asyncio.create_task(asyncio.to_thread(server.ask, "DEBUG", "RELOAD"))
        await asyncio.sleep(0)
        assert await until_it_answers(store.members, "memos", "one")
        await loading


async def test_a_wrong_password_is_a_fault_of_configuration(
    start: Start,
) -> None:
    server = start(Redis(requirepass="right-secret"))
    address = server.address
    for user_info in ("", ":wrong-secret@", "nobody:wrong-secret@"):
        with pytest.raises(errors.StoreMisconfigured) as caught:
            async with opened(f"redis://{user_info}{address}"):
                pass
        assert "secret" not in str(caught.value)
    for good in (
        f"redis://:right-secret@{address}",
        f"redis://default:right-secret@{address}/3",
        f"redis://{address}?password=right-secret&db=4",
    ):
        async with opened(good) as store:
            await store.add("memos", "alice", None)


async def test_a_user_without_permission_is_a_fault_of_configuration(
    start: Start,
) -> None:
    server = start(Redis())
    server.ask("ACL", "SETUSER", "gear", "on", ">pw", "~other:*", "+@all")
    with pytest.raises(errors.StoreMisconfigured):
        async with opened(f"redis://gear:pw@{server.address}"):
            pass


async def test_the_permissions_that_are_documented_are_enough(
    start: Start,
) -> None:
    server = start(Redis())
    rule = "on >pw ~gearhorn:* -@all +@read +@write +@scripting +@connection"
    rule += " +info +time"
    server.ask("ACL", "SETUSER", "gear", *rule.split())
    url = f"redis://gear:pw@{server.address}"
    async with opened(url) as store:
        await store.add("memos", "alice", 60)
        await store.join("one", "{}")
        assert (await store.members("memos", "one")).reader_known
        assert await store.daemons()
        assert await store.topics("", 10)
        assert await store.subscribers("memos", "", 10)


async def test_an_unknown_database_is_a_fault_of_configuration(
    redis_server: Redis, key_prefix: str
) -> None:
    url = f"redis://{redis_server.address}/12345"
    with pytest.raises(errors.StoreMisconfigured):
        async with opened(url, key_prefix):
            pass


@pytest.mark.parametrize("key", ["topic:memos", "topics", "claims", "expiry", "unconfirmed"])
async def test_a_key_of_the_wrong_type_is_a_fault_of_configuration(
    redis_server: Redis, key_prefix: str, key: str
) -> None:
    async with opened(redis_server.url, key_prefix) as store:
        redis_server.ask("SET", f"{key_prefix}{key}", "text")
        with pytest.raises(errors.StoreMisconfigured, match="WRONGTYPE"):
            await store.add("memos", "alice", 60)
        if key == "topic:memos":
            with pytest.raises(errors.StoreMisconfigured, match="WRONGTYPE"):
                await store.members("memos", "one")
        # Once it is put right, the same call does all that it should.
        redis_server.ask("DEL", f"{key_prefix}{key}")
        (change,) = await store.add("memos", "alice", 60)
        assert change in await store.unconfirmed(10)
        (row,) = await store.subscribers("memos", "", 10)
        assert row.expires_in is not None
        assert list(await store.topics("", 10)) == [("memos", 1)]


async def test_a_name_that_is_no_text_is_a_fault_of_configuration(
    redis_server: Redis, key_prefix: str
) -> None:
    async with (
        opened(redis_server.url, key_prefix) as store,
        Client.from_url(redis_server.url) as client,
    ):
        await client.sadd(f"{key_prefix}topic:memos", b"\xff")
        with pytest.raises(errors.StoreMisconfigured):
            await store.members("memos", "one")
        assert await store.members("other", "one")


@pytest.mark.slow
async def test_a_replica_takes_no_changes_but_is_read(redis: Redis, start: Start) -> None:
    replica = start(redis.replica())
    async with opened(redis.url) as store:
        await store.add("memos", "alice", None)
        eventually(lambda: has_copied(replica, "memos", "alice"))
        async with opened(replica.url) as second:
            with pytest.raises(errors.StoreFull):
                await second.add("memos", "bob", None)
            members = await second.members("memos", "one")
            assert members.client_ids == ["alice"]


async def test_a_store_out_of_memory_takes_no_changes_but_is_read(
    start: Start,
) -> None:
    server = start(Redis())
    async with opened(server.url) as store:
        await store.add("memos", "alice", None)
        await expired(store, "a_b", "c")
        server.ask("CONFIG", "SET", "maxmemory", "1")
        for change in (
            store.add("memos", "bob", None),
            store.add("a", "b_c", None),
            store.remove("memos", "alice"),
            store.reap(10),
        ):
            with pytest.raises(errors.StoreFull):
                await change
        members = await store.members("memos", "one")
        assert members.client_ids == ["alice"]
        # Nothing was done by half.
        assert len(await store.unconfirmed(10)) == 2
        server.ask("CONFIG", "SET", "maxmemory", "0")
        await store.add("memos", "bob", None)


async def test_a_store_without_enough_replicas_takes_no_changes(
    start: Start,
) -> None:
    server = start(Redis())
    async with opened(server.url) as store:
        server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
        with pytest.raises(errors.StoreFull):
            await store.add("memos", "bob", None)
