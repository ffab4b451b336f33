# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Stores that fail over, take no changes, are swapped, locked or full, under running daemons."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.disks import disk_of
from gearhorn.tests.functional.fleet import SHORT, Fleet, Member
from gearhorn.tests.processes import eventually
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Redis, Sentinel

QUICK: dict[str, Any] = {**SHORT, "store.timeout": 2}


def goes_to(proxy: Proxy, redis: Redis) -> None:
    """From now on that server answers under the address."""
    proxy.target_port = redis.port
    proxy.reset()


def has_copied(fleet: Fleet, replica: Redis, client_id: str) -> None:
    key = f"{fleet.key_prefix}topic:{fleet.topic}"
    eventually(lambda: replica.ask("SISMEMBER", key, client_id) == ":1\r\n")


# Redis.


@pytest.mark.slow
def test_a_failover_through_sentinel(fleet: Fleet, start: Start, redis: Redis) -> None:
    replica = start(redis.replica())
    sentinel = start(Sentinel(redis))
    eventually(sentinel.replicas, 20)
    url = f"redis+sentinel://{sentinel.address}/{sentinel.name}"
    one, other = (fleet.add(name, store_url=url, **QUICK) for name in ("one", "other"))
    one.register(fleet.topic, "bob")
    has_copied(fleet, replica, "bob")

    redis.kill()
    handle = one.start_registration(fleet.topic, "alice")
    published = other.start_fanout("cold")
    assert one.finish(handle, 30).completed
    assert other.finish(published, 30).completed

    assert [member.reached(fleet.topic) for member in (one, other)] == [2, 2]
    for member in (one, other):
        member.until_it_says("The store is back after")
        assert member.daemon.log.count("The store is away; jobs wait") == 1
    has_copied(fleet, replica, "alice")
    # The next one is answered as soon as ever.
    other.register(fleet.topic, "carol")
    assert one.reached(fleet.topic) == 3


def test_a_master_that_became_a_read_only_replica(
    fleet: Fleet, start: Start, redis: Redis, proxied_redis: Proxy
) -> None:
    replica = start(redis.replica())
    fleet.redis = redis
    one = fleet.add("one", store_url=proxied_redis.url, **QUICK)
    one.register(fleet.topic, "bob")
    has_copied(fleet, replica, "bob")

    goes_to(proxied_redis, replica)
    handle = one.start_registration(fleet.topic, "alice")
    one.until_it_says("The store takes no changes; jobs wait until it does")
    assert "read only replica" in one.daemon.log
    # It is read all the same.
    for _ in range(5):
        assert one.reached(fleet.topic) == 1
    fleet.client.expect_nothing_about(handle, 0.2)

    replica.ask("REPLICAOF", "NO", "ONE")
    assert one.finish(handle).completed
    assert one.reached(fleet.topic) == 2
    one.until_it_says("The store is back after")


@pytest.mark.parametrize("what", ["an empty one", "another one"])
def test_a_store_that_was_swapped_for_another(
    fleet: Fleet, start: Start, redis: Redis, proxied_redis: Proxy, what: str
) -> None:
    fleet.redis = start(Redis())
    if what == "another one":
        # Made by daemons of its own.
        fleet.store(lambda store: store.add(fleet.topic, "mallory", None))
    keys = fleet.redis.ask("DBSIZE")
    one = fleet.add("one", store_url=proxied_redis.url, **QUICK)
    one.register(fleet.topic, "bob")

    goes_to(proxied_redis, fleet.redis)
    one.until_it_says("The store was emptied or is another one; jobs wait")
    # The list from before may be in use for a while yet; any other one is waited for.
    cold = one.start_fanout("cold")
    registration = one.start_registration(fleet.topic, "alice")
    fleet.client.expect_nothing_about(cold, 0.2)
    fleet.client.expect_nothing_about(registration, 0.2)
    assert fleet.redis.ask("DBSIZE") == keys

    goes_to(proxied_redis, redis)
    assert one.finish(cold).report["subscribers"] == 0
    assert one.finish(registration).completed
    assert one.reached(fleet.topic) == 2


# SQLite.


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


def test_a_file_that_another_program_locks(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    options = {**QUICK, "store_url": f"sqlite://{path}", "store.timeout": 0.1}
    one, other = fleet.add("one", **options), fleet.add("other", **options)
    one.register(fleet.topic, "bob")

    with _locked(path):
        handle = one.start_registration(fleet.topic, "alice")
        one.until_it_says("The store is away; jobs wait")
        assert "database is locked" in one.daemon.log
        # Readers do not wait for writers.
        assert [member.reached(fleet.topic) for member in (one, other)] == [1, 1]
        fleet.client.expect_nothing_about(handle, 0.2)

    assert one.finish(handle).completed
    assert [member.reached(fleet.topic) for member in (one, other)] == [2, 2]


Disk = tuple[Path, Callable[[Member], None], Callable[[Member], None], str]


@pytest.fixture(params=["full", "no larger file allowed"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A directory, how its disk fills up and empties, and what the log says then."""
    if request.param != "full":

        def limit(member: Member, size: int) -> None:
            resource.prlimit(
                member.daemon.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)
            )

        yield (
            tmp_path,
            # Large enough for its log, and not for another page of the store's.
            lambda member: limit(member, (tmp_path / "store.db-wal").stat().st_size),
            lambda member: limit(member, resource.RLIM_INFINITY),
            "The store is away; jobs wait",
        )
        return
    with disk_of(tmp_path) as small:
        yield (
            tmp_path,
            lambda member: small.fill(),
            lambda member: small.empty(),
            "The store takes no changes; jobs wait",
        )


def test_a_disk_that_is_full(fleet: Fleet, disk: Disk) -> None:
    directory, fill, empty, line = disk
    options = {**QUICK, "DEFAULT.debug": False}
    one = fleet.add("one", store_url=f"sqlite://{directory}/store.db", **options)
    one.register(fleet.topic, "bob")

    fill(one)
    handle = one.start_registration(fleet.topic, "alice")
    one.until_it_says(line)
    for _ in range(5):
        assert one.reached(fleet.topic) == 1
    fleet.client.expect_nothing_about(handle, 0.2)

    empty(one)
    assert one.finish(handle).completed
    assert one.reached(fleet.topic) == 2
    one.until_it_says("The store is back after")
    assert one.daemon.stop() == 0
    one.daemon.start()
    assert one.reached(fleet.topic) == 2
