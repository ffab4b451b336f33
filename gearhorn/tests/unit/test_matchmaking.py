# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""When a list may be kept and used, and when a change may be answered, by a clock of the test's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from gearhorn import clock, errors
from gearhorn.daemon.agreement import Agreement
from gearhorn.daemon.leases import MARGIN, Leases
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.matchmaking import Matchmaking
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.registry import Registry
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.upkeep import Upkeep
from gearhorn.store.base import Change, DaemonEntry, Members
from gearhorn.store.patience import Patience

CACHE_TTL = 10.0
DAEMON_TTL = 60.0
SETTINGS = DaemonSettings((), "", leases=Leases(CACHE_TTL, DAEMON_TTL))


class Clock:
    """Stands still until it is put on; who sleeps wakes when it is."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._moved = asyncio.Event()

    def now(self) -> float:
        return self.time

    async def sleep_until(self, when: float) -> None:
        while self.time < when:
            await self._moved.wait()

    async def put_on(self, seconds: float) -> None:
        self.time += seconds
        self._moved.set()
        self._moved = asyncio.Event()
        await settle()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    test_clock = Clock()
    monkeypatch.setattr(clock, "now", test_clock.now)
    monkeypatch.setattr(clock, "sleep_until", test_clock.sleep_until)
    return test_clock


class FakeStore:
    """Answers at once, or when a test says."""

    def __init__(self) -> None:
        self.run_changed_at = float("-inf")
        self.known = True
        self.entry = True
        self.entries: dict[str, DaemonEntry] = {}
        self.members_of: dict[str, Sequence[str]] = {}
        self.confirmed: list[Change] = []
        self.added: list[tuple[str, str]] = []
        self.removed: list[tuple[str, int]] = []
        self.joined = 0
        self.gate: asyncio.Event | None = None
        self.on_add: Callable[[], None] = lambda: None

    async def members(self, topic: str, reader: str) -> Members:
        found = Members(self.members_of.get(topic, []), self.known)
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def daemons(self) -> dict[str, DaemonEntry]:
        return dict(self.entries)

    async def confirm(self, change: Change) -> None:
        self.confirmed.append(change)

    async def add(self, topic: str, client_id: str, ttl: float | None) -> Sequence[Change]:
        self.added.append((topic, client_id))
        self.on_add()
        return [Change(topic, len(self.added))]

    async def join(self, worker_id: str, settings: str) -> None:
        self.joined += 1
        self.entry = self.known = True

    async def renew(self, worker_id: str) -> bool:
        return self.entry

    async def remove_daemon(self, worker_id: str, renewal: int) -> bool:
        self.removed.append((worker_id, renewal))
        return self.entries.pop(worker_id, None) is not None


class World:
    """One daemon's matchmaking, with nobody to send notices to."""

    def __init__(self) -> None:
        self.store = FakeStore()
        store: Any = self.store
        patience = Patience()
        self.lists = ListCache(
            store,
            patience,
            worker_id="me",
            uncached_topic="__matchmaking",
            cache_ttl=CACHE_TTL,
            max_topics=2,
        )
        submitter: Any = SimpleNamespace(servers={})
        self.matchmaking = Matchmaking(
            store,
            patience,
            self.lists,
            submitter,
            Refusals(),
            Agreement(SETTINGS),
            worker_id="me",
            topic="__matchmaking",
            leases=Leases(CACHE_TTL, DAEMON_TTL),
        )
        self.lists.on_unknown = self.matchmaking.renew_soon
        self.registry = Registry(
            store,
            patience,
            self.matchmaking,
            Refusals(),
            matchmaking_topic="__matchmaking",
            own_functions=(),
        )
        self.patience = patience


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
        assert (await world.lists.fetch("t")).kept
    finally:
        await world.matchmaking.close()


async def test_renewing_goes_on_after_an_unexpected_error(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renewed = 0

    async def renew(worker_id: str) -> bool:
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


async def confirmed_after(world: World, time: Clock, change: Change) -> float:
    """How long the daemon waits before it holds a change for known."""
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

    store: Any = world.store
    monkeypatch.setattr(world.store, "reap", reap, raising=False)
    monkeypatch.setattr("gearhorn.daemon.upkeep.REAP_S", 0.001)
    upkeep = Upkeep(
        store,
        world.patience,
        world.matchmaking,
        leases=Leases(CACHE_TTL, DAEMON_TTL),
        retire=retire,
    )
    caplog.set_level(logging.ERROR)
    upkeep.start()
    try:
        await asyncio.wait_for(done.wait(), 10)
    finally:
        await upkeep.close()
    assert "unexpected error in the upkeep" in caplog.text


class Recorder:
    """A job that notes how it is answered."""

    oversize = False

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.answers: list[str] = []

    def hold(self, on_abandoned: Callable[[], object]) -> None:
        self.on_abandoned = on_abandoned

    def complete(self, data: bytes) -> None:
        self.answers.append("complete")

    def fail(self, data: bytes) -> None:
        self.answers.append("fail")
