# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The duties of every store, tested on each kind of store."""

from __future__ import annotations

import asyncio
import math

from gearhorn.store.base import Store, SubscriberExpiry, TopicSize
from gearhorn.tests.functional.store.stores import NewStore, ids

# Subscriptions.


async def test_a_topic_nobody_subscribed_to_has_no_members(
    store: Store,
) -> None:
    members = await store.members("memos", "reader")
    assert list(members.client_ids) == []


async def test_members_are_those_added_and_not_removed(store: Store) -> None:
    await store.add("memos", "alice", None)
    await store.add("memos", "bob", None)
    await store.add("memos", "carol", 60)
    await store.add("other", "dave", None)
    await store.remove("memos", "bob")
    assert await ids(store, "memos") == {"alice", "carol"}


async def test_another_daemon_sees_the_same_members(store: Store, other: Store) -> None:
    await store.add("memos", "alice", None)
    assert await ids(other, "memos") == {"alice"}


async def test_names_in_the_store_may_be_any_text(store: Store) -> None:
    names = {"ünï cödé", "a%b", "a{b}", "'; --", "\U0001f4ef", "a:b_c"}
    for name in names:
        await store.add(f"topic {name}", name, None)
        assert await ids(store, f"topic {name}") == {name}
    await store.add("all", "\U0001f4ef", 60)
    (row,) = await store.subscribers("all", "", 10)
    assert row.client_id == "\U0001f4ef"


async def test_names_of_the_store_itself_are_topics_like_any_other(
    store: Store,
) -> None:
    for topic in ("topics", "claims", "counter", "topic:memos", "daemons"):
        await store.add(topic, "alice", None)
        assert await ids(store, topic) == {"alice"}


async def test_an_addition_gives_the_topic_a_version(store: Store) -> None:
    (change,) = await store.add("memos", "alice", None)
    assert change.topic == "memos"
    assert change.version > 0


async def test_versions_rise_over_all_topics(store: Store) -> None:
    changes = [
        *await store.add("memos", "alice", None),
        *await store.add("other", "alice", None),
        *await store.add("memos", "bob", 60),
        *await store.remove("memos", "alice"),
    ]
    versions = [change.version for change in changes]
    assert versions == sorted(set(versions))
    assert len(versions) == 4


async def test_a_repeat_changes_nothing(store: Store) -> None:
    first = await store.add("memos", "alice", None)
    # Still listed, as nobody has confirmed it.
    assert await store.add("memos", "alice", None) == first
    await store.confirm(first[0])
    assert list(await store.add("memos", "alice", None)) == []
    assert list(await store.add("memos", "alice", 60)) == []


async def test_removing_gives_the_topic_a_version(store: Store) -> None:
    (added,) = await store.add("memos", "alice", None)
    (removed,) = await store.remove("memos", "alice")
    assert removed.topic == "memos"
    assert removed.version > added.version
    assert await ids(store, "memos") == set()


async def test_removing_an_absent_one_succeeds(store: Store) -> None:
    assert list(await store.remove("memos", "alice")) == []
    (added,) = await store.add("memos", "bob", None)
    # It says what is unconfirmed, whoever did that.
    assert list(await store.remove("memos", "alice")) == [added]
    assert await ids(store, "memos") == {"bob"}


async def test_a_change_that_another_daemon_made_is_listed(store: Store, other: Store) -> None:
    changes = await store.add("memos", "alice", None)
    assert await other.add("memos", "alice", None) == changes
    assert await other.remove("memos", "nobody") == changes


# For operators.


async def test_topics_come_in_pages_in_the_order_of_their_bytes(
    store: Store,
) -> None:
    topics = ["A", "Z", "a", "a b", "aa", "z", "ä", "\uffee", "\U0001f4ef"]
    for topic in reversed(topics):
        await store.add(topic, "alice", None)
    await store.add("aa", "bob", None)
    rows: list[TopicSize] = []
    after = ""
    while page := await store.topics(after, 4):
        assert len(page) <= 4
        rows += page
        after = page[-1].topic
    assert [row.topic for row in rows] == topics
    counts = {row.topic: row.subscribers for row in rows}
    assert counts["aa"] == 2
    assert counts["a"] == 1


async def test_a_topic_without_subscribers_is_listed_no_more(
    store: Store,
) -> None:
    await store.add("memos", "alice", None)
    await store.add("memos", "bob", None)
    await store.remove("memos", "alice")
    assert list(await store.topics("", 10)) == [("memos", 1)]
    await store.remove("memos", "bob")
    assert list(await store.topics("", 10)) == []


async def test_subscribers_come_in_pages_in_the_order_of_their_bytes(
    store: Store,
) -> None:
    names = ["A", "Z", "a", "a b", "aa", "z", "ä", "\uffee", "\U0001f4ef"]
    for name in reversed(names):
        await store.add("memos", name, 60 if name == "aa" else None)
    rows: list[SubscriberExpiry] = []
    after = ""
    while page := await store.subscribers("memos", after, 4):
        assert len(page) <= 4
        rows += page
        after = page[-1].client_id
    assert [row.client_id for row in rows] == names
    assert [r.client_id for r in rows if r.expires_in is not None] == ["aa"]
    assert list(await store.subscribers("nobody's", "", 4)) == []


# The identity, and two at once.


async def test_who_made_the_store_has_seen_no_change_of_its_process(
    store: Store,
) -> None:
    assert store.run_changed_at == -math.inf
    await store.add("memos", "alice", None)
    assert store.run_changed_at == -math.inf


async def test_opening_again_keeps_the_data(store: Store, new_store: NewStore) -> None:
    await store.add("memos", "alice", None)
    await store.close()
    again = new_store()
    await again.open()
    assert await ids(again, "memos") == {"alice"}
    await again.close()


async def test_closing_twice_does_no_harm(new_store: NewStore) -> None:
    never_opened = new_store()
    await never_opened.close()
    store = new_store()
    await store.open()
    await store.close()
    await store.close()


async def test_many_changes_at_once_all_hold(store: Store, other: Store) -> None:
    changes = await asyncio.gather(
        *(
            which.add(f"topic {number % 3}", f"{who} {number}", None)
            for number in range(60)
            for who, which in (("one", store), ("other", other))
        )
    )
    for number in range(3):
        assert len(await ids(store, f"topic {number}")) == 40
    versions = {change.version for some in changes for change in some}
    # Each addition was a change of its own.
    assert max(versions) >= 120


async def test_members_added_before_are_found_while_others_come_and_go(
    store: Store, other: Store
) -> None:
    steady = {f"steady {number}" for number in range(30)}
    for name in steady:
        await store.add("memos", name, None)

    async def churn() -> None:
        for number in range(30):
            await other.add("memos", f"passing {number}", None)
            await other.remove("memos", f"passing {number}")

    churning = asyncio.create_task(churn())
    while not churning.done():
        assert await ids(store, "memos") >= steady
    await churning


async def test_a_cancelled_call_does_no_harm(store: Store) -> None:
    for number in range(20):
        call = asyncio.create_task(store.add("memos", f"a {number}", None))
        await asyncio.sleep(0.0001 * number)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        # Its answer is not taken for another call's.
        assert await store.renew("nobody") is False
        await store.add("memos", f"a {number}", None)
    assert len(await ids(store, "memos")) == 20
