# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A registration that has been answered holds in every daemon, whatever happens to them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.builders import message
from gearhorn.tests.functional.fleet import (
    MATCHMAKING,
    NOBODY_GOES_BY_TIME,
    SHORT,
    Fleet,
    Member,
)
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Redis


@pytest.mark.slow
def test_a_registration_holds_for_the_next_fan_out_of_another_daemon(fleet: Fleet) -> None:
    one = fleet.add("one", **NOBODY_GOES_BY_TIME)
    other = fleet.add("other", **NOBODY_GOES_BY_TIME)
    assert other.reached(fleet.topic) == 0

    # The list is warm each time, as the fan-out before has read it.
    for _ in range(1000):
        one.register(fleet.topic, "bob")
        assert other.reached(fleet.topic) == 1
        one.unregister(fleet.topic, "bob")
        assert other.reached(fleet.topic) == 0


def test_a_registration_holds_in_another_daemon_on_the_same_file(
    fleet: Fleet, tmp_path: Path
) -> None:
    options = {**NOBODY_GOES_BY_TIME, "store_url": f"sqlite://{tmp_path}/store.db"}
    one, other = fleet.add("one", **options), fleet.add("other", **options)
    for _ in range(50):
        one.register(fleet.topic, "bob")
        assert other.reached(fleet.topic) == 1
        other.unregister(fleet.topic, "bob")
        assert one.reached(fleet.topic) == 0


def test_two_daemons_that_register_at_once_agree(fleet: Fleet) -> None:
    one = fleet.add("one", **SHORT)
    other = fleet.add("other", **SHORT)
    for number in range(20):
        names = [f"{number}-{i}" for i in range(10)]
        handles = [
            member.start_registration(fleet.topic, name)
            for name in names
            for member in (one, other)
        ]
        for handle in handles:
            assert one.finish(handle).completed
        count = 10 * (number + 1)
        assert (one.reached(fleet.topic), other.reached(fleet.topic)) == (count, count)


def test_a_registration_holds_for_a_daemon_that_was_frozen_longer_than_a_list_lasts(
    fleet: Fleet,
) -> None:
    one = fleet.add("one", **{**SHORT, "matchmaking.daemon_ttl": 60})
    other = fleet.add("other", **{**SHORT, "matchmaking.daemon_ttl": 60})
    for number in range(5):
        assert other.reached(fleet.topic) == number
        other.daemon.pause()
        one.register(fleet.topic, f"bob{number}")
        # It finds the fan-out when it goes on, before any timer of its own has run.
        handle = other.start_fanout(fleet.topic)
        other.daemon.resume()
        assert other.finish(handle).report["subscribers"] == number + 1
    one.until_it_says(f"no word from {other.worker_id} about a change of topic", 5)
    assert not other.said("joining again")


def test_a_registration_holds_for_a_daemon_that_was_taken_for_dead(fleet: Fleet) -> None:
    one = fleet.add("one", **SHORT)
    other = fleet.add("other", **SHORT)
    for number in range(2):
        assert other.reached(fleet.topic) == number
        other.daemon.pause()
        one.until_it_says(f"daemon {other.worker_id} has not renewed its entry", number + 1)
        one.register(fleet.topic, f"bob{number}")
        handle = other.start_fanout(fleet.topic)
        other.daemon.resume()
        assert other.finish(handle).report["subscribers"] == number + 1

        # It joins again by itself, and is told of changes as before.
        other.until_it_says("joining again", number + 1)
        eventually(lambda: other.worker_id in fleet.entries())
        assert fleet.functions(other.worker_id)


PATIENT: dict[str, Any] = {"matchmaking.cache_ttl": 1, "matchmaking.daemon_ttl": 60}
"""A change that is stored waits long enough for the word of a frozen daemon to be seen so."""


def until_stored(fleet: Fleet) -> None:
    eventually(lambda: fleet.topic in fleet.unconfirmed())


def test_a_registration_that_is_delivered_again_waits_until_the_others_know(
    fleet: Fleet,
) -> None:
    one = fleet.add("one", **PATIENT)
    other = fleet.add("other", **PATIENT)
    assert other.reached(fleet.topic) == 0
    # Until its word comes or its list is too old, the registration is not answered.
    other.daemon.pause()
    handle = one.start_registration(fleet.topic, "bob")
    until_stored(fleet)
    third = fleet.add("third", registers_as="one", **PATIENT)

    one.daemon.kill()

    assert third.finish(handle).completed
    assert fleet.topic not in fleet.unconfirmed()
    handle = other.start_fanout(fleet.topic)
    other.daemon.resume()
    assert other.finish(handle).report["subscribers"] == 1


def kill_after_storing(fleet: Fleet, one: Member, other: Member) -> None:
    """Leave a change that is stored and that nobody was told of."""
    other.daemon.pause()
    one.start_registration(fleet.topic, "bob")
    until_stored(fleet)
    one.daemon.kill()


def test_a_repeat_confirms_what_the_first_could_not(fleet: Fleet) -> None:
    # The reaper comes after 2.2 times as long as a list lasts: too late to do it.
    one, other = fleet.add("one", **PATIENT), fleet.add("other", **PATIENT)
    third = fleet.add("third", **PATIENT)
    assert other.reached(fleet.topic) == 0
    kill_after_storing(fleet, one, other)

    third.register(fleet.topic, "bob")

    assert third.said(f"no word from {one.worker_id}, {other.worker_id}")
    assert fleet.topic not in fleet.unconfirmed()
    handle = other.start_fanout(fleet.topic)
    other.daemon.resume()
    assert other.finish(handle).report["subscribers"] == 1


def test_a_change_that_nobody_asks_for_again_is_confirmed_all_the_same(fleet: Fleet) -> None:
    one, other = fleet.add("one", **PATIENT), fleet.add("other", **PATIENT)
    kill_after_storing(fleet, one, other)
    other.daemon.resume()
    eventually(lambda: fleet.topic not in fleet.unconfirmed())


def test_a_daemon_that_never_answers_delays_a_registration_by_its_lease(fleet: Fleet) -> None:
    one = fleet.add("one", **SHORT)
    fleet.store(lambda store: store.join("ghost", "{}"))

    begun = time.monotonic()
    one.register(fleet.topic, "bob")

    assert time.monotonic() - begun >= 0.4 * 1.1
    assert one.said(f"no word from ghost about a change of topic '{fleet.topic}'")
    assert one.counted("notices_unanswered_total") == 1
    assert one.counted('changes_by_lease_total{cause="silent"}') == 1
    assert one.counted("confirmation_duration_seconds_count") == 1
    assert one.counted("confirmation_duration_seconds_sum") >= 0.4 * 1.1

    # Nobody renews its entry; the notice that waits for it goes with its function.
    one.until_it_says("daemon ghost has not renewed its entry")
    assert one.counted('daemons_removed_total{how="expired"}') == 1
    eventually(lambda: not fleet.functions("ghost"))
    assert fleet.entries() == {one.worker_id}


def test_a_daemon_that_was_killed_leaves_nothing_behind(fleet: Fleet) -> None:
    # Its entry is to be there when the first registration has been answered.
    options = {**SHORT, "matchmaking.daemon_ttl": 4}
    one, other = fleet.add("one", **options), fleet.add("other", **options)
    dead = other.worker_id
    other.daemon.kill()
    one.register(fleet.topic, "bob")
    assert fleet.functions(dead)

    one.until_it_says(f"daemon {dead} has not renewed its entry")
    eventually(lambda: not fleet.functions(dead))
    assert fleet.entries() == {one.worker_id}
    # Nobody is waited for any more.
    before = one.daemon.log.count("no word from")
    one.register(fleet.topic, "alice")
    assert one.daemon.log.count("no word from") == before


def test_a_dead_daemon_can_be_removed_by_hand(fleet: Fleet) -> None:
    slow: dict[str, Any] = {"matchmaking.cache_ttl": 0.3, "matchmaking.daemon_ttl": 3}
    one, other = fleet.add("one", **slow), fleet.add("other", **slow)
    dead = other.worker_id
    other.daemon.kill()

    report = one.unregister(MATCHMAKING, dead)

    assert report["client_id"] == dead
    assert fleet.entries() == {one.worker_id}
    assert one.said(f"daemon {dead} was removed by hand")
    assert one.counted('daemons_removed_total{how="hand"}') == 1
    eventually(lambda: not fleet.functions(dead))
    # Once more is harmless, and so is one that never was.
    one.unregister(MATCHMAKING, dead)


def test_a_live_daemon_that_is_removed_by_hand_joins_again(fleet: Fleet) -> None:
    one, other = fleet.add("one", **SHORT), fleet.add("other", **SHORT)
    assert other.reached(fleet.topic) == 0

    one.unregister(MATCHMAKING, other.worker_id)

    other.until_it_says("joining again")
    for number in range(20):
        one.register(fleet.topic, f"bob{number}")
        assert other.reached(fleet.topic) == number + 1
    eventually(lambda: other.worker_id in fleet.entries())
    assert fleet.functions(other.worker_id)
    assert other.counted("rejoins_total") >= 1


def test_a_daemon_that_leaves_takes_all_with_it(fleet: Fleet) -> None:
    one, other = fleet.add("one", **NOBODY_GOES_BY_TIME), fleet.add("other", **SHORT)
    gone = other.worker_id
    assert fleet.entries() == {one.worker_id, gone}

    assert other.daemon.stop() == 0

    assert fleet.entries() == {one.worker_id}
    assert not fleet.functions(gone)
    # It is not waited for.
    one.register(fleet.topic, "bob")


def test_a_fan_out_to_the_daemons_drops_their_lists(fleet: Fleet) -> None:
    members = [fleet.add(name, **NOBODY_GOES_BY_TIME) for name in ("one", "other")]
    redis: Redis = fleet.fixture("redis_server")
    assert [member.reached(fleet.topic) for member in members] == [0, 0]
    # Behind the daemons' back.
    redis.ask("SADD", f"{fleet.key_prefix}topic:{fleet.topic}", "bob")
    assert [member.reached(fleet.topic) for member in members] == [0, 0]

    report = members[0].ask("fanout", topic=MATCHMAKING, payload={"topic": fleet.topic})

    assert (report["subscribers"], report["delivered"]) == (2, 2)
    assert [member.reached(fleet.topic) for member in members] == [1, 1]


def test_receivers_that_never_answer_hold_up_no_registration(fleet: Fleet) -> None:
    full: dict[str, Any] = {**NOBODY_GOES_BY_TIME, "fanout.max_in_flight": 4}
    one, other = fleet.add("one", **full), fleet.add("other", **full)
    one.register(fleet.topic, "bob")
    stuck = fleet.new_client()
    for member in (one, other):
        for _ in range(5):
            stuck.start(f"fanout_{member.name}", message(fleet.topic, timeout=3600))
    # Four of each have copies out, and the fifth waits for its turn.
    queue = f"{fleet.topic}_bob"
    eventually(lambda: fleet.gearmand.admin.queue(queue).total == 8)

    def held() -> list[int]:
        status = fleet.gearmand.admin.status()
        return [status[f"fanout_{member.name}"].running for member in (one, other)]

    eventually(lambda: held() == [5, 5])

    for _ in range(50):
        one.register("another", "alice")
        one.unregister("another", "alice")
    notice = f"{MATCHMAKING}_{other.worker_id}"
    assert fleet.client.submit(notice, {"topic": fleet.topic}).report["topic"] == fleet.topic

    assert [
        fleet.gearmand.admin.queue(f"fanout_{member.name}").total for member in (one, other)
    ] == [5, 5]


def test_a_store_that_was_restarted_makes_a_registration_wait_for_every_lease(
    fleet: Fleet, redis: Redis
) -> None:
    # It may have lost the entry of a daemon whose list is in use.
    fleet.redis = redis
    one, other = fleet.add("one", **SHORT), fleet.add("other", **SHORT)
    for number in range(3):
        assert other.reached(fleet.topic) == number
        redis.kill()
        redis.start()
        redis.ask("HDEL", f"{fleet.key_prefix}daemons", other.worker_id)
        one.register(fleet.topic, f"bob{number}")
        assert other.reached(fleet.topic) == number + 1


@pytest.mark.parametrize("ttl", [None, 600])
def test_a_registration_is_honoured_again_after_a_start(fleet: Fleet, ttl: float | None) -> None:
    one = fleet.add("one", **SHORT)
    one.register(fleet.topic, "bob", ttl=ttl)
    one.daemon.kill()
    one.daemon.start()
    assert one.reached(fleet.topic) == 1
