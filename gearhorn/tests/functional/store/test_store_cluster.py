# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A Redis Cluster whose slots move and whose masters fail, under the calls of a store."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from gearhorn import clock, errors
from gearhorn.store.base import Store
from gearhorn.store.redis_cluster import slot_of, tagged
from gearhorn.tests.clusters import Cluster, Node
from gearhorn.tests.functional.store.stores import PREFIX, ids, make, opened, until_it_answers
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Redis

pytestmark = pytest.mark.once

SLOT = slot_of(tagged(PREFIX))


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
        self._reason = ""
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
            except errors.StoreAway as error:
                self.away += 1
                self._reason = str(error)
                await asyncio.sleep(0.01)
            else:
                self.answers += 1
                return answer

    async def goes_on(self, answers: int = 50) -> None:
        """Wait for so many more answers."""
        least = self.answers + answers
        deadline = clock.now() + 45
        while self.answers < least:
            for task in self._tasks:
                if task.done():
                    task.result()
            assert clock.now() < deadline, f"away all the time: {self._reason}"
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
    replica = await asyncio.to_thread(moving.replicate, SLOT)
    await store.add("memos", "bob", None)
    key = f"{tagged(PREFIX)}topic:memos"
    await asyncio.to_thread(eventually, lambda: replica.has_copied(key, "bob"))
    traffic = Traffic(store, lossless=False)
    await traffic.goes_on()
    before = clock.now()
    master = moving.holder(SLOT)
    master.kill()
    try:
        await asyncio.to_thread(eventually, replica.is_master, 30)
        await traffic.goes_on()
    finally:
        master.start()
    await traffic.stop()
    assert traffic.away > 0
    assert await ids(store, "memos") == {"bob"}
    assert before < store.run_changed_at <= clock.now()
    assert "Redis was restarted or failed over" in caplog.text
    # Who comes later finds its way by the nodes that are left.
    async with opened(moving.url) as later:
        assert await ids(later, "memos") == {"bob"}


# The steps of a move, each by itself.


@pytest.fixture
async def topics(store: Store) -> Sequence[str]:
    """Topics of one subscriber, so many that they are moved in several steps."""
    names = [f"topic {number}" for number in range(30)]
    for name in names:
        await store.add(name, "alice", None)
    return names


async def answered(store: Store, topics: Sequence[str]) -> set[str]:
    """Return the topics whose list is answered; the others have to be "away"."""
    found = set()
    for topic in topics:
        try:
            assert await ids(store, topic) == {"alice"}
        except errors.StoreAway:
            continue
        found.add(topic)
    return found


async def test_what_is_there_goes_on_until_keys_are_moved(
    moving: Cluster, store: Store, topics: Sequence[str]
) -> None:
    source = moving.holder(SLOT)
    steps = moving.move(SLOT, moving.other_than(source))
    next(steps)
    # Nothing has been moved yet.
    assert await answered(store, topics) == set(topics)
    assert await store.renew("one")
    await store.add(topics[0], "bob", None)
    await store.remove(topics[0], "bob")
    await store.looked(1)
    # The keys of a new topic may be at either place.
    with pytest.raises(errors.StoreAway):
        await store.add("new", "alice", None)
    # From then on it depends on which of its keys have been moved.
    counts = [len(await answered(store, topics)) for _ in steps]
    assert min(counts) == 0
    assert counts[-1] == len(topics)
    await store.add("new", "alice", None)
    assert await ids(store, "new") == {"alice"}


async def test_a_move_that_a_failover_breaks_off_is_finished_and_loses_nothing(
    moving: Cluster, store: Store, topics: Sequence[str]
) -> None:
    await in_step(moving)
    source = moving.holder(SLOT)
    target = moving.other_than(source)
    steps = moving.move(SLOT, target)
    for _ in range(3):
        next(steps)
    moving.fail_over(SLOT)
    await asyncio.to_thread(eventually, lambda: not source.is_master(), 30)
    # What is answered meanwhile has to be right.
    await answered(store, topics)
    await asyncio.to_thread(eventually, lambda: finished(moving, target), 30)
    assert [await ids(store, topic) for topic in topics] == [{"alice"}] * len(topics)


def finished(cluster: Cluster, target: Node) -> bool:
    """Make the move again, which waits for all nodes to have heard of the failover."""
    try:
        for _ in cluster.move(SLOT, target):
            pass
    except (redis.ResponseError, AssertionError):
        return False
    return cluster.holder(SLOT) is target


async def test_while_a_slot_is_moved_a_topic_of_nobody_keeps_no_other_list_from_being_read(
    moving: Cluster, store: Store
) -> None:
    topics = ["a", "b"]
    for topic in topics:
        await store.add(topic, "alice", None)
    steps = moving.move(SLOT, moving.other_than(moving.holder(SLOT)))
    next(steps)
    assert list(await store.lists(topics, "one")) == topics
    # These are read one by one.
    assert await store.lists([*topics, "nobody's"], "one") == {}
    assert [await ids(store, topic) for topic in topics] == [{"alice"}, {"alice"}]
    for _ in steps:
        pass
    found = await until_it_answers(store.lists, [*topics, "nobody's"], "one")
    assert [len(members.client_ids) for members in found.values()] == [1, 1, 0]


async def test_a_slot_that_nobody_serves_is_a_store_that_is_away(
    moving: Cluster, store: Store
) -> None:
    await store.add("memos", "alice", None)
    with moving.nobody_serves(SLOT):
        for _ in range(3):
            with pytest.raises(errors.StoreAway):
                await store.members("memos", "one")
        with pytest.raises(errors.StoreAway):
            async with opened(moving.url):
                pass
    await until_it_answers(store.members, "memos", "one")
    assert await ids(store, "memos") == {"alice"}


# What is no cluster, or is taken for none.


async def test_the_node_of_a_cluster_says_how_it_is_to_be_named(cluster: Cluster) -> None:
    # With a tag in the prefix, one of them has all keys: it would do, as long as it has.
    tag = "{gearhorn:}"
    others = [node for node in cluster.nodes if node is not cluster.holder(slot_of(tag))]
    for node, key_prefix in itertools.product(others, (PREFIX, tag)):
        with pytest.raises(errors.StoreMisconfigured, match=r"write redis\+cluster://"):
            async with opened(node.url, key_prefix) as store:
                await store.add("memos", "alice", None)


async def test_a_redis_that_is_no_cluster_says_so(redis_server: Redis) -> None:
    with pytest.raises(errors.StoreMisconfigured, match="no node of a cluster: write redis://"):
        async with opened(f"redis+cluster://{redis_server.address}"):
            pass


async def test_a_cluster_is_reached_by_any_node_that_answers(
    cluster: Cluster, key_prefix: str
) -> None:
    for node in cluster.nodes:
        url = f"redis+cluster://127.0.0.1:1,{node.address}"
        async with opened(url, key_prefix) as store:
            await store.add("memos", "alice", None)
    with pytest.raises(errors.StoreAway):
        async with opened("redis+cluster://127.0.0.1:1,127.0.0.1:2", key_prefix):
            pass


async def test_a_cluster_is_reached_over_tls_with_a_password(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    ca, pem = tmp_path / "ca.pem", tmp_path / "server.pem"
    authority.cert_pem.write_to_path(str(ca))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
    tls_port = free_port()
    with Cluster(
        masters=1,
        requirepass="right-secret",
        tls_port=str(tls_port),
        tls_cluster="yes",
        tls_cert_file=str(pem),
        tls_key_file=str(pem),
        tls_ca_cert_file=str(ca),
        tls_auth_clients="no",
    ):
        place = f"127.0.0.1:{tls_port}/?ssl_ca_certs={ca}"
        async with opened(f"rediss+cluster://:right-secret@{place}") as store:
            await store.add("memos", "alice", None)
            assert await ids(store, "memos") == {"alice"}
        for url in (
            f"rediss+cluster://:wrong-secret@{place}",
            f"rediss+cluster://:right-secret@127.0.0.1:{tls_port}",
        ):
            with pytest.raises(errors.StoreMisconfigured) as caught:
                async with opened(url):
                    pass
            assert "secret" not in str(caught.value)
