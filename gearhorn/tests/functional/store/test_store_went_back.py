# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A store that is set back to an older state while daemons use it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis as Client

from gearhorn import clock
from gearhorn.store.base import Change, Store
from gearhorn.store.redis_cluster import slot_of, tagged
from gearhorn.tests.clusters import Cluster
from gearhorn.tests.functional.store.copies import Copies, RedisCopies, SQLiteCopies
from gearhorn.tests.functional.store.stores import PREFIX, ids, make, opened
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Redis

ERROR = "The store went back to an older state"


@pytest.fixture(params=["redis", "sqlite", pytest.param("cluster", marks=pytest.mark.once)])
def copies(request: pytest.FixtureRequest, tmp_path: Path) -> Copies:
    if request.param == "cluster":
        cluster: Cluster = request.getfixturevalue("cluster")
        node = cluster.holder(slot_of(tagged(PREFIX)))
        node.ask("FLUSHALL")
        return RedisCopies(node, cluster.url)
    if request.param == "redis":
        return RedisCopies(request.getfixturevalue("redis"))
    return SQLiteCopies(tmp_path / "store.db")


@contextlib.asynccontextmanager
async def joined(copies: Copies, worker_id: str) -> AsyncIterator[Store]:
    store = make(copies.url, worker_id=worker_id)
    try:
        await store.open()
        await store.join(worker_id, "{}")
        yield store
    finally:
        await store.close()


@pytest_asyncio.fixture
async def one(copies: Copies) -> AsyncIterator[Store]:
    async with joined(copies, "one") as store:
        yield store


@pytest_asyncio.fixture
async def other(one: Store, copies: Copies) -> AsyncIterator[Store]:
    async with joined(copies, "other") as store:
        yield store


async def test_a_read_notices(one: Store, copies: Copies, caplog: pytest.LogCaptureFixture) -> None:
    await copies.take()
    await one.add("memos", "alice", None)
    dropped: list[float] = []
    one.on_went_back = lambda: dropped.append(clock.now())
    await copies.bring_back()
    before = clock.now()

    assert await ids(one, "memos") == set()

    assert caplog.text.count(ERROR) == 1
    assert re.search(r"a daemon in it, \d+ seconds ago\. Let", caplog.text)
    assert before < one.run_changed_at <= clock.now()
    assert len(dropped) == 1
    # From then on the store's own numbers count.
    await one.add("memos", "alice", None)
    assert await one.renew("one")
    assert caplog.text.count(ERROR) == 1


async def test_another_daemon_hides_nothing_by_giving_the_numbers_again(
    one: Store, other: Store, copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    await copies.take()
    await one.add("memos", "alice", None)
    await copies.bring_back()
    for _ in range(3):
        assert await other.renew("other")
    assert ERROR not in caplog.text
    assert await one.renew("one")
    assert caplog.text.count(ERROR) == 1


async def test_calls_under_way_notice_it_once(
    one: Store, copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    await copies.take()
    await one.add("memos", "alice", None)
    await copies.bring_back()
    await asyncio.gather(*(one.add("memos", str(number), None) for number in range(10)))
    assert caplog.text.count(ERROR) == 1
    assert len(await ids(one, "memos")) == 10


async def test_a_renewed_ttl_that_is_lost_is_noticed(
    one: Store, copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    await one.add("memos", "alice", 60)
    await copies.take()
    await one.add("memos", "alice", None)
    await copies.bring_back()
    await one.unconfirmed(10)
    assert ERROR in caplog.text


async def test_what_came_before_the_daemon_joined_is_no_alarm(
    one: Store, copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    async with joined(copies, "third") as third:
        await third.renew("third")
        await one.renew("one")
        # Its entry is removed, and it was only frozen.
        (renewal,) = [e.renewal for w, e in (await one.daemons()).items() if w == "third"]
        assert await one.remove_daemon("third", renewal)
        async with joined(copies, "fourth"):
            pass
        assert not await third.renew("third")
        await third.join("third", "{}")
        await third.leave("third")
        await third.daemons()
    assert ERROR not in caplog.text


async def test_a_copy_from_before_the_daemon_joined_is_noticed(
    one: Store, copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    await copies.take()
    async with joined(copies, "third") as third:
        await copies.bring_back()
        for _ in range(5):
            await one.renew("one")
        assert ERROR not in caplog.text
        assert not await third.renew("third")
        assert caplog.text.count(ERROR) == 1


async def test_a_number_that_was_remembered_is_expected(
    one: Store, copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    await copies.take()
    await one.renew("one")
    remembered = one.numbers.highest

    async def start() -> None:
        store = make(copies.url, worker_id="later")
        store.numbers.expect(remembered)
        await store.open()
        await store.join("later", "{}")
        await store.close()

    await start()
    assert ERROR not in caplog.text
    await copies.bring_back()
    await start()
    assert caplog.text.count(ERROR) == 1


async def test_a_confirmation_is_of_no_other_change(one: Store, copies: Copies) -> None:
    await copies.take()
    (lost,) = await one.add("memos", "alice", None)
    await copies.bring_back()
    (change,) = await one.add("memos", "bob", None)
    assert change != lost
    await one.confirm(lost)
    assert list(await one.unconfirmed(10)) == [change]
    await one.confirm(change)
    assert list(await one.unconfirmed(10)) == []


async def test_only_the_last_daemons_are_remembered(
    one: Store, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(103):
        async with joined(copies, f"dead {number}") as dead:
            (entry,) = [e for w, e in (await dead.daemons()).items() if w != "one"]
            await one.remove_daemon(f"dead {number}", entry.renewal)
    async with joined(copies, "later"):
        pass
    if isinstance(copies, RedisCopies):
        async with Client.from_url(copies.server_url, decode_responses=True) as client:
            (key,) = await client.keys("*told")
            # In a cluster it has an entry of an empty name.
            told = set(await client.hkeys(key)) - {""}
    else:
        with contextlib.closing(sqlite3.connect(copies.url.removeprefix("sqlite://"))) as db:
            told = {row[0] for row in db.execute("SELECT worker_id FROM told")}
    assert told == {"one", "later", *(f"dead {number}" for number in range(3, 103))}


async def test_the_file_of_an_older_release_is_one_that_went_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copies = SQLiteCopies(tmp_path / "store.db")
    async with joined(copies, "one") as one:
        await copies.take()
        with contextlib.closing(sqlite3.connect(tmp_path / "store.copy")) as old:
            for table in ("told", "secrets", "settings"):
                old.execute(f"DROP TABLE {table}")
        await one.add("memos", "alice", None)
        await copies.bring_back()
        assert await ids(one, "memos") == set()
        assert caplog.text.count(ERROR) == 1
        assert await one.renew("one")


async def test_a_replica_of_an_older_copy_is_noticed_with_all_connections_open(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    copy = redis.replica()
    with copy:
        store = make(redis.url, worker_id="one")
        await store.open()
        await store.join("one", "{}")
        eventually(lambda: "one" in copy.ask("HKEYS", "gearhorn:daemons"))
        copy.ask("REPLICAOF", "NO", "ONE")
        await store.add("memos", "alice", None)
        run = store.run_changed_at
        assert run == -math.inf

        redis.ask("REPLICAOF", copy.host, str(copy.port))
        eventually(lambda: "master_link_status:up" in redis.ask("INFO", "replication"))
        redis.ask("REPLICAOF", "NO", "ONE")

        assert await ids(store, "memos") == set()
        assert caplog.text.count(ERROR) == 1
        await store.look()
        assert "Redis was restarted or failed over" in caplog.text
        await store.close()


async def test_nobody_in_particular_is_told_nothing(copies: Copies) -> None:
    async with opened(copies.url) as store:
        await copies.take()
        assert [c.topic for c in await store.add("memos", "alice", None)] == ["memos"]
        assert isinstance((await store.unconfirmed(1))[0], Change)
        await copies.bring_back()
        assert await ids(store, "memos") == set()
