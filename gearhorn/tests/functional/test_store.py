# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What every store must do, asked of each kind of store."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from gearhorn import errors
from gearhorn.store import open_store
from gearhorn.store.base import Change, Store, SubscriberExpiry, TopicSize
from gearhorn.tests.servers import Redis

MATCHMAKING = "__matchmaking"

NewStore = Callable[[], Store]


@pytest.fixture(params=["redis", "sqlite"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path, key_prefix: str) -> NewStore:
    """Makes another object for the same store, still to be opened."""
    url = f"sqlite://{tmp_path}/store.db"
    if request.param == "redis":
        server: Redis = request.getfixturevalue("redis_server")
        url = server.url

    def make() -> Store:
        return open_store(
            url,
            key_prefix=key_prefix,
            matchmaking_topic=MATCHMAKING,
            timeout=5.0,
        )

    return make


@pytest_asyncio.fixture
async def store(new_store: NewStore) -> AsyncIterator[Store]:
    store = new_store()
    await store.open()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def other(store: Store, new_store: NewStore) -> AsyncIterator[Store]:
    """A second daemon's view of the same store."""
    other = new_store()
    await other.open()
    yield other
    await other.close()


async def ids(store: Store, topic: str) -> set[str]:
    return set((await store.members(topic, "reader")).client_ids)


async def expired(store: Store, topic: str, client_id: str, ttl: float = 0.02) -> None:
    """Add a subscriber and wait until it has expired."""
    await store.add(topic, client_id, ttl)
    while True:
        rows = await store.subscribers(topic, "", 1000)
        left = {row.client_id: row.expires_in for row in rows}[client_id]
        assert left is not None
        if left <= 0:
            return
        await asyncio.sleep(left + 0.002)


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


async def test_names_may_be_any_text(store: Store) -> None:
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


# Expiry.


async def test_a_subscription_without_ttl_does_not_expire(
    store: Store,
) -> None:
    await store.add("memos", "alice", None)
    (row,) = await store.subscribers("memos", "", 10)
    assert row == ("alice", None)


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


# The claims on queue names.


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


# Daemons.


async def test_a_daemon_that_joined_is_listed(store: Store) -> None:
    await store.join("one", "{}")
    daemons = await store.daemons()
    assert set(daemons) == {"one"}
    assert daemons["one"].renewal > 0
    assert 0 <= daemons["one"].age < 5


async def test_each_renewal_has_another_number(store: Store) -> None:
    numbers = []
    await store.join("one", "{}")
    numbers.append((await store.daemons())["one"].renewal)
    for _ in range(3):
        assert await store.renew("one")
        numbers.append((await store.daemons())["one"].renewal)
    await store.join("one", "{}")
    numbers.append((await store.daemons())["one"].renewal)
    assert numbers == sorted(set(numbers))
    (change,) = await store.add("memos", "alice", None)
    assert change.version > numbers[-1]


async def test_who_is_gone_cannot_renew(store: Store, other: Store) -> None:
    assert not await store.renew("one")
    await store.join("one", "{}")
    await other.leave("one")
    assert not await store.renew("one")
    assert await store.daemons() == {}
    await store.leave("one")


async def test_the_daemons_are_members_of_the_matchmaking_topic(
    store: Store,
) -> None:
    await store.join("one", "{}")
    await store.join("two", "{}")
    members = await store.members(MATCHMAKING, "two")
    assert sorted(members.client_ids) == ["one", "two"]
    assert members.reader_known
    assert list(await store.topics("", 10)) == [(MATCHMAKING, 2)]
    rows = await store.subscribers(MATCHMAKING, "one", 10)
    assert list(rows) == [("two", None)]
    assert list(await store.unconfirmed(10)) == []
    await store.leave("one")
    await store.leave("two")
    assert await ids(store, MATCHMAKING) == set()
    assert list(await store.topics("", 10)) == []


async def test_members_tells_whether_the_reader_is_known(
    store: Store,
) -> None:
    await store.add("memos", "alice", None)
    assert not (await store.members("memos", "one")).reader_known
    await store.join("one", "{}")
    assert (await store.members("memos", "one")).reader_known
    assert (await store.members("empty", "one")).reader_known
    assert not (await store.members("memos", "two")).reader_known
    await store.leave("one")
    assert not (await store.members("memos", "one")).reader_known


async def test_a_barred_entry_stands_and_is_not_renewed(
    store: Store,
) -> None:
    await store.join("one", "{}")
    number = await store.bar("one")
    assert number is not None
    assert number < 0
    assert (await store.daemons())["one"].renewal == number
    assert not await store.renew("one")
    assert not (await store.members("memos", "one")).reader_known
    assert await ids(store, MATCHMAKING) == {"one"}
    # Once more changes nothing.
    assert await store.bar("one") == number


async def test_joining_lifts_the_bar(store: Store) -> None:
    await store.join("one", "{}")
    number = await store.bar("one")
    assert number is not None
    await store.join("one", "{}")
    assert (await store.members("memos", "one")).reader_known
    assert await store.renew("one")
    assert not await store.remove_daemon("one", number)
    assert set(await store.daemons()) == {"one"}


async def test_who_is_not_there_cannot_be_barred(store: Store) -> None:
    assert await store.bar("one") is None
    assert await store.daemons() == {}


async def test_an_unchanged_entry_is_removed(store: Store, other: Store) -> None:
    await store.join("one", "{}")
    renewal = (await other.daemons())["one"].renewal
    assert await other.remove_daemon("one", renewal)
    # Already gone.
    assert await other.remove_daemon("one", renewal)
    assert await store.daemons() == {}
    assert await ids(store, MATCHMAKING) == set()


async def test_an_entry_renewed_since_is_not_removed(store: Store, other: Store) -> None:
    await store.join("one", "{}")
    renewal = (await other.daemons())["one"].renewal
    await store.renew("one")
    assert not await other.remove_daemon("one", renewal)
    assert set(await store.daemons()) == {"one"}


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
