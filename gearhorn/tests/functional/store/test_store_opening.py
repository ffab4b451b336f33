# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Which store may be used, which is made, and which follows another: alike in every store."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import sqlite3
from pathlib import Path

import pytest

from gearhorn import clock, errors
from gearhorn.store.base import Store
from gearhorn.store.identity import Terms, tag_of
from gearhorn.store.numbers import NONCES
from gearhorn.store.redis import RedisStore
from gearhorn.store.sqlite import SQLiteStore
from gearhorn.tests.functional.store.stores import AnyRedis, NewStore, ids, make, opened


class Emptier:
    """Takes away all that a store holds."""

    def __init__(self, either_redis: AnyRedis, key_prefix: str, path: Path) -> None:
        self._redis, self._prefix, self._path = either_redis, key_prefix, path

    def __call__(self) -> None:
        for key in self._redis.ask("KEYS", f"{self._prefix}*").split("\r\n"):
            if key.startswith(self._prefix):
                self._redis.ask("DEL", key)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)


@pytest.fixture
def empty(either_redis: AnyRedis, key_prefix: str, tmp_path: Path) -> Emptier:
    return Emptier(either_redis, key_prefix, tmp_path / "store.db")


async def test_the_first_makes_it_and_the_next_takes_it(store: Store, new_store: NewStore) -> None:
    again = await store.open()
    assert not again.made
    other = new_store()
    assert await other.open([again.tag], Terms.TAKE) == again
    assert re.fullmatch(r"[0-9a-f]{32}\.1", again.identity)
    assert again.follows == frozenset()
    await other.close()


async def test_a_look_uses_nothing(store: Store, new_store: NewStore) -> None:
    before = await store.open()
    other = new_store()
    assert await other.open((), Terms.LOOK) == before
    with pytest.raises(errors.StoreReplaced):
        await other.members("memos", "one")
    with pytest.raises(errors.StoreReplaced):
        await other.open(["00000000"], Terms.LOOK)
    await other.close()


async def test_an_empty_one_is_made_only_where_that_is_allowed(
    new_store: NewStore, tmp_path: Path
) -> None:
    store = new_store()
    for known in ((), ("1a2b3c4d",)):
        with pytest.raises(errors.StoreReplaced, match="it is empty"):
            await store.open(known, Terms.TAKE)
        with pytest.raises(errors.StoreReplaced):
            await store.add("memos", "bob", None)
    assert os.listdir(tmp_path) == []
    assert (await store.open()).made
    await store.add("memos", "bob", None)
    await store.close()


async def test_another_than_those_known_is_not_used(store: Store, new_store: NewStore) -> None:
    tag = (await store.open()).tag
    other = new_store()
    for terms in (Terms.TAKE, Terms.MAKE):
        with pytest.raises(errors.StoreReplaced, match=f"{tag}; known here: 00000000, 11111111"):
            await other.open(["11111111", "00000000"], terms)
        with pytest.raises(errors.StoreReplaced):
            await other.members("memos", "one")
    assert not (await other.open([tag, "00000000"], Terms.TAKE)).made
    await other.close()


async def test_one_that_was_accepted_follows_those_in_whose_place_it_is(
    store: Store, new_store: NewStore
) -> None:
    await store.add("memos", "bob", None)
    tag = (await store.open()).tag
    before = clock.now()
    accepted = await store.open(["00000000", tag], Terms.ACCEPT)
    assert accepted.follows == {"00000000"}
    assert not accepted.made
    assert before <= store.run_changed_at <= clock.now()

    other = new_store()
    assert (await other.open(["00000000"], Terms.TAKE)).tag == tag
    # Nobody may trust that all lists are dropped until somebody vouches for it.
    assert before <= other.run_changed_at <= clock.now()
    assert await ids(other, "memos") == {"bob"}
    with pytest.raises(errors.StoreReplaced):
        await other.open(["11111111"], Terms.TAKE)

    await store.vouch()
    assert (await other.open(["00000000"], Terms.TAKE)).follows == {"00000000"}
    assert other.run_changed_at == -math.inf
    await store.open(["11111111"], Terms.ACCEPT)
    assert (await other.open(["11111111"], Terms.TAKE)).follows == {"00000000", "11111111"}
    await other.close()


@pytest.mark.parametrize("terms", [Terms.MAKE, Terms.ACCEPT])
async def test_one_that_is_made_though_another_is_known_follows_that(
    new_store: NewStore, terms: Terms
) -> None:
    store, other = new_store(), new_store()
    made = await store.open(["00000000"], terms)
    assert made.made
    assert made.follows == {"00000000"}
    assert store.run_changed_at > -math.inf
    assert (await other.open(["00000000"], Terms.TAKE)).identity == made.identity
    assert other.run_changed_at > -math.inf
    await store.close()
    await other.close()


async def test_a_running_one_goes_on_with_another_that_follows_its_own(
    store: Store, new_store: NewStore, empty: Emptier
) -> None:
    await store.add("memos", "bob", None)
    old = await store.open()
    empty()
    with pytest.raises(errors.StoreReplaced):
        await store.open([old.tag], Terms.TAKE)
    with pytest.raises(errors.StoreReplaced):
        await ids(store, "memos")

    other = new_store()
    new = await other.open([old.tag], Terms.ACCEPT)
    assert new.made
    with pytest.raises(errors.StoreReplaced):
        await ids(store, "memos")
    assert (await store.open([old.tag], Terms.TAKE)).identity == new.identity
    assert await ids(store, "memos") == set()
    await store.add("memos", "alice", None)
    assert await ids(other, "memos") == {"alice"}
    await other.close()


async def test_many_that_start_at_once_make_one(new_store: NewStore) -> None:
    stores = [new_store() for _ in range(8)]
    found = await asyncio.gather(*(store.open() for store in stores))
    assert len({one.identity for one in found}) == 1
    assert [one.made for one in found].count(True) == 1
    assert {store.run_changed_at for store in stores} == {-math.inf}
    for store in stores:
        await store.close()


async def test_an_identity_that_is_lost_alone_keeps_the_numbers(
    store: Store, new_store: NewStore, either_redis: AnyRedis, key_prefix: str
) -> None:
    changes = await store.add("memos", "bob", None)
    if isinstance(store, SQLiteStore):
        await store._execute("DELETE FROM store", ())
    else:
        assert isinstance(store, RedisStore)
        either_redis.ask("DEL", f"{key_prefix}identity")
    other = new_store()
    assert (await other.open()).made
    await other.add("memos", "alice", None)
    (change,) = await other.unconfirmed(10)
    assert change.version > changes[0].version
    assert change.version // NONCES == changes[0].version // NONCES + 1
    await other.close()


def test_a_tag_is_short_enough_to_be_read_out() -> None:
    assert tag_of("0123456789abcdef") == "01234567"


# Layouts.


async def test_a_store_of_another_layout_is_named_as_that(
    store: Store, new_store: NewStore, either_redis: AnyRedis, key_prefix: str
) -> None:
    before = await store.open()
    converted = before.identity.replace(".1", ".2")
    if isinstance(store, SQLiteStore):
        await store._execute("UPDATE store SET identity = ?", (converted,))
    else:
        either_redis.ask("SET", f"{key_prefix}identity", converted)
    # Running daemons touch it no more, and say why once they look again.
    with pytest.raises(errors.StoreReplaced):
        await store.add("memos", "bob", None)
    for one in (store, new_store()):
        with pytest.raises(errors.StoreMisconfigured, match=r"has layout 2, .* knows layout 1"):
            await one.open([before.tag], Terms.TAKE)
    await one.close()


async def test_a_store_from_before_layouts_is_used(
    store: Store, new_store: NewStore, either_redis: AnyRedis, key_prefix: str
) -> None:
    old = (await store.open()).identity.removesuffix(".1")
    if isinstance(store, SQLiteStore):
        await store._execute("UPDATE store SET identity = ?", (old,))
    else:
        either_redis.ask("SET", f"{key_prefix}identity", old)
    other = new_store()
    assert (await other.open([tag_of(old)], Terms.TAKE)).identity == old
    await other.add("memos", "bob", None)
    await other.close()


async def test_a_redis_whose_identity_is_of_another_type_is_named(
    any_redis: AnyRedis, key_prefix: str
) -> None:
    store, other = (make(any_redis.url, key_prefix) for _ in range(2))
    await store.open()
    any_redis.ask("DEL", f"{key_prefix}identity")
    any_redis.ask("HSET", f"{key_prefix}identity", "layout", "2")
    with pytest.raises(errors.StoreMisconfigured, match="another release"):
        await store.add("memos", "bob", None)
    with pytest.raises(errors.StoreMisconfigured, match="another release"):
        await other.open()
    await store.close()
    await other.close()


async def test_a_running_daemon_notices_that_its_file_was_converted(tmp_path: Path) -> None:
    async with opened(f"sqlite://{tmp_path}/store.db") as store:
        await store.add("memos", "bob", None)
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as db:
            db.execute("PRAGMA user_version = 2")
        for attempt in (store.add("memos", "alice", None), store.members("memos", "one")):
            with pytest.raises(errors.StoreMisconfigured, match=r"has version 2, .* knows 1"):
                await attempt
