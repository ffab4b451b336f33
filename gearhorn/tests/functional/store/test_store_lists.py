# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The lists of several topics in one call: as they are when each is read by itself."""

from __future__ import annotations

import asyncio

import pytest

from gearhorn import errors
from gearhorn.messages import Limits
from gearhorn.store.base import LONGEST, Members, Store
from gearhorn.tests.functional.store.stores import (
    MATCHMAKING,
    AnyRedis,
    holder,
    opened,
)

FEW = Limits(max_waiting=100)


def alike(one: Members, other: Members) -> bool:
    return (sorted(one.client_ids), *one[1:]) == (sorted(other.client_ids), *other[1:])


async def test_each_list_is_what_it_is_alone(store: Store) -> None:
    topics = ["a", "b", "ünï cödé", "nobody's"]
    for topic in topics[:3]:
        await store.add(topic, "alice", None)
        await store.add(topic, "b:ob %", 60, FEW if topic == "b" else Limits())
    await store.remove("a", "alice")
    for joined in (False, True):
        if joined:
            await store.join("one", "{}")
            await store.offer_patterns(["orders.*"], "identity")
        found = await store.lists(topics, "one")
        assert list(found) == topics
        for topic in topics:
            assert alike(found[topic], await store.members(topic, "one"))
            assert found[topic].reader_known is joined
            assert bool(found[topic].patterns) is joined
    assert found["b"].limits == {"b:ob %": FEW}
    await store.bar("one")
    assert not any(each.reader_known for each in (await store.lists(topics, "one")).values())


async def test_long_lists_and_the_list_of_the_daemons_are_left_out(store: Store) -> None:
    await store.join("one", "{}")
    for number in range(LONGEST):
        await store.add("short", f"bob {number}", None)
        await store.add("long", f"bob {number}", None)
    await store.add("long", "alice", None)
    found = await store.lists(["long", "short", MATCHMAKING], "one")
    assert list(found) == ["short"]
    assert len(found["short"].client_ids) == LONGEST
    assert await store.lists([MATCHMAKING, "long"], "one") == {}


async def test_another_daemon_reads_what_was_just_added(store: Store, other: Store) -> None:
    topics = [f"topic{number}" for number in range(100)]
    await asyncio.gather(*(store.add(topic, "alice", None) for topic in topics))
    found = await other.lists(topics, "one")
    assert all(list(found[topic].client_ids) == ["alice"] for topic in topics)


async def test_a_key_of_another_type_is_the_fault_of_its_topic(
    any_redis: AnyRedis, key_prefix: str
) -> None:
    async with opened(any_redis.url, key_prefix) as store:
        await store.add("a", "alice", None)
        holder(any_redis, key_prefix).ask("SET", f"{key_prefix}topic:odd", "x")
        assert list(await store.lists(["odd", "a"], "one")) == ["a"]
        with pytest.raises(errors.StoreMisconfigured):
            await store.members("odd", "one")


async def test_a_topic_whose_set_was_evicted_is_left_out_and_mended_by_itself(
    any_redis: AnyRedis, key_prefix: str
) -> None:
    async with opened(any_redis.url, key_prefix) as store:
        for topic in ("a", "b"):
            await store.add(topic, "alice", None)
        holder(any_redis, key_prefix).ask("DEL", f"{key_prefix}topic:a")
        assert list(await store.lists(["a", "b"], "one")) == ["b"]
        assert list((await store.members("a", "one")).client_ids) == ["alice"]
        assert list(await store.lists(["a", "b"], "one")) == ["a", "b"]


async def test_if_the_list_of_topics_is_gone_the_store_is_mended(
    any_redis: AnyRedis, key_prefix: str
) -> None:
    async with opened(any_redis.url, key_prefix) as store:
        await store.add("a", "alice", None)
        holder(any_redis, key_prefix).ask("DEL", f"{key_prefix}topics")
        found = await store.lists(["a", "nobody's"], "one")
        assert [list(members.client_ids) for members in found.values()] == [["alice"], []]
