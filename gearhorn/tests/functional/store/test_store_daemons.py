# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The entries of daemons, in each kind of store."""

from __future__ import annotations

from gearhorn.store.base import Store, SubscriberExpiry
from gearhorn.tests.functional.store.stores import MATCHMAKING, ids


async def test_a_daemon_that_joined_is_listed(store: Store) -> None:
    await store.join("one", "{}")
    daemons = await store.daemons()
    assert set(daemons) == {"one"}
    assert daemons["one"].renewal > 0
    age = daemons["one"].age
    assert age is not None
    assert 0 <= age < 5


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
    assert list(rows) == [SubscriberExpiry("two", None)]
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
