# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions with an end, and the reaper, in each kind of store."""

from __future__ import annotations

import asyncio

import pytest

from gearhorn.store.base import Store, SubscriberExpiry
from gearhorn.tests.functional.store.stores import expired, ids


async def test_a_subscription_without_ttl_does_not_expire(
    store: Store,
) -> None:
    await store.add("memos", "alice", None)
    (row,) = await store.subscribers("memos", "", 10)
    assert row == SubscriberExpiry("alice", None)


async def test_a_ttl_counts_down(store: Store) -> None:
    await store.add("memos", "alice", 60)
    (row,) = await store.subscribers("memos", "", 10)
    assert row.expires_in == pytest.approx(60, abs=5)


async def test_an_expired_one_is_a_member_until_reaped(store: Store) -> None:
    await expired(store, "memos", "alice")
    assert await ids(store, "memos") == {"alice"}
    (added,) = await store.unconfirmed(10)
    (reaped,) = await store.reap(10)
    assert reaped.topic == "memos"
    assert reaped.version > added.version
    assert await ids(store, "memos") == set()
    assert list(await store.topics("", 10)) == []


async def test_only_expired_ones_are_reaped(store: Store) -> None:
    await store.add("memos", "alice", 60)
    await store.add("memos", "bob", None)
    await expired(store, "memos", "carol")
    assert len(await store.reap(10)) == 1
    assert list(await store.reap(10)) == []
    assert await ids(store, "memos") == {"alice", "bob"}


async def test_a_renewed_one_is_not_reaped(store: Store) -> None:
    await expired(store, "memos", "alice")
    (change,) = await store.unconfirmed(10)
    await store.confirm(change)
    # No change of the set, so nothing to tell.
    assert list(await store.add("memos", "alice", 60)) == []
    assert list(await store.reap(10)) == []
    assert await ids(store, "memos") == {"alice"}


async def test_without_ttl_it_becomes_permanent(store: Store) -> None:
    await store.add("memos", "alice", 0.001)
    await store.add("memos", "alice", None)
    await asyncio.sleep(0.02)
    assert list(await store.reap(10)) == []
    (row,) = await store.subscribers("memos", "", 10)
    assert row.expires_in is None


async def test_a_permanent_one_gets_a_ttl(store: Store) -> None:
    await store.add("memos", "alice", None)
    await expired(store, "memos", "alice")
    assert len(await store.reap(10)) == 1
    assert await ids(store, "memos") == set()


async def test_removal_forgets_the_ttl(store: Store) -> None:
    await expired(store, "memos", "alice")
    await store.remove("memos", "alice")
    await store.add("memos", "alice", None)
    assert list(await store.reap(10)) == []
    assert await ids(store, "memos") == {"alice"}


async def test_reaping_keeps_to_the_limit(store: Store) -> None:
    for number in range(5):
        await store.add(f"topic {number}", "alice", 0.001)
    await expired(store, "memos", "alice")
    reaped = [await store.reap(2) for _ in range(4)]
    assert [len(changes) for changes in reaped] == [2, 2, 2, 0]


async def test_reaping_lists_each_topic_once(store: Store) -> None:
    await store.add("memos", "alice", 0.001)
    await store.add("memos", "bob", 0.001)
    await expired(store, "memos", "carol")
    (change,) = await store.reap(10)
    assert change in await store.unconfirmed(10)


async def test_two_reapers_reap_each_once(store: Store, other: Store) -> None:
    for number in range(20):
        await store.add(f"topic {number}", "alice", 0.001)
    await expired(store, "memos", "alice")
    changes = await asyncio.gather(*(which.reap(4) for which in (store, other) * 4))
    topics = [change.topic for some in changes for change in some]
    assert len(topics) == 21
    assert len(set(topics)) == 21


async def test_renewing_while_another_reaps_loses_nobody(store: Store, other: Store) -> None:
    """Whichever comes first, who renewed is a member afterwards."""
    for _ in range(20):
        await store.add("memos", "alice", 0.001)
        await asyncio.sleep(0.003)
        await asyncio.gather(other.reap(10), store.add("memos", "alice", 60), other.reap(10))
        assert await ids(other, "memos") == {"alice"}
        (row,) = await other.subscribers("memos", "", 10)
        assert row.expires_in is not None
        assert row.expires_in > 0
        await store.remove("memos", "alice")
