# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The claims on queue names, and changes that await confirmation, in each kind of store."""

from __future__ import annotations

import asyncio

import pytest

from gearhorn import errors
from gearhorn.store.base import Change, Store
from gearhorn.tests.functional.store.stores import expired, ids

# Claims.


async def test_the_holders_of_queues(store: Store) -> None:
    await store.add("a_b", "c", None)
    await expired(store, "memos", "bob")
    await store.add("memos", "alice", None)
    await store.remove("memos", "alice")
    asked = ["a_b_c", "memos_bob", "memos_alice", "another's function"]
    # One that has expired holds its queue until it is reaped.
    assert await store.holders(asked) == {"a_b_c": "a_b", "memos_bob": "memos"}
    assert await store.holders([]) == {}


async def test_two_subscriptions_cannot_share_a_queue(store: Store, other: Store) -> None:
    await store.add("a_b", "c", None)
    with pytest.raises(errors.QueueTaken, match="a_b_c") as caught:
        await other.add("a", "b_c", None)
    assert "'c' of topic 'a_b'" in str(caught.value)
    assert await ids(store, "a") == set()
    assert {row.topic for row in await store.topics("", 10)} == {"a_b"}


async def test_a_refused_one_leaves_no_version(store: Store) -> None:
    changes = await store.add("a_b", "c", 60)
    with pytest.raises(errors.QueueTaken):
        await store.add("a", "b_c", 60)
    assert list(await store.unconfirmed(10)) == list(changes)


async def test_a_removed_one_gives_its_queue_up(store: Store) -> None:
    await store.add("a_b", "c", None)
    await store.remove("a_b", "c")
    await store.add("a", "b_c", None)
    assert await ids(store, "a") == {"b_c"}


async def test_removing_the_other_one_keeps_the_claim(store: Store) -> None:
    await store.add("a_b", "c", None)
    await store.remove("a", "b_c")
    with pytest.raises(errors.QueueTaken):
        await store.add("a", "b_c", None)


async def test_a_reaped_one_gives_its_queue_up(store: Store) -> None:
    await expired(store, "a_b", "c")
    (reaped,) = await store.reap(10)
    await store.confirm(reaped)
    (change,) = await store.add("a", "b_c", None)
    assert change.topic == "a"


async def test_an_expired_claim_is_taken_and_its_topic_told(
    store: Store,
) -> None:
    await expired(store, "a_b", "c")
    (before,) = await store.unconfirmed(10)
    changes = await store.add("a", "b_c", None)
    versions = dict(changes)
    assert set(versions) == {"a", "a_b"}
    assert min(versions.values()) > before.version
    assert await ids(store, "a_b") == set()
    assert await ids(store, "a") == {"b_c"}
    assert list(await store.reap(10)) == []
    assert sorted(await store.unconfirmed(10)) == sorted(changes)
    # Who has to repeat it, as after a lost reply, is told of both again.
    assert sorted(await store.add("a", "b_c", None)) == sorted(changes)


async def test_of_two_at_once_one_gets_the_queue(store: Store, other: Store) -> None:
    results = await asyncio.gather(
        store.add("a_b", "c", None),
        other.add("a", "b_c", None),
        return_exceptions=True,
    )
    refused = [r for r in results if isinstance(r, errors.QueueTaken)]
    assert len(refused) == 1
    assert len(await ids(store, "a") | await ids(store, "a_b")) == 1


# Confirming.


async def test_what_is_confirmed_is_listed_no_more(store: Store) -> None:
    (first,) = await store.add("memos", "alice", None)
    (second,) = await store.add("other", "alice", None)
    assert sorted(await store.unconfirmed(10)) == sorted([first, second])
    await store.confirm(first)
    assert list(await store.unconfirmed(10)) == [second]
    await store.confirm(second)
    await store.confirm(second)
    assert list(await store.unconfirmed(10)) == []


async def test_an_older_change_confirms_nothing(store: Store) -> None:
    (first,) = await store.add("memos", "alice", None)
    (second,) = await store.add("memos", "bob", None)
    await store.confirm(first)
    assert list(await store.unconfirmed(10)) == [second]
    await store.confirm(Change("unknown", 1))


async def test_the_unconfirmed_keep_to_the_limit(store: Store) -> None:
    for number in range(10):
        await store.add(f"topic {number}", "alice", None)
    assert len(await store.unconfirmed(3)) == 3
    assert len(await store.unconfirmed(100)) == 10
