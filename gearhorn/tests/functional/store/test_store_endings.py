# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What ends, in each kind of store: records, leases on them, and queues that are not served."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gearhorn.messages import Limits
from gearhorn.store import redis_endings, redis_scripts, sqlite_endings
from gearhorn.store.base import Store
from gearhorn.store.endings import BeingDiscarded
from gearhorn.tests.functional.store.conftest import kind_of
from gearhorn.tests.functional.store.stores import NewStore, expired, holder, ids

LONG = 60.0
HELD = (True, ())


@pytest.fixture
async def store(new_store: NewStore) -> AsyncIterator[Store]:
    """With the entry of a daemon of this release, and bob's record."""
    store = new_store()
    await store.open()
    await store.join("one", "{}")
    await store.add("memos", "bob", None)
    await store.remove("memos", "bob")
    yield store
    await store.close()


async def taken(store: Store, token: str, **options: Any) -> bool:
    options = {"length": LONG, "age": 0.0, **options}
    return (await store.take("memos_bob", token, **options)).held


async def queues(store: Store) -> list[str]:
    return [row.queue for row in await store.ended("", 1000)]


# Records.


async def test_each_subscription_that_ends_leaves_a_record(store: Store) -> None:
    await expired(store, "memos", "visitor")
    await store.reap(10)
    await store.remove("memos", "nobody")
    rows = await store.ended("", 10)
    assert [row[:3] for row in rows] == [
        ("memos_bob", "memos", "bob"),
        ("memos_visitor", "memos", "visitor"),
    ]
    assert 0 <= rows[1].ago <= rows[0].ago < 60


async def test_records_come_in_pages_in_the_order_of_their_queues(store: Store) -> None:
    names = ["A", "Z", "a", "a b", "aa", "z", "ä", "\uffee", "\U0001f4ef"]
    for name in reversed(names):
        await store.add(name, "x", None)
        await store.remove(name, "x")
    await store.add("aa", "x", None)
    found: list[str] = []
    after = ""
    while page := await store.ended(after, 4):
        assert len(page) <= 4
        found += [row.queue for row in page]
        after = page[-1].queue
    expected = {"memos_bob", *(f"{name}_x" for name in names)} - {"aa_x"}
    assert found == sorted(expected, key=str.encode)


async def test_whoever_registers_for_the_queue_has_no_record_any_more(store: Store) -> None:
    await store.add("memos", "bob", None)
    assert await queues(store) == []
    await store.remove("memos", "bob")
    # Another topic and client_id that make the same queue.
    await store.add("me", "mos_bob", None)
    await store.remove("me", "mos_bob")
    assert await queues(store) == ["me_mos_bob", "memos_bob"]
    await store.add("me_mos", "bob", None)
    assert await queues(store) == ["memos_bob"]


async def test_a_queue_that_expires_and_is_taken_over_has_no_record(store: Store) -> None:
    await expired(store, "me", "mos_bob")
    await store.add("me_mos", "bob", None)
    assert await queues(store) == ["memos_bob"]


async def test_what_ended_long_enough_ago_may_be_discarded(store: Store) -> None:
    await store.add("memos", "alice", None)
    asked = ["memos_bob", "memos_alice", "another's function"]
    assert list(await store.discardable(asked, 0)) == ["memos_bob"]
    assert list(await store.discardable(asked, 60)) == []
    assert list(await store.discardable([], 0)) == []


# Leases.


async def test_one_daemon_takes_a_record_and_gives_it_back(store: Store, other: Store) -> None:
    assert await taken(store, "a")
    assert not await taken(other, "b")
    # It is not the other's to give.
    await other.release("memos_bob", "b")
    assert not await taken(other, "b")
    await store.release("memos_bob", "a")
    assert await taken(other, "b")


async def test_it_is_held_for_longer_under_another_token(store: Store) -> None:
    assert await taken(store, "a")
    assert await taken(store, "b", held="a")
    assert not await taken(store, "c", held="a")
    with pytest.raises(BeingDiscarded) as caught:
        await store.add("memos", "bob", None)
    assert (caught.value.token, caught.value.length) == ("b", LONG)


async def test_a_lease_that_is_over_may_be_taken_by_another(store: Store, other: Store) -> None:
    assert await taken(store, "a", length=0.001)
    await asyncio.sleep(0.005)
    assert await taken(other, "b")
    assert not await taken(store, "c", held="a")


async def test_what_has_no_record_of_this_age_is_not_taken(store: Store) -> None:
    await store.add("memos", "alice", None)
    for queue, age in (("memos_bob", 60.0), ("memos_alice", 0.0), ("another's", 0.0)):
        assert not (await store.take(queue, "a", length=LONG, age=age)).held
    # Held already, it may have become too old to be kept.
    assert await taken(store, "a")
    assert await taken(store, "b", held="a", age=60.0)


async def test_while_it_is_held_nobody_is_added(store: Store, other: Store) -> None:
    assert await taken(store, "a")
    with pytest.raises(BeingDiscarded):
        await other.add("memos", "bob", None)
    assert await ids(store, "memos") == set()
    await other.add("memos", "alice", None)
    await store.release("memos_bob", "a")
    await other.add("memos", "bob", None)
    assert await ids(store, "memos") == {"alice", "bob"}


async def test_a_lease_that_does_not_count_any_more_keeps_nobody_out(
    store: Store, other: Store
) -> None:
    assert await taken(store, "a")
    with pytest.raises(BeingDiscarded):
        await other.add("memos", "bob", None, despite="b")
    await other.add("memos", "bob", None, despite="a")
    assert not await taken(store, "c", held="a")
    assert not await taken(store, "c")
    assert await queues(store) == []
    # The next one has nothing to do with it.
    await other.remove("memos", "bob")
    assert await taken(store, "d")


async def test_the_newest_records_are_kept_and_what_is_held_is_held(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await taken(store, "a")
    monkeypatch.setattr(sqlite_endings, "MOST_RECORDS", 3)
    script = redis_scripts.SCRIPTS["remove"].replace("100000", "3")
    monkeypatch.setitem(redis_scripts.SCRIPTS, "remove", script)
    for number in range(5):
        await other.add("t", f"{number}", None)
        await other.remove("t", f"{number}")
        # So that none is as old as another.
        await asyncio.sleep(0.002)
    assert await queues(store) == ["t_2", "t_3", "t_4"]
    with pytest.raises(BeingDiscarded):
        await other.add("memos", "bob", None)


async def test_nothing_is_taken_while_a_daemon_knows_of_no_records(
    store: Store, request: pytest.FixtureRequest
) -> None:
    await store.join("old", "{}")
    await forget_what_it_knows(request, "old")
    assert await store.take("memos_bob", "a", length=LONG, age=0) == (False, ["old"])
    await store.leave("old")
    assert await taken(store, "a")
    await store.join("old", "{}")
    await forget_what_it_knows(request, "old")
    assert await store.take("memos_bob", "b", length=LONG, age=0, held="a") == (False, ["old"])
    # It was given back.
    await store.add("memos", "bob", None)


async def forget_what_it_knows(request: pytest.FixtureRequest, worker_id: str) -> None:
    """Leave of a daemon what a release before would have written."""
    if request.node.callspec.params["new_store"] != "sqlite":
        server, prefix = map(request.getfixturevalue, ("either_redis", "key_prefix"))
        assert server.ask("HDEL", f"{prefix}knows", worker_id) == ":1\r\n"
        return
    path = request.getfixturevalue("tmp_path") / "store.db"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        assert db.execute("DELETE FROM knows WHERE worker_id = ?", (worker_id,)).rowcount == 1


async def test_a_daemon_says_what_it_knows_at_each_renewal(
    store: Store, request: pytest.FixtureRequest
) -> None:
    await forget_what_it_knows(request, "one")
    assert not await taken(store, "a")
    await store.renew("one")
    assert await taken(store, "a")


# Queues that are not served.


@pytest.fixture
async def unread(store: Store) -> Store:
    """With carol and dave, whose queues are found unserved; they may be so for long."""
    await store.looked(10)
    await store.add("memos", "carol", None)
    await store.add("memos", "dave", None, Limits(remove_idle=0))
    await store.unserved(["memos_carol", "memos_dave", "memos_bob", "another's"], 3600)
    return store


async def test_only_subscriptions_that_may_end_are_noted(unread: Store) -> None:
    assert list(await unread.idle()) == ["memos_carol"]
    await unread.add("memos", "erin", None, Limits(remove_idle=3600))
    await unread.unserved(["memos_erin"], 0)
    assert sorted(await unread.idle()) == ["memos_carol", "memos_erin"]


async def test_one_that_is_served_or_registers_again_begins_anew(unread: Store) -> None:
    await unread.served(["memos_carol", "another's"])
    assert list(await unread.idle()) == []
    await unread.unserved(["memos_carol"], 3600)
    assert list(await unread.idle()) == ["memos_carol"]
    await unread.add("memos", "carol", None)
    assert list(await unread.idle()) == []


async def test_one_that_may_not_end_any_more_is_forgotten(unread: Store) -> None:
    await unread.unserved(["memos_carol"], 0)
    assert list(await unread.idle()) == []


async def test_an_end_takes_it_off_the_list(unread: Store) -> None:
    await unread.remove("memos", "carol")
    assert list(await unread.idle()) == []


async def test_a_subscription_ends_once_it_was_idle_for_so_long(
    unread: Store, other: Store
) -> None:
    assert list(await unread.end_idle("memos_carol")) == []
    assert list(await unread.looked(10)) == []
    # Shorter than any that is configured, so that the test is short.
    await unread.unserved(["memos_carol"], 0.3)
    due: list[str] = []
    while not due:
        due = list(await unread.looked(10))
    assert due == ["memos_carol"]
    changes = await unread.end_idle("memos_carol")
    assert [change.topic for change in changes] == ["memos"]
    assert await ids(other, "memos") == {"dave"}
    assert "memos_carol" in await queues(other)
    assert list(await unread.end_idle("memos_carol")) == []


SetLooked = Callable[[float], None]


@pytest.fixture
def set_looked(
    request: pytest.FixtureRequest, unread: Store, tmp_path: Path, key_prefix: str
) -> SetLooked:
    """Have the last look at all job servers be so many seconds ago."""

    def in_redis(ago: float) -> None:
        node = holder(request.getfixturevalue("either_redis"), key_prefix)
        node.ask("SET", f"{key_prefix}looked", f"{1000 * (time.time() - ago):.0f}")

    def in_sqlite(ago: float) -> None:
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
            looked = repr(time.time() - ago)
            db.execute("UPDATE notes SET text = ? WHERE kind = 'looked'", (looked,))

    return in_sqlite if kind_of(request) == "sqlite" else in_redis


@pytest.mark.parametrize(("gap", "begins_anew"), [(5.0, False), (7.0, True)])
async def test_a_time_in_which_nobody_has_looked_begins_it_anew(
    unread: Store, set_looked: SetLooked, gap: float, begins_anew: bool
) -> None:
    # Of a subscription that ends after a minute, as none may sooner, a tenth.
    await unread.unserved(["memos_carol"], 0.3)
    await asyncio.sleep(0.3)
    set_looked(gap)
    found = list(await unread.looked(10))
    assert found == ([] if begins_anew else ["memos_carol"])
    # From then on it counts again.
    while not found:
        found = list(await unread.looked(10))
    assert found == ["memos_carol"]


async def test_many_queues_are_noted_and_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_endings, "_CHUNK", 10)
    monkeypatch.setattr(redis_endings, "_IDLE_PAGE", 10)
    names = [f"client {number}" for number in range(600)]
    await asyncio.gather(*(store.add("memos", name, None) for name in names))
    unserved = [f"memos_{name}" for name in names]
    await store.unserved(unserved, 3600)
    assert sorted(await store.idle()) == sorted(unserved)
    await store.served(unserved[100:])
    assert sorted(await store.idle()) == sorted(unserved[:100])
    assert len(await store.looked(10)) == 0
