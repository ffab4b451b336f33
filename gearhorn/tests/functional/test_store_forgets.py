# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""No registration that was answered is missed in silence, where the store forgets."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.functional.fleet import MATCHMAKING, SHORT, Fleet
from gearhorn.tests.functional.store.copies import Copies, RedisCopies, SQLiteCopies
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Redis

WENT_BACK = "ERROR gearhorn.store.numbers [-] The store went back to an older state"
REBUILT = "ERROR gearhorn.store.redis_warnings [-] The set of topic"
LEASE = 1.1 * SHORT["matchmaking.cache_ttl"]


def evict(fleet: Fleet, *keys: str) -> None:
    """As Redis does it by itself when its memory is full."""
    redis: Redis = fleet.redis or fleet.fixture("redis_server")
    # All at once, before any daemon looks.
    deleted = redis.ask("DEL", *(fleet.key_prefix + key for key in keys))
    assert deleted == f":{len(keys)}\r\n"


@pytest.mark.parametrize("also_the_list", [False, True])
def test_a_topic_that_was_evicted_reaches_all(fleet: Fleet, also_the_list: bool) -> None:
    one = fleet.add("one", **SHORT)
    one.register_all(fleet.topic, ("bob", "alice"))
    evict(fleet, *["topics"][: int(also_the_list)], f"topic:{fleet.topic}")
    # It is not made anew with one member.
    one.register(fleet.topic, "carol")
    assert one.reached(fleet.topic) == 3
    assert re.search(rf"{re.escape(REBUILT)} '{fleet.topic}' .* with 2 members", one.daemon.log)


def test_a_topic_that_cannot_be_rebuilt_waits(fleet: Fleet) -> None:
    one = fleet.add("one", **SHORT)
    one.register(fleet.topic, "bob")
    one.register("another", "bob")
    evict(fleet, "claims", f"topic:{fleet.topic}")
    handle = one.start_fanout(fleet.topic)
    one.until_it_says("A part of the store is gone and cannot be rebuilt; jobs wait")
    # What does not need it is done.
    assert one.reached("another") == 1
    fleet.client.expect_nothing_about(handle, 0.2)
    assert fleet.client.submit("query_one", {"query": "topics"}).refusal == "store_incomplete"

    fleet.store(lambda store: store.mend(strike_out=True))

    assert one.finish(handle).report["subscribers"] == 0
    one.until_it_says("The store is back")


def test_fan_outs_wait_where_nothing_is_left_that_tells_of_topics(fleet: Fleet) -> None:
    one = fleet.add("one", **SHORT)
    one.register(fleet.topic, "bob")
    evict(fleet, "topics", "claims", "daemons", f"topic:{MATCHMAKING}", f"topic:{fleet.topic}")
    handle = one.start_fanout(fleet.topic)
    one.until_it_says("A part of the store is gone and cannot be rebuilt; jobs wait")
    fleet.client.expect_nothing_about(handle, 0.2)

    assert fleet.store(lambda store: store.mend(strike_out=True)) == {"": 0}

    assert one.finish(handle).report["subscribers"] == 0
    one.register(fleet.topic, "alice")
    assert one.reached(fleet.topic) == 1


def test_daemons_whose_entries_were_evicted_are_waited_for(fleet: Fleet) -> None:
    slow: dict[str, Any] = {"matchmaking.cache_ttl": 1, "matchmaking.daemon_ttl": 300}
    one, other = fleet.add("one", **slow), fleet.add("other", **slow)
    assert other.reached(fleet.topic) == 0
    other.daemon.pause()
    evict(fleet, "daemons")

    begun = time.monotonic()
    one.register(fleet.topic, "bob")

    assert time.monotonic() - begun >= 1.1
    handle = other.start_fanout(fleet.topic)
    other.daemon.resume()
    assert other.finish(handle).report["subscribers"] == 1
    # One that starts now knows of it all the same.
    other.daemon.pause()
    third = fleet.add("third", **slow)
    third.register(fleet.topic, "alice")
    handle = other.start_fanout(fleet.topic)
    other.daemon.resume()
    assert other.finish(handle).report["subscribers"] == 2


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_an_old_dump_that_is_brought_back_is_named_and_what_is_under_way_is_done_again(
    fleet: Fleet, tmp_path: Path, kind: str
) -> None:
    # Each change has to wait for the frozen daemon until the old dump is there.
    leases: dict[str, Any] = {"matchmaking.cache_ttl": 2, "matchmaking.daemon_ttl": 6}
    copies: Copies
    if kind == "redis":
        fleet.redis = fleet.fixture("redis")
        copies = RedisCopies(fleet.redis)
        options = leases
    else:
        copies = SQLiteCopies(tmp_path / "store.db")
        options = {**leases, "store_url": copies.url}
    one, other = fleet.add("one", **options), fleet.add("other", **options)
    one.register(fleet.topic, "bob")
    asyncio.run(copies.take())
    one.register(fleet.topic, "alice")
    assert other.reached(fleet.topic) == 2
    # The change is stored, and waits for the word of the other.
    other.daemon.pause()
    handle = one.start_registration(fleet.topic, "carol")
    eventually(lambda: one.reached(fleet.topic) == 3)

    asyncio.run(copies.bring_back())

    assert one.finish(handle).completed
    other.daemon.resume()
    assert one.reached(fleet.topic) == other.reached(fleet.topic) == 2
    one.until_it_says(WENT_BACK)
    assert re.search(r"newest renewal of a daemon in it, \d+ seconds ago", one.daemon.log)
    one.register(fleet.topic, "alice")
    assert one.reached(fleet.topic) == other.reached(fleet.topic) == 3
    assert one.daemon.log.count(WENT_BACK) == 1


def test_a_replica_of_an_older_copy_is_named_though_all_connections_stay_open(
    fleet: Fleet, redis: Redis
) -> None:
    fleet.redis = redis
    with redis.replica() as copy:
        one, other = fleet.add("one", **SHORT), fleet.add("other", **SHORT)
        one.register(fleet.topic, "bob")
        eventually(lambda: "bob" in copy.ask("SMEMBERS", f"{fleet.key_prefix}topic:{fleet.topic}"))
        copy.ask("REPLICAOF", "NO", "ONE")
        one.register(fleet.topic, "alice")
        assert other.reached(fleet.topic) == 2

        redis.ask("REPLICAOF", copy.host, str(copy.port))
        eventually(lambda: "master_link_status:up" in redis.ask("INFO", "replication"))
        redis.ask("REPLICAOF", "NO", "ONE")

        # The other has lost nothing that it was told.
        one.until_it_says(WENT_BACK)
        for member in (one, other):
            member.until_it_says("WARNING gearhorn.store.redis_warnings [-] Redis was restarted or")
        begun = time.monotonic()
        one.register(fleet.topic, "alice")
        assert one.reached(fleet.topic) == other.reached(fleet.topic) == 2
        assert time.monotonic() - begun < 20


def test_a_policy_that_evicts_is_named_while_the_daemon_runs(fleet: Fleet, redis: Redis) -> None:
    fleet.redis = redis
    one = fleet.add("one", **SHORT)
    redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    one.until_it_says("Redis throws away any key when its memory is full (allkeys-lru)")
