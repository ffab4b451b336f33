# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What only a store in Redis can meet with."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis as Client

from gearhorn import clock, errors
from gearhorn.store import open_store
from gearhorn.store import redis as redis_module
from gearhorn.store.base import Change, Store
from gearhorn.store.redis import RedisStore
from gearhorn.tests.conftest import Start
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Redis, Sentinel, Stunnel

T = TypeVar("T")


def make(url: str, key_prefix: str, timeout: float = 5.0) -> Store:
    return open_store(
        url,
        key_prefix=key_prefix,
        matchmaking_topic="__matchmaking",
        timeout=timeout,
    )


@contextlib.asynccontextmanager
async def opened(url: str, key_prefix: str, timeout: float = 5.0) -> AsyncIterator[Store]:
    store = make(url, key_prefix, timeout)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def until_it_answers(operation: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Call until the store is back."""
    while True:
        try:
            return await operation(*args)
        except errors.StoreAway:
            await asyncio.sleep(0.05)


# Keys.


async def test_the_keys_are_those_documented(redis_server: Redis, key_prefix: str) -> None:
    async with (
        opened(redis_server.url, key_prefix) as store,
        Client.from_url(redis_server.url, decode_responses=True) as client,
    ):
        await store.add("memos", "alice", 60)
        await store.join("one", "{}")
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
            "run": "string",
        }
        assert await client.hgetall(f"{key_prefix}claims") == {"memos_alice": "memos\0alice"}
        await store.reap(1)
        await store.remove("memos", "alice")
        await store.leave("one")
        (change,) = await store.unconfirmed(1)
        await store.confirm(change)
        left = {key async for key in client.scan_iter(f"{key_prefix}*")}
        # Nothing else stays behind.
        assert left == {key_prefix + name for name in ("identity", "counter", "run")}


async def test_a_large_set_is_read_in_pages(
    redis_server: Redis, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "_PAGE", 100)
    async with (
        opened(redis_server.url, key_prefix) as store,
        Client.from_url(redis_server.url) as client,
    ):
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
    redis_server: Redis, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "_PAGE", 10)
    async with (
        opened(redis_server.url, key_prefix) as store,
        Client.from_url(redis_server.url) as client,
    ):
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
    redis_server: Redis, key_prefix: str
) -> None:
    async with opened(redis_server.url, key_prefix) as store:
        await store.join("one", "{}")
        redis_server.ask("SREM", f"{key_prefix}topic:__matchmaking", "one")
        assert not await store.renew("one")


# Restarts and what is lost in them.


async def test_a_restart_is_noticed(start: Start) -> None:
    server = start(Redis(appendonly="yes", appendfsync="always"))
    async with opened(server.url, "gearhorn:", 1.0) as store:
        changes = await store.add("memos", "alice", None)
        assert store.run_changed_at == -math.inf
        server.stop()
        with pytest.raises(errors.StoreAway):
            await store.add("memos", "bob", None)
        before = clock.now()
        server.start()
        assert await store.add("memos", "alice", None) == changes
        assert before < store.run_changed_at <= clock.now()
        changed_at = store.run_changed_at
        # Scripts were loaded again; one that runs on changes nothing.
        await store.join("one", "{}")
        assert await store.renew("one")
        assert store.run_changed_at == changed_at


async def test_who_finds_a_store_cannot_tell_what_it_lost(start: Start) -> None:
    server = start(Redis(appendonly="yes", appendfsync="always"))
    async with opened(server.url, "gearhorn:"):
        pass
    server.stop()
    server.start()
    before = clock.now()
    async with opened(server.url, "gearhorn:") as second:
        assert before < second.run_changed_at <= clock.now()


async def test_who_finds_a_store_that_this_process_has_from_its_beginning_need_not_wait(
    redis_server: Redis, key_prefix: str
) -> None:
    async with opened(redis_server.url, key_prefix) as first:
        assert first.run_changed_at == -math.inf
        async with opened(redis_server.url, key_prefix) as second:
            assert second.run_changed_at == -math.inf


async def test_who_finds_a_store_that_is_vouched_for_need_not_wait(start: Start) -> None:
    server = start(Redis(appendonly="yes", appendfsync="always"))
    async with opened(server.url, "gearhorn:", 1.0) as store:
        await store.vouch()
        async with opened(server.url, "gearhorn:") as second:
            assert second.run_changed_at == -math.inf
        # Another process: the word for the one before does not count.
        server.stop()
        before = clock.now()
        server.start()
        async with opened(server.url, "gearhorn:") as third:
            assert before < third.run_changed_at <= clock.now()
            server.ask("DEL", "gearhorn:identity")
            with pytest.raises(errors.StoreReplaced):
                await third.vouch()


async def test_a_connection_closed_meanwhile_is_opened_again(
    redis_server: Redis, key_prefix: str
) -> None:
    async with opened(redis_server.url, key_prefix) as store:
        redis_server.ask("CLIENT", "KILL", "TYPE", "normal")
        await store.add("memos", "alice", None)
        redis_server.ask("CLIENT", "KILL", "TYPE", "normal")
        await asyncio.sleep(0.05)
        assert (await store.members("memos", "")).client_ids == ["alice"]
        redis_server.ask("SCRIPT", "FLUSH")
        await store.add("memos", "bob", None)
        assert store.run_changed_at == -math.inf


OPERATIONS: dict[str, tuple[Any, ...]] = {
    "vouch": (),
    "add": ("memos", "alice", None),
    "remove": ("memos", "alice"),
    "members": ("memos", "one"),
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
}


@pytest.mark.parametrize("emptied", [True, False])
async def test_an_emptied_or_swapped_store_is_noticed(start: Start, emptied: bool) -> None:
    server = start(Redis())
    async with opened(server.url, "gearhorn:") as store:
        await store.add("memos", "alice", None)
        if emptied:
            server.ask("FLUSHALL")
        else:
            server.ask("SET", "gearhorn:identity", "another")
        for name, args in OPERATIONS.items():
            with pytest.raises(errors.StoreReplaced):
                await getattr(store, name)(*args)
        # Nothing was written to it.
        keys = server.ask("DBSIZE")
        assert keys == (":0\r\n" if emptied else keys)
        # A daemon that starts takes it as it is.
        async with opened(server.url, "gearhorn:") as restarted:
            await restarted.add("memos", "bob", None)


async def test_a_lost_identity_alone_does_not_make_a_new_store(
    redis_server: Redis, key_prefix: str
) -> None:
    async with opened(redis_server.url, key_prefix) as store:
        await store.add("memos", "alice", None)
        redis_server.ask("DEL", f"{key_prefix}identity")
        async with opened(redis_server.url, key_prefix) as second:
            assert second.run_changed_at > -math.inf


async def test_a_redis_that_evicts_any_key_is_named(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(Redis(maxmemory_policy="allkeys-lru"))
    async with opened(server.url, "gearhorn:"):
        assert "noeviction" in caplog.text
    caplog.clear()
    server.ask("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    async with opened(server.url, "gearhorn:"):
        assert "noeviction" not in caplog.text


# Faults.


async def test_a_store_that_is_not_there_is_away(start: Start) -> None:
    server = start(Redis())
    server.stop()
    with pytest.raises(errors.StoreAway):
        async with opened(server.url, "gearhorn:"):
            pass


async def test_a_store_that_does_not_answer_is_away(start: Start) -> None:
    server = start(Redis())
    async with opened(server.url, "gearhorn:", 0.3) as store:
        await store.add("memos", "alice", None)
        server.pause()
        begun = clock.now()
        with pytest.raises(errors.StoreAway):
            await store.add("memos", "bob", None)
        # A lost reply is not hidden by a second try.
        assert clock.now() - begun < 0.55
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
    async with opened(server.url, "gearhorn:", 0.5) as store:

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
    async with opened(server.url, "gearhorn:", 1.0) as store:
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
            async with opened(f"redis://{user_info}{address}", "gearhorn:"):
                pass
        assert "secret" not in str(caught.value)
    for good in (
        f"redis://:right-secret@{address}",
        f"redis://default:right-secret@{address}/3",
        f"redis://{address}?password=right-secret&db=4",
    ):
        async with opened(good, "gearhorn:") as store:
            await store.add("memos", "alice", None)


async def test_a_user_without_permission_is_a_fault_of_configuration(
    start: Start,
) -> None:
    server = start(Redis())
    server.ask("ACL", "SETUSER", "gear", "on", ">pw", "~other:*", "+@all")
    with pytest.raises(errors.StoreMisconfigured):
        async with opened(f"redis://gear:pw@{server.address}", "gearhorn:"):
            pass


async def test_the_permissions_that_are_documented_are_enough(
    start: Start,
) -> None:
    server = start(Redis())
    rule = "on >pw ~gearhorn:* -@all +@read +@write +@scripting +@connection"
    rule += " +info +time"
    server.ask("ACL", "SETUSER", "gear", *rule.split())
    url = f"redis://gear:pw@{server.address}"
    async with opened(url, "gearhorn:") as store:
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
async def test_a_replica_takes_no_changes_but_is_read(start: Start) -> None:
    master = start(Redis())
    replica = start(Redis(replicaof=f"{master.host} {master.port}"))
    async with opened(master.url, "gearhorn:") as store:
        await store.add("memos", "alice", None)
        eventually(lambda: "alice" in replica.ask(*_members("memos")))
        async with opened(replica.url, "gearhorn:") as second:
            with pytest.raises(errors.StoreFull):
                await second.add("memos", "bob", None)
            members = await second.members("memos", "one")
            assert members.client_ids == ["alice"]


def _members(topic: str) -> tuple[str, str]:
    return "SMEMBERS", f"gearhorn:topic:{topic}"


async def test_a_store_out_of_memory_takes_no_changes_but_is_read(
    start: Start,
) -> None:
    server = start(Redis())
    async with opened(server.url, "gearhorn:") as store:
        await store.add("memos", "alice", None)
        await store.add("a_b", "c", 0.001)
        await asyncio.sleep(0.02)
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
    async with opened(server.url, "gearhorn:") as store:
        server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
        with pytest.raises(errors.StoreFull):
            await store.add("memos", "bob", None)


# Ways to it.


async def test_a_unix_socket(start: Start) -> None:
    server = start(Redis(unixsocket="socket", requirepass="right-secret"))
    path = server.directory / "socket"
    for url in (
        f"unix://:right-secret@{path}?db=2",
        f"unix://{path}?db=2&password=right-secret",
    ):
        async with opened(url, "gearhorn:") as store:
            await store.add("memos", "alice", None)
            assert (await store.members("memos", "")).client_ids == ["alice"]
    with pytest.raises(errors.StoreMisconfigured) as caught:
        async with opened(f"unix://:wrong-secret@{path}", "gearhorn:"):
            pass
    assert "secret" not in str(caught.value)
    url = f"unix://:right-secret@{path}?db=12345"
    with pytest.raises(errors.StoreMisconfigured):
        async with opened(url, "gearhorn:"):
            pass
    with pytest.raises(errors.StoreAway):
        async with opened(f"unix://{path}-no", "gearhorn:"):
            pass


async def test_tls_with_an_authority_of_ones_own(
    redis_server: Redis, key_prefix: str, start: Start
) -> None:
    tls = start(Stunnel(redis_server.port, verify_client=True))
    options = (
        f"ssl_ca_certs={tls.ca}&ssl_certfile={tls.client_certificate}&ssl_keyfile={tls.client_key}"
    )
    url = f"rediss://localhost:{tls.port}/1?{options}"
    async with opened(url, key_prefix) as store:
        await store.add("memos", "alice", None)
        assert (await store.members("memos", "")).client_ids == ["alice"]


async def test_tls_verifies_the_certificate_and_its_name(
    redis_server: Redis, key_prefix: str, start: Start
) -> None:
    tls = start(Stunnel(redis_server.port, names=["redis.example"]))
    place = f"rediss://localhost:{tls.port}/1"
    for options in ("", f"?ssl_ca_certs={tls.ca}"):
        with pytest.raises(errors.StoreMisconfigured, match="CERTIFICATE"):
            async with opened(place + options, key_prefix):
                pass
    for options in (
        f"?ssl_ca_certs={tls.ca}&ssl_check_hostname=false",
        "?ssl_cert_reqs=none",
    ):
        async with opened(place + options, key_prefix) as store:
            await store.daemons()


@pytest.mark.slow
async def test_a_failover_is_followed_and_noticed(start: Start) -> None:
    master = start(Redis())
    replica = start(Redis(replicaof=f"{master.host} {master.port}"))
    sentinel = start(Sentinel(master))
    eventually(sentinel.replicas, 20)
    unused = Redis()
    hosts = f"{unused.address},{sentinel.address}"
    unused.close()
    url = f"redis+sentinel://{hosts}/{sentinel.name}?db=0"
    async with opened(url, "gearhorn:", 1.0) as store:
        await store.add("memos", "alice", None)
        assert store.run_changed_at == -math.inf
        eventually(lambda: "alice" in replica.ask(*_members("memos")))
        before = clock.now()
        master.kill()
        await until_it_answers(store.add, "memos", "bob", None)
        members = await store.members("memos", "one")
        assert set(members.client_ids) == {"alice", "bob"}
        assert store.run_changed_at > before
        assert "bob" in replica.ask(*_members("memos"))


async def test_an_unknown_service_is_away(start: Start) -> None:
    sentinel = start(Sentinel(start(Redis())))
    url = f"redis+sentinel://:a-secret@{sentinel.address}/unknown"
    with pytest.raises(errors.StoreAway, match="unknown") as caught:
        async with opened(url, "gearhorn:", 1.0):
            pass
    assert "a-secret" not in str(caught.value)


async def test_a_run_that_changes_while_a_set_is_read_starts_it_again(
    redis_server: Redis, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "_PAGE", 10)
    async with (
        opened(redis_server.url, key_prefix) as store,
        Client.from_url(redis_server.url) as client,
    ):
        assert isinstance(store, RedisStore)
        await client.sadd(f"{key_prefix}topic:memos", *range(1000))
        calls = 0
        checked = store._checked

        async def noting(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 3:
                store._run = "another process"
            return await checked(*args)

        monkeypatch.setattr(store, "_checked", noting)
        members = await store.members("memos", "one")
        assert len(members.client_ids) == 1000
        once = calls
        await store.members("memos", "one")
        assert once > 1.5 * (calls - once)
