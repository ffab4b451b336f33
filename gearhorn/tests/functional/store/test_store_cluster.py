# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A Redis Cluster whose slots move and whose masters fail, under the calls of a store."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from gearhorn import clock, errors
from gearhorn.store.base import Store
from gearhorn.store.redis_cluster import slot_of, tagged
from gearhorn.tests.clusters import Cluster, Node
from gearhorn.tests.conftest import show_log
from gearhorn.tests.functional.store.stores import (
    PREFIX,
    ids,
    make,
    opened,
)
from gearhorn.tests.processes import eventually

pytestmark = pytest.mark.once

SLOT = slot_of(tagged(PREFIX))


@pytest.fixture(scope="module")
def _own_cluster() -> Iterator[Cluster]:
    with Cluster.make(
        replica_of=SLOT,
        appendonly="yes",
        appendfsync="always",
        cluster_node_timeout="1500",
        cluster_replica_validity_factor="0",
    ) as cluster:
        yield cluster


@pytest.fixture
def moving(_own_cluster: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """One whose slots may be moved, and whose masters may be ended."""
    for node in _own_cluster.nodes:
        show_log(request.node, node)
    return _own_cluster


@pytest.fixture
async def store(moving: Cluster) -> AsyncIterator[Store]:
    moving.holder(SLOT).ask("FLUSHALL")
    store = make(moving.url, timeout=2.0, worker_id="one")
    await store.open()
    await store.join("one", "{}")
    yield store
    await store.close()


class Traffic:
    """Registrations, removals, lists and renewals, one after the other without a pause.

    Whatever a call ends in but an answer and "away" is raised by :meth:`stop`.

    :param lossless: each list has to have all that was answered before.
    """

    def __init__(self, store: Store, *, lossless: bool = True) -> None:
        self._store = store
        self._lossless = lossless
        self._ending = False
        self.expected: dict[str, set[str]] = {}
        self.answers = 0
        self.away = 0
        self._tasks = [asyncio.create_task(self._register(number)) for number in range(4)] + [
            asyncio.create_task(self._read()),
            asyncio.create_task(self._look_after()),
        ]

    async def _register(self, number: int) -> None:
        for turn in itertools.count():
            if self._ending:
                return
            topic, client_id = f"topic {turn % 7}", f"{number} {turn}"
            await self._make(self._store.add, topic, client_id, None)
            self.expected.setdefault(topic, set()).add(client_id)
            # A topic comes and goes.
            await self._make(self._store.add, f"short {number}", "alice", None)
            await self._make(self._store.remove, f"short {number}", "alice")

    async def _read(self) -> None:
        while not self._ending:
            await asyncio.sleep(0)
            before = {topic: set(members) for topic, members in self.expected.items()}
            for topic, members in before.items():
                found = await self._make(self._store.members, topic, "one")
                assert not self._lossless or members <= set(found.client_ids)

    async def _look_after(self) -> None:
        while not self._ending:
            assert await self._make(self._store.renew, "one")
            await self._make(self._store.reap, 10)
            for change in await self._make(self._store.unconfirmed, 5):
                await self._make(self._store.confirm, change)
            await self._make(self._store.topics, "", 100)
            await self._make(self._store.daemons)
            await self._make(self._store.look)

    async def _make(self, call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        while True:
            try:
                answer = await call(*arguments)
            except errors.StoreAway:
                self.away += 1
                await asyncio.sleep(0.01)
            else:
                self.answers += 1
                return answer

    async def goes_on(self, answers: int = 50) -> None:
        """Wait for so many more answers."""
        least = self.answers + answers
        while self.answers < least:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._ending = True
        await asyncio.gather(*self._tasks)


async def moved(cluster: Cluster, traffic: Traffic) -> None:
    """Move the slot to another node, with traffic between the steps."""
    source = cluster.holder(SLOT)
    for _ in cluster.move(SLOT, cluster.other_than(source)):
        await asyncio.sleep(0.01)
    assert cluster.holder(SLOT) is not source


async def test_a_slot_that_is_moved_loses_nothing(moving: Cluster, store: Store) -> None:
    for number in range(200):
        await store.add(f"other {number}", "alice", None)
    traffic = Traffic(store)
    # There and back, under connections that are open.
    for _ in range(2):
        await traffic.goes_on()
        await moved(moving, traffic)
    await traffic.goes_on()
    await traffic.stop()
    for topic, members in traffic.expected.items():
        assert await ids(store, topic) == members


def has_gone_from(cluster: Cluster, node: Node) -> None:
    eventually(lambda: cluster.holder(SLOT) is not node, 30)


async def in_step(cluster: Cluster) -> None:
    await asyncio.to_thread(eventually, cluster.replica_is_in_step, 30)


async def test_a_master_that_gives_its_place_up_loses_nothing(
    moving: Cluster, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    traffic = Traffic(store)
    # There and back, under connections that are open.
    for _ in range(2):
        await traffic.goes_on()
        await in_step(moving)
        before = moving.holder(SLOT)
        moving.fail_over(SLOT)
        await asyncio.to_thread(has_gone_from, moving, before)
        await traffic.goes_on()
    await traffic.stop()
    for topic, members in traffic.expected.items():
        assert await ids(store, topic) == members
    # No list from before is used after.
    assert caplog.text.count("Redis was restarted or failed over") >= 2


async def test_a_master_that_dies_is_a_store_that_is_away(
    moving: Cluster, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await in_step(moving)
    await store.add("memos", "bob", None)
    (replica,) = (node for node in moving.nodes if not node.is_master())
    key = f"{tagged(PREFIX)}topic:memos"
    await asyncio.to_thread(eventually, lambda: replica.has_copied(key, "bob"))
    traffic = Traffic(store, lossless=False)
    await traffic.goes_on()
    before = clock.now()
    master = moving.holder(SLOT)
    master.kill()
    await asyncio.to_thread(eventually, replica.is_master, 30)
    await traffic.goes_on()
    await traffic.stop()
    assert traffic.away > 0
    assert await ids(store, "memos") == {"bob"}
    assert before < store.run_changed_at <= clock.now()
    assert "Redis was restarted or failed over" in caplog.text
    # Who comes later finds its way by the nodes that are left.
    async with opened(moving.url) as later:
        assert await ids(later, "memos") == {"bob"}
    master.start()
    await in_step(moving)
