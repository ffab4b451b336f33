# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The store away, full or replaced: jobs wait, and nothing is answered that is not so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.fleet import SHORT, Fleet, Member
from gearhorn.tests.processes import eventually
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Redis

SLOW: dict[str, Any] = {
    # A list that was read before an outage is good for longer than the outage lasts.
    "matchmaking.cache_ttl": 60,
    "matchmaking.daemon_ttl": 300,
    # On a busy machine an answer may take a while.
    "store.timeout": 2,
}


Outage = tuple[Callable[[], None], Callable[[], None]]


@pytest.fixture(params=["killed", "frozen", "cut", "stalled"])
def outage(request: pytest.FixtureRequest, redis: Redis, proxied_redis: Proxy) -> Outage:
    """Two functions: one makes Redis go away, the other brings it back."""
    ways: dict[str, Outage] = {
        "killed": (redis.kill, redis.start),
        "frozen": (redis.pause, redis.resume),
        "cut": (proxied_redis.cut, proxied_redis.mend),
        "stalled": (proxied_redis.stall, proxied_redis.resume),
    }
    return ways[request.param]


def test_jobs_wait_while_the_store_is_away(
    fleet: Fleet, redis: Redis, proxied_redis: Proxy, outage: Outage
) -> None:
    fleet.redis = redis
    go, come_back = outage
    # After a restart of Redis a registration waits for so long.
    options = {**SLOW, "matchmaking.cache_ttl": 5}
    one = fleet.add("one", store_url=proxied_redis.url, **options)
    one.register(fleet.topic, "bob")
    one.register("cold", "bob")
    assert one.reached(fleet.topic) == 1

    go()
    # A list that may be used is used.
    for _ in range(20):
        assert one.reached(fleet.topic) == 1
    handles = {
        "cold": one.start_fanout("cold"),
        "registration": one.start_registration(fleet.topic, "alice"),
        "removal": one.start("unregister", topic="other", client_id="alice"),
    }
    one.until_it_says("The store is away; jobs wait until it answers")
    for handle in handles.values():
        fleet.client.expect_nothing_about(handle, 0.1)

    come_back()
    assert one.finish(handles["cold"]).report["subscribers"] == 1
    assert one.finish(handles["registration"]).completed
    assert one.finish(handles["removal"]).completed
    assert one.reached(fleet.topic) == 2
    one.until_it_says("The store is back after")
    # One line for each change, however many jobs waited and attempts failed.
    assert one.daemon.log.count(" ERROR gearhorn.") == 1
    assert one.daemon.log.count("The store is back after") == 1


def test_a_daemon_waits_for_a_store_that_is_not_there_yet(fleet: Fleet, start: Start) -> None:
    fleet.redis = start(Redis())
    fleet.redis.kill()
    one = fleet.add("one", wait_ready=False, **SLOW)
    one.until_it_says("The store is away")
    assert "READY=1" not in one.daemon.notifications

    fleet.redis.start()

    one.daemon.wait_ready()
    one.register(fleet.topic, "bob")


def test_a_store_that_was_emptied_is_not_taken_for_no_subscribers(
    fleet: Fleet, start: Start
) -> None:
    # It keeps nothing on the disk.
    fleet.redis = start(Redis())
    one = fleet.add("one", **SHORT)
    one.register(fleet.topic, "bob")
    identity = value_of(fleet, "identity")

    fleet.redis.restart()
    handles = [one.start_fanout(fleet.topic) for _ in range(5)]
    registration = one.start_registration(fleet.topic, "alice")
    one.until_it_says("The store was emptied or is another one")
    fleet.client.expect_nothing_about(handles[-1], 0.5)
    fleet.client.expect_nothing_about(registration, 0.1)

    # An operator restores the data.
    fleet.redis.ask("SADD", f"{fleet.key_prefix}topic:{fleet.topic}", "bob")
    fleet.redis.ask("SET", f"{fleet.key_prefix}identity", identity)
    for handle in handles:
        # A first one may have found the list still warm.
        assert one.finish(handle).report["subscribers"] >= 1
    assert one.finish(registration).completed
    assert one.reached(fleet.topic) == 2


def test_daemons_that_are_started_again_accept_an_empty_store(fleet: Fleet, start: Start) -> None:
    fleet.redis = start(Redis())
    one = fleet.add("one", **SHORT)
    one.register(fleet.topic, "bob")
    fleet.redis.ask("FLUSHALL")
    one.until_it_says("The store was emptied or is another one")

    assert one.daemon.stop() == 0
    one.daemon.start()

    assert one.reached(fleet.topic) == 0
    one.register(fleet.topic, "bob")
    assert one.reached(fleet.topic) == 1


def value_of(fleet: Fleet, name: str) -> str:
    assert fleet.redis is not None
    return fleet.redis.ask("GET", fleet.key_prefix + name).split("\r\n")[1]


@pytest.mark.parametrize(
    ("directive", "bad", "good"),
    [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")],
    ids=["out of memory", "read-only"],
)
def test_fan_outs_go_on_while_the_store_takes_no_changes(
    fleet: Fleet, redis: Redis, directive: str, bad: str, good: str
) -> None:
    fleet.redis = redis
    one = fleet.add("one", **SHORT)
    one.register(fleet.topic, "bob")

    redis.ask("CONFIG", "SET", directive, bad)
    registration = one.start_registration(fleet.topic, "alice")
    one.until_it_says("The store takes no changes; jobs wait until it does")
    # Each list is read, as the daemon's entry cannot be renewed.
    for _ in range(5):
        assert one.reached(fleet.topic) == 1
    assert one.reached("nobody's") == 0
    fleet.client.expect_nothing_about(registration, 0.1)

    redis.ask("CONFIG", "SET", directive, good)
    assert one.finish(registration).completed
    assert one.reached(fleet.topic) == 2
    one.until_it_says("The store is back after")
    assert one.daemon.log.count(" ERROR gearhorn.") == 1


def pair(fleet: Fleet, redis: Redis, proxied_redis: Proxy, **options: Any) -> tuple[Member, Member]:
    """Two daemons; the second reaches Redis through the proxied_redis."""
    fleet.redis = redis
    one = fleet.add("one", **options)
    other = fleet.add("other", store_url=proxied_redis.url, **options)
    assert other.reached(fleet.topic) == 0
    return one, other


def test_a_daemon_that_is_cut_off_from_the_store_alone_uses_no_old_list(
    fleet: Fleet, redis: Redis, proxied_redis: Proxy
) -> None:
    one, other = pair(fleet, redis, proxied_redis, **SLOW)
    proxied_redis.cut()

    # It is told, since it still reaches the job server.
    one.register(fleet.topic, "bob")
    handle = other.start_fanout(fleet.topic)
    other.until_it_says("The store is away")
    fleet.client.expect_nothing_about(handle, 0.1)

    proxied_redis.mend()
    assert other.finish(handle).report["subscribers"] == 1


def test_a_daemon_that_is_cut_off_for_so_long_that_it_is_taken_for_dead(
    fleet: Fleet, redis: Redis, proxied_redis: Proxy
) -> None:
    one, other = pair(fleet, redis, proxied_redis, **SHORT)
    proxied_redis.cut()
    one.until_it_says(f"daemon {other.worker_id} has not renewed its entry")

    one.register(fleet.topic, "bob")
    handle = other.start_fanout(fleet.topic)

    proxied_redis.mend()
    assert other.finish(handle).report["subscribers"] == 1
    other.until_it_says("joining again")
    for number in range(5):
        one.register(fleet.topic, f"alice{number}")
        assert other.reached(fleet.topic) == number + 2


def test_a_notice_that_comes_while_a_list_is_read(
    fleet: Fleet, redis: Redis, proxied_redis: Proxy
) -> None:
    one, other = pair(fleet, redis, proxied_redis, **{**SLOW, "store.timeout": 20})
    fan_outs = fleet.gearmand.admin
    for number in range(10):
        one.register(fleet.topic, f"bob{number}")
        # What it has asked for comes when the next registration is answered already.
        proxied_redis.delay_s = 0.1
        early = other.start_fanout(fleet.topic)
        eventually(lambda: fan_outs.queue("fanout_other").running == 1)
        one.register(fleet.topic, f"alice{number}")
        late = other.start_fanout(fleet.topic)
        assert other.finish(early).report["subscribers"] in (2 * number + 1, 2 * number + 2)
        assert other.finish(late).report["subscribers"] == 2 * number + 2
        proxied_redis.delay_s = 0


def test_an_answer_of_the_store_that_is_cut_short_is_asked_for_again(
    fleet: Fleet, redis: Redis, proxied_redis: Proxy
) -> None:
    fleet.redis = redis
    one = fleet.add("one", store_url=proxied_redis.url, **SLOW)
    other = fleet.add("other", **SLOW)
    for count, after_bytes in enumerate([*range(0, 60, 2), *range(60, 400, 20)], 1):
        proxied_redis.truncate(after_bytes)
        # What was stored before the cut is found stored, and everybody is told.
        one.register(fleet.topic, f"bob{after_bytes}")
        assert other.reached(fleet.topic) == count
        assert one.reached(fleet.topic) == count


def test_a_registration_is_stored_again_where_the_store_lost_it(fleet: Fleet, redis: Redis) -> None:
    fleet.redis = redis
    patient: dict[str, Any] = {"matchmaking.cache_ttl": 3, "matchmaking.daemon_ttl": 60}
    one, other = fleet.add("one", **patient), fleet.add("other", **patient)
    # Not answered while the other does not say that it knows.
    other.daemon.pause()
    handle = one.start_registration(fleet.topic, "bob")
    eventually(lambda: fleet.topic in fleet.unconfirmed())

    # A restart from what was on the disk before.
    redis.kill()
    redis.start()
    for command in (
        ("SREM", f"topic:{fleet.topic}", "bob"),
        ("HDEL", "claims", f"{fleet.topic}_bob"),
        ("HDEL", "unconfirmed", fleet.topic),
        ("ZREM", "topics", fleet.topic),
    ):
        redis.ask(command[0], fleet.key_prefix + command[1], command[2])

    assert one.finish(handle).completed
    assert one.reached(fleet.topic) == 1
    other.daemon.resume()
    assert other.reached(fleet.topic) == 1


def test_everything_goes_on_after_many_short_outages(
    fleet: Fleet, redis: Redis, proxied_redis: Proxy
) -> None:
    one, other = pair(fleet, redis, proxied_redis, **SHORT, **{"store.timeout": 0.5})
    for number in range(15):
        handle = other.start_registration(fleet.topic, f"bob{number}")
        proxied_redis.reset()
        assert other.finish(handle).completed
        with contextlib.ExitStack() as stack:
            if number % 5 == 0:
                proxied_redis.cut()
                stack.callback(proxied_redis.mend)
            handles = [member.start_fanout(fleet.topic) for member in (one, other)]
        for handle in handles:
            assert fleet.client.finish(handle).report["subscribers"] == number + 1
    assert one.daemon.exit_code is None
    assert other.daemon.exit_code is None
