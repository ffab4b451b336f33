# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Events that only a store in an SQLite file can meet with."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearhorn import clock, errors
from gearhorn.store.base import Store
from gearhorn.store.numbers import NONCES
from gearhorn.store.sqlite import SQLiteStore
from gearhorn.tests.functional.store import stores
from gearhorn.tests.functional.store.stores import ids


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "store.db"


def opened(path: Path, timeout: float = 5.0) -> contextlib.AbstractAsyncContextManager[Store]:
    return stores.opened(f"sqlite://{path}", timeout=timeout)


@contextlib.contextmanager
def foreign(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that is none of gearhorn's."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


async def add_many(store: Store) -> None:
    """More than goes into the pages that are there."""
    for number in range(100):
        await store.add("memos", "x" * 400 + str(number), None)


def move_away(path: Path) -> Path:
    """Leave nothing of a store in its place."""
    away = path.parent.parent / "away"
    path.parent.rename(away)
    path.parent.mkdir()
    return away


def size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


async def test_file_and_directory_are_the_owners_only(path: Path) -> None:
    async with opened(path) as store:
        await store.add("memos", "alice", None)
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_what_is_written_is_safe_on_the_disk(path: Path) -> None:
    async with opened(path) as store:
        assert isinstance(store, SQLiteStore)

        def settings(db: sqlite3.Connection) -> list[object]:
            return [
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous")
            ]

        assert await store._read(settings) == ["wal", 2]


async def test_the_pages_are_read_from_indexes(path: Path) -> None:
    async with opened(path):
        pass
    with foreign(path) as db:
        for query in (
            "SELECT * FROM subscribers WHERE queue = 'q'",
            "SELECT * FROM subscribers WHERE topic = 't' AND client_id > 'a' ORDER BY client_id",
            "SELECT * FROM subscribers WHERE expires_at <= 1 ORDER BY expires_at",
            "SELECT topic, count(*) FROM subscribers WHERE topic > 'a' GROUP BY topic ORDER BY 1",
        ):
            plan = str(db.execute(f"EXPLAIN QUERY PLAN {query}").fetchall())
            assert "SEARCH" in plan
            assert "TEMP" not in plan


_ADD_SOME = """
import asyncio, sys
from gearhorn.store import open_store

async def main(url, name):
    store = open_store(
        url, key_prefix="", matchmaking_topic="m", timeout=20)
    await store.open()
    for number in range(50):
        await store.add(f"topic {number % 5}", f"{name} {number}", None)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def _start_adding(path: Path) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen([sys.executable, "-c", _ADD_SOME, f"sqlite://{path}", str(number)])
        for number in range(4)
    ]


async def test_several_processes_share_it(path: Path) -> None:
    """They also make it at the same moment."""
    processes = _start_adding(path)
    codes = [await asyncio.to_thread(process.wait, 60) for process in processes]
    assert codes == [0] * 4
    async with opened(path) as store:
        rows = await store.topics("", 10)
        assert [row.subscribers for row in rows] == [40] * 5
        assert max(c.version for c in await store.unconfirmed(10)) // NONCES == 200


async def test_a_locked_store_is_away(path: Path) -> None:
    async with opened(path, 0.1) as store:
        await store.add("memos", "alice", None)
        with foreign(path) as db:
            db.execute("BEGIN IMMEDIATE")
            with pytest.raises(errors.StoreAway, match="locked"):
                await store.add("memos", "bob", None)
            # Readers do not wait for writers.
            assert await ids(store, "memos") == {"alice"}
            db.execute("ROLLBACK")
        await store.add("memos", "bob", None)


async def test_it_waits_for_another_process_without_stopping_the_loop(
    path: Path,
) -> None:
    async with opened(path) as store:
        with foreign(path) as db:
            db.execute("BEGIN IMMEDIATE")
            adding = asyncio.create_task(store.add("memos", "bob", None))
            begun = clock.now()
            await asyncio.sleep(0.2)
            # It waits for five seconds.
            assert clock.now() - begun < 4
            assert not adding.done()
            db.execute("ROLLBACK")
        await adding
        assert await ids(store, "memos") == {"bob"}


async def test_a_full_disk_takes_no_changes_but_is_read(path: Path) -> None:
    async with opened(path) as store:
        assert isinstance(store, SQLiteStore)
        await store.add("memos", "alice", None)

        def limit(pages: int) -> None:
            assert store._file._db is not None
            store._file._db.execute(f"PRAGMA max_page_count = {pages}")

        await store._thread.run(lambda: limit(1))
        with pytest.raises(errors.StoreFull, match="full"):
            await add_many(store)
        assert "alice" in await ids(store, "memos")
        await store._thread.run(lambda: limit(1_000_000))
        await store.add("memos", "bob", None)
        assert {"alice", "bob"} <= await ids(store, "memos")


async def test_a_read_only_store_takes_no_changes(path: Path) -> None:
    async with opened(path) as store:
        assert isinstance(store, SQLiteStore)
        await store.add("memos", "alice", None)

        def forbid() -> None:
            assert store._file._db is not None
            # root, as whom the tests may run, is refused nothing by modes.
            store._file._db.execute("PRAGMA query_only = 1")

        await store._thread.run(forbid)
        with pytest.raises(errors.StoreFull, match="readonly"):
            await store.add("memos", "bob", None)
        assert await ids(store, "memos") == {"alice"}


async def test_a_deleted_file_is_noticed(path: Path) -> None:
    async with opened(path) as store:
        await store.add("memos", "alice", None)
        move_away(path)
        for _ in range(2):
            with pytest.raises(errors.StoreReplaced):
                await store.add("memos", "bob", None)
            with pytest.raises(errors.StoreReplaced):
                await store.members("memos", "one")
        # It is not made anew behind the operator's back.
        assert size(path) is None


async def test_another_store_in_its_place_is_noticed(path: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "another.db") as another:
        await another.add("memos", "mallory", None)
    async with opened(path) as store:
        await store.add("memos", "alice", None)
        os.replace(tmp_path / "another.db", path)
        for _ in range(2):
            with pytest.raises(errors.StoreReplaced):
                await store.members("memos", "one")
            with pytest.raises(errors.StoreReplaced):
                await store.add("memos", "bob", None)


async def test_a_file_that_is_replaced_meanwhile_stores_nothing(
    path: Path,
) -> None:
    async with opened(path) as store:
        assert isinstance(store, SQLiteStore)

        def work(db: sqlite3.Connection) -> None:
            db.execute("UPDATE store SET counter = counter + 1")
            move_away(path)

        with pytest.raises(errors.StoreReplaced):
            await store._change(work)


async def test_a_file_that_is_put_back_is_taken(path: Path) -> None:
    async with opened(path) as store:
        await store.add("memos", "alice", None)
        away = move_away(path)
        with pytest.raises(errors.StoreReplaced):
            await store.members("memos", "one")
        away.replace(path.parent)
        assert await ids(store, "memos") == {"alice"}
        await store.add("memos", "bob", None)


async def test_a_new_start_takes_the_store_as_it_is(path: Path) -> None:
    async with opened(path) as store:
        await store.add("memos", "alice", None)
        move_away(path)
        await store.open()
        assert await ids(store, "memos") == set()
        await store.add("memos", "bob", None)


async def test_an_emptied_store_is_noticed(path: Path) -> None:
    async with opened(path) as store:
        with foreign(path) as db:
            db.execute("UPDATE store SET identity = 'another'")
        with pytest.raises(errors.StoreReplaced):
            await store.members("memos", "one")
        with foreign(path) as db:
            db.execute("DELETE FROM store")
        with pytest.raises(errors.StoreReplaced):
            await store.join("one", "{}")


async def test_a_file_that_is_no_store_is_a_fault_of_configuration(
    tmp_path: Path,
) -> None:
    text = tmp_path / "text"
    text.write_text("This is no database.\n" * 100)
    foreign_database = tmp_path / "foreign.db"
    with foreign(foreign_database) as db:
        db.execute("CREATE TABLE t (x)")
    newer = tmp_path / "newer.db"
    async with opened(newer):
        pass
    with foreign(newer) as db:
        db.execute("PRAGMA user_version = 1000")
    for path in (text, foreign_database, newer, tmp_path, text / "below"):
        with pytest.raises(errors.StoreMisconfigured, match=str(path)):
            async with opened(path):
                pass
    assert text.read_text().startswith("This is no database.")


async def test_a_damaged_file_is_a_fault_of_configuration(
    path: Path,
) -> None:
    async with opened(path) as store:
        for number in range(200):
            await store.add("memos", f"{number}" * 50, None)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 20_000)
    with pytest.raises(errors.StoreMisconfigured):
        async with opened(path) as store:
            await store.members("memos", "one")


async def test_a_name_with_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "a b%3F?ü.db"
    async with stores.opened(f"sqlite://{tmp_path}/a%20b%253F%3F%C3%BC.db"):
        assert path.exists()


async def test_another_file_in_its_place_is_certain_only_once_somebody_vouched_for_it(
    path: Path,
) -> None:
    async with opened(path) as store:
        await store.add("memos", "bob", None)
    async with opened(path) as store:
        assert store.run_changed_at == -math.inf

    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    os.replace(copy, path)

    before = clock.now()
    async with opened(path) as store:
        assert store.run_changed_at >= before
        assert await ids(store, "memos") == {"bob"}
        await store.vouch()
    async with opened(path) as store:
        assert store.run_changed_at == -math.inf
