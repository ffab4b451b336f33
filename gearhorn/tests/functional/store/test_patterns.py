# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The patterns of topics with journals, which all daemons share, in each kind of store."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gearhorn.store.base import Store
from gearhorn.store.patterns import Patterns, Written
from gearhorn.store.sqlite import SQLiteStore
from gearhorn.tests.functional.store.stores import MATCHMAKING, AnyRedis, holder

pytestmark = pytest.mark.once

MakeOld = Callable[[str], None]

PATTERNS = ("orders.*", "state.*", "größe")


async def test_a_store_has_no_patterns_at_first(store: Store) -> None:
    assert await store.patterns() == Patterns(0)
    assert (await store.members("memos", "one")).patterns == 0


async def test_the_first_daemon_that_has_some_writes_them(store: Store, other: Store) -> None:
    written = await store.offer_patterns(PATTERNS, "identity")
    assert written.patterns.version > 0
    assert written.patterns[1:] == (PATTERNS, "identity", False)
    assert written.ignorant == []
    # Another has others, and is told which ones count.
    again = await other.offer_patterns(["others.*"], "another")
    assert again.patterns == written.patterns == await other.patterns()
    assert again.changes == written.changes


async def test_they_are_in_force_once_the_change_of_the_matchmaking_topic_is_confirmed(
    store: Store, other: Store
) -> None:
    (change,) = (await store.offer_patterns(PATTERNS, "identity")).changes
    assert change.topic == MATCHMAKING
    assert change in await other.unconfirmed(10)
    assert not (await other.patterns()).in_force
    await store.confirm(change)
    assert (await other.patterns()).in_force


async def test_their_version_comes_with_each_list(store: Store) -> None:
    await store.add("memos", "alice", None)
    first = (await store.offer_patterns(PATTERNS, "identity")).patterns.version
    assert (await store.members("memos", "one")).patterns == first
    assert (await store.members(MATCHMAKING, "one")).patterns == first
    second = (await store.adopt_patterns(["a"], "identity")).patterns.version
    assert second > first
    assert (await store.members("nobody's", "one")).patterns == second


async def test_on_an_operators_word_they_are_written_over_others(
    store: Store, other: Store
) -> None:
    first = await store.offer_patterns(PATTERNS, "identity")
    await store.confirm(first.changes[0])
    for patterns, journals in ((("a", "b"), "identity"), (("a", "b"), "another"), ((), "another")):
        before = await other.patterns()
        written = await store.adopt_patterns(patterns, journals)
        assert written.patterns.version > before.version
        assert await other.patterns() == (written.patterns.version, patterns, journals, False)
        await store.confirm(written.changes[0])
    # The same ones change nothing.
    standing = written.patterns._replace(in_force=True)
    assert await store.adopt_patterns([], "another") == Written(standing, [], [])


async def test_their_order_counts(store: Store) -> None:
    first = await store.adopt_patterns(["a", "b"], "identity")
    second = await store.adopt_patterns(["b", "a"], "identity")
    assert second.patterns.version > first.patterns.version


@pytest.fixture
def make_old(
    store: Store, request: pytest.FixtureRequest, key_prefix: str, tmp_path: Path
) -> MakeOld:
    """Has a daemon be of the release before, which knew of records only."""

    def make_old(worker_id: str) -> None:
        if isinstance(store, SQLiteStore):
            with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
                db.execute("UPDATE knows SET text = 'records' WHERE worker_id = ?", (worker_id,))
        else:
            servers: AnyRedis = request.getfixturevalue("either_redis")
            holder(servers, key_prefix).ask("HSET", f"{key_prefix}knows", worker_id, "records")

    return make_old


async def test_nothing_is_written_while_a_daemon_of_an_older_release_stands(
    store: Store, other: Store, make_old: MakeOld
) -> None:
    await store.join("new", "{}")
    await other.join("old", "{}")
    make_old("old")
    for write in (store.offer_patterns, store.adopt_patterns):
        written = await write(PATTERNS, "identity")
        assert (written.patterns, written.ignorant) == (Patterns(0), ["old"])
        assert written.changes == []
    # It is replaced by one of this release.
    await store.leave("old")
    assert (await store.offer_patterns(PATTERNS, "identity")).patterns.version
