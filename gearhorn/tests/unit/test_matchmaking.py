# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The times at which lists are kept and changes answered, by a clock of the test's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from gearhorn import clock, errors
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.leases import MARGIN, Leases
from gearhorn.daemon.upkeep import Upkeep
from gearhorn.store.base import Change, DaemonEntry, Members
from gearhorn.tests.unit.matchmaking_world import (
    CACHE_TTL,
    DAEMON_TTL,
    Clock,
    Recorder,
    World,
    settle,
)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    test_clock = Clock()
    monkeypatch.setattr(clock, "now", test_clock.now)
    monkeypatch.setattr(clock, "sleep_until", test_clock.sleep_until)
    return test_clock


@pytest.fixture
async def world(time: Clock) -> World:
    made = World()
    await made.matchmaking.join()
    return made


async def test_a_list_is_used_for_as_long_as_its_lease_and_no_longer(
    world: World, time: Clock
) -> None:
    world.store.members_of["t"] = ["bob"]
    world.store.gate = asyncio.Event()
    reading = asyncio.ensure_future(world.lists.fetch("t"))
    await settle()
    # From when it was asked for, not from when it came.
    await time.put_on(4)
    world.store.gate.set()
    assert (await reading).kept
    await time.put_on(5.9)
    assert world.lists.cached("t") is not None
    await time.put_on(0.1)
    assert world.lists.cached("t") is None


async def test_a_notice_while_a_list_is_read_keeps_it_from_being_kept(world: World) -> None:
    world.store.gate = asyncio.Event()
    reading = asyncio.ensure_future(world.lists.fetch("t"))
    other = asyncio.ensure_future(world.lists.fetch("other"))
    await settle()
    world.lists.drop("t")
    world.store.gate.set()
    assert not (await reading).kept
    assert (await other).kept
    assert world.lists.cached("t") is None
    # What is asked for from now on is kept.
    assert (await world.lists.fetch("t")).kept


async def test_a_notice_before_a_second_attempt_does_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0
    read = world.store.members

    async def members(topic: str, reader: str) -> Members:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            world.lists.drop(topic)
            raise errors.StoreAway("away")
        return await read(topic, reader)

    monkeypatch.setattr(world.store, "members", members)
    assert (await world.lists.fetch("t")).kept


async def test_nothing_is_kept_that_outlives_the_daemons_entry(world: World, time: Clock) -> None:
    # Others remove the entry after DAEMON_TTL, on clocks that may run faster.
    await time.put_on(DAEMON_TTL / MARGIN - CACHE_TTL - 0.01)
    assert (await world.lists.fetch("t")).kept
    await time.put_on(0.02)
    assert not (await world.lists.fetch("t")).kept


async def test_nothing_is_kept_where_the_store_does_not_know_the_reader(world: World) -> None:
    asked = asyncio.Event()
    world.lists.on_unknown = asked.set
    world.store.known = False
    assert not (await world.lists.fetch("t")).kept
    assert asked.is_set()


async def test_a_daemon_whose_entry_is_gone_drops_all_and_joins_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.matchmaking.start()
    try:
        await world.lists.fetch("t")
        world.store.gate = asyncio.Event()
        reading = asyncio.ensure_future(world.lists.fetch("other"))
        await settle()
        world.store.entry = False
        world.lists.on_unknown()
        await settle()
        assert world.lists.cached("t") is None
        world.store.gate.set()
        assert not (await reading).kept
        assert world.store.joined == 2
        assert "joining again" in caplog.text
        assert world.counts.rejoins == 1
        assert world.counts.dropped == {"all": 1}
        assert (await world.lists.fetch("t")).kept
    finally:
        await world.matchmaking.close()


async def test_other_settings_are_told_by_a_new_entry_and_no_list_outlives_the_old_one(
    world: World,
) -> None:
    world.matchmaking.start()
    try:
        await settle()
        before = world.store.joined
        await world.lists.fetch("t")
        world.matchmaking.renew_soon()
        await settle()
        assert world.store.joined == before
        assert world.lists.cached("t") is not None
        assert world.agreement.apply(LimitSettings(max_waiting=500))
        world.matchmaking.renew_soon()
        await settle()
        assert world.store.joined == before + 1
        assert world.lists.cached("t") is None
        assert (await world.lists.fetch("t")).kept
        world.matchmaking.renew_soon()
        await settle()
        assert world.store.joined == before + 1
    finally:
        await world.matchmaking.close()


async def test_renewing_goes_on_after_an_unexpected_error(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renewed = 0

    async def renew(worker_id: str, secret: str) -> bool:
        nonlocal renewed
        renewed += 1
        if renewed == 1:
            raise ZeroDivisionError
        return True

    monkeypatch.setattr(world.store, "renew", renew)
    world.matchmaking.start()
    try:
        for _ in range(2):
            world.lists.on_unknown()
            await settle()
    finally:
        await world.matchmaking.close()
    assert renewed == 2
    assert "unexpected error while the entry was renewed" in caplog.text


async def test_the_cache_is_bounded(world: World) -> None:
    await world.lists.fetch("a")
    await world.lists.fetch("b")
    # Used last, and so kept the longest.
    assert world.lists.cached("a") is not None
    await world.lists.fetch("c")
    assert world.lists.kept == 2
    assert world.lists.cached("b") is None
    assert world.counts.dropped == {"evicted": 1}


async def confirmed_after(world: World, time: Clock, change: Change) -> float:
    """Return the time that the daemon waits before it holds a change for known."""
    begun = time.now()
    confirming = asyncio.ensure_future(world.matchmaking.confirm(change))
    await settle()
    while not confirming.done():
        await time.put_on(0.5)
    await confirming
    return time.now() - begun


async def test_a_daemon_alone_waits_for_nobody(world: World, time: Clock) -> None:
    world.store.entries = {"me": DaemonEntry(1, 0)}
    assert await confirmed_after(world, time, Change("t", 1)) == 0
    assert world.store.confirmed == [Change("t", 1)]
    assert world.counts.by_lease == {}
    assert sum(world.counts.confirmations.counts) == 1


async def test_a_change_waits_by_its_lease_where_the_store_was_away_for_longer(
    world: World, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = asyncio.Event()

    async def daemons() -> dict[str, DaemonEntry]:
        await back.wait()
        return {"me": DaemonEntry(1, 0), "other": DaemonEntry(2, 0)}

    monkeypatch.setattr(world.store, "daemons", daemons)
    confirming = asyncio.ensure_future(world.matchmaking.confirm(Change("t", 1)))
    await settle()
    await time.put_on(CACHE_TTL * MARGIN)
    assert world.matchmaking.confirming == 1
    back.set()
    await confirming
    assert world.store.confirmed == [Change("t", 1)]
    # There was nobody to tell any more.
    assert world.counts.by_lease == {"late": 1}
    assert world.counts.notices_sent == world.matchmaking.confirming == 0
    assert world.counts.confirmations.total == CACHE_TTL * MARGIN


async def test_a_silent_daemon_is_waited_for_as_long_as_its_lists_last(
    world: World, time: Clock
) -> None:
    world.store.entries = {"me": DaemonEntry(1, 0), "other": DaemonEntry(2, 0)}
    # Without a server nobody can be told; the wait in the loop's time is not ours.
    confirming = asyncio.ensure_future(world.matchmaking.confirm(Change("t", 1)))
    await settle()
    await time.put_on(CACHE_TTL * MARGIN - 0.1)
    assert not confirming.done()
    confirming.cancel()
    await world.matchmaking.close()


@pytest.mark.parametrize("since", [0.0, 5.0, 10.9])
async def test_nothing_is_answered_early_after_the_store_was_restarted(
    world: World, time: Clock, since: float
) -> None:
    world.store.entries = {"me": DaemonEntry(1, 0)}
    world.store.run_changed_at = time.now()
    await time.put_on(since)
    assert await confirmed_after(world, time, Change("t", 1)) >= CACHE_TTL * MARGIN
    await time.put_on(CACHE_TTL)
    assert await confirmed_after(world, time, Change("t", 2)) == 0
    assert world.counts.by_lease == {"restarted": 1}


@pytest.mark.parametrize("entry", [None, DaemonEntry(0, None)])
async def test_nothing_is_answered_early_after_the_own_entry_was_found_missing(
    world: World, time: Clock, entry: DaemonEntry | None
) -> None:
    world.store.entries = {} if entry is None else {"me": entry}
    assert await confirmed_after(world, time, Change("t", 1)) >= CACHE_TTL * MARGIN
    world.store.entries = {}
    found = asyncio.ensure_future(world.matchmaking.confirm(Change("t", 2)))
    await settle()
    # It has joined again; others may not have, and may be frozen with their lists.
    world.store.entries = {"me": DaemonEntry(3, 0)}
    assert await confirmed_after(world, time, Change("u", 4)) >= CACHE_TTL * MARGIN
    await found
    await time.put_on(CACHE_TTL)
    assert await confirmed_after(world, time, Change("t", 5)) == 0
    assert world.counts.by_lease == {"restarted": 3}


async def test_a_longer_lease_of_another_daemon_is_waited_for(world: World, time: Clock) -> None:
    long = DaemonEntry(2, 0, '{"[matchmaking] cache_ttl": 30.0}')
    world.store.entries = {"me": DaemonEntry(1, 0), "long": long}
    await world.matchmaking.reap_daemons()
    world.store.entries = {"me": DaemonEntry(1, 0)}
    world.store.run_changed_at = time.now()
    # Its entry was lost by the failover, and its lists are in use.
    assert await confirmed_after(world, time, Change("t", 1)) >= 30.0 * MARGIN


async def test_an_entry_is_removed_after_the_time_that_it_gives(world: World, time: Clock) -> None:
    patient = DaemonEntry(2, 0, '{"[matchmaking] daemon_ttl": 100.0}')
    world.store.entries = {"me": DaemonEntry(1, 0), "patient": patient}
    await world.matchmaking.reap_daemons()
    await time.put_on(99)
    await world.matchmaking.reap_daemons()
    assert not world.store.removed
    await time.put_on(1)
    await world.matchmaking.reap_daemons()
    assert world.store.removed == [("patient", 2)]


async def test_a_store_that_went_back_leaves_no_list(world: World) -> None:
    assert (await world.lists.fetch("t")).kept
    world.matchmaking.start()
    try:
        world.matchmaking.store_went_back()
        assert world.lists.cached("t") is None
        await settle()
        # The entry was renewed at once.
        assert (await world.lists.fetch("t")).kept
    finally:
        await world.matchmaking.close()


async def test_a_change_that_the_store_may_have_lost_is_made_again(
    world: World, time: Clock
) -> None:
    job: Any = Recorder(b'{"topic": "t", "client_id": "bob"}')

    def restart() -> None:
        if len(world.store.added) == 1:
            world.store.run_changed_at = time.now()

    world.store.on_add = restart
    world.registry.register(job)
    await settle()
    assert not job.answers
    while not job.answers:
        await time.put_on(1)
    assert world.store.added == [("t", "bob")] * 2
    assert job.answers == ["complete"]


async def test_changes_that_come_while_one_is_confirmed_share_the_next_round(
    world: World, time: Clock
) -> None:
    world.store.run_changed_at = time.now()
    first = asyncio.ensure_future(world.matchmaking.confirm(Change("t", 1)))
    await settle()
    rest = [asyncio.ensure_future(world.matchmaking.confirm(Change("t", n))) for n in (2, 4, 3)]
    await time.put_on(CACHE_TTL * MARGIN)
    assert first.done()
    assert not any(task.done() for task in rest)
    await time.put_on(CACHE_TTL * MARGIN)
    assert all(task.done() for task in rest)
    assert world.store.confirmed == [Change("t", 1), Change("t", 4)]


async def test_an_entry_is_removed_only_after_it_was_seen_unchanged_for_long(
    world: World, time: Clock
) -> None:
    gone: list[str] = []
    world.matchmaking.on_removed = gone.append
    world.store.entries = {
        "me": DaemonEntry(1, 0),
        "dead": DaemonEntry(2, 999),
        "alive": DaemonEntry(3, 0),
    }
    # However old the store says that it is: only the own clock counts.
    await world.matchmaking.reap_daemons()
    for renewal in range(4, 10):
        await time.put_on(DAEMON_TTL / 3)
        world.store.entries["alive"] = DaemonEntry(renewal, 0)
        await world.matchmaking.reap_daemons()
        assert gone == (["dead"] if renewal >= 6 else [])
    assert world.store.removed == [("dead", 2)]
    assert world.matchmaking.is_known("alive")
    assert not world.matchmaking.is_known("dead")
    assert world.counts.removed == {"expired": 1}


async def test_daemons_that_were_killed_with_this_ones_job_server_are_removed_at_once(
    world: World,
) -> None:
    gone: list[str] = []
    world.matchmaking.on_removed = gone.append
    world.store.entries = {"one": DaemonEntry(1, 0), "two": DaemonEntry(2, 0)}
    await world.matchmaking.remove_all()
    assert (gone, world.store.entries) == (["one", "two"], {})
    assert world.counts.removed == {"killed": 2}


async def test_upkeep_goes_on_after_an_unexpected_error(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reaped: list[int] = []
    done = asyncio.Event()

    async def reap(limit: int) -> Sequence[Change]:
        reaped.append(limit)
        if len(reaped) == 1:
            raise ZeroDivisionError
        done.set()
        return []

    async def retire(worker_id: str) -> bool:
        return True

    async def look() -> None:
        pass

    store: Any = world.store
    monkeypatch.setattr(world.store, "reap", reap, raising=False)
    monkeypatch.setattr("gearhorn.daemon.upkeep.REAP_S", 0.001)
    upkeep = Upkeep(
        store,
        world.patience,
        world.matchmaking,
        leases=Leases(CACHE_TTL, DAEMON_TTL),
        retire=retire,
        check_store=look,
    )
    caplog.set_level(logging.ERROR)
    upkeep.start()
    try:
        await asyncio.wait_for(done.wait(), 10)
    finally:
        await upkeep.close()
    assert "unexpected error in the upkeep" in caplog.text
