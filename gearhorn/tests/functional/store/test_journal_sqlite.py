# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Journals in an SQLite file that others write, or that is another than before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from gearhorn import errors
from gearhorn.store.journal import Entry, Head
from gearhorn.tests.functional.disks import disk_of
from gearhorn.tests.functional.store import stores
from gearhorn.tests.functional.store.copies import SQLiteCopies
from gearhorn.tests.functional.store.journals import (
    LIMITS,
    TOPIC,
    append,
    opened,
    request,
    send,
    shown,
)

pytestmark = pytest.mark.once


async def test_the_tables_are_added_to_the_file_of_an_older_release(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    url = f"sqlite://{path}"
    async with stores.opened(url) as store:
        await store.add("memos", "alice", None)
    with contextlib.closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master")]
        for table in ("patterns", *(name for name in tables if name.startswith("journal"))):
            db.execute(f"DROP TABLE IF EXISTS {table}")
    copies = SQLiteCopies(path)
    await copies.take()
    async with opened(url) as journals:
        await append(journals, "a")
        # A copy from before is written over the file while it is open.
        await copies.bring_back()
        assert await journals.head(TOPIC) == Head(None, 0)
        await append(journals, "b")
    async with stores.opened(url) as store:
        assert await stores.ids(store, "memos") == {"alice"}
        assert (await store.patterns()).version == 0


async def test_a_file_that_another_program_holds_is_away_and_nothing_is_appended(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    async with opened(f"sqlite://{path}", timeout=0.1) as journals:
        await append(journals, "a")
        once = request("b")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(errors.StoreAway):
                await send(journals, once)
            # It can be read meanwhile.
            assert await shown(journals) == [(1, "a")]
            holder.execute("ROLLBACK")
        assert (await send(journals, once)).placed[0].sequence == 2


async def test_another_file_in_its_place_is_noticed_and_watched_once_it_is_opened(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    async with opened(f"sqlite://{path}") as journals:
        journals.on_append = heard.put_nowait
        await append(journals, "a")
        await journals.watch(TOPIC)
        for suffix in ("", "-wal", "-shm"):
            os.unlink(f"{path}{suffix}")
        with pytest.raises(errors.StoreReplaced):
            await append(journals, "b")
        await journals.open()
        await append(journals, "c")
        while await heard.get() != TOPIC:
            pass
        assert await shown(journals) == [(1, "c")]


async def test_a_turn_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    async with opened(f"sqlite://{tmp_path}/store.db") as journals:
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
            db.execute(
                "CREATE TRIGGER full BEFORE INSERT ON journal_messages WHEN new.payload = x'62'"
                " BEGIN SELECT raise(ABORT, 'database or disk is full'); END"
            )
        turn = [request("a", topic="one"), request("a", "b", topic="two")]
        with pytest.raises(errors.StoreFull):
            await journals.append(turn)
        assert await journals.topics("", 10) == []


async def test_a_full_disk_takes_no_appends_until_there_is_room(tmp_path: Path) -> None:
    directory = tmp_path / "disk"
    directory.mkdir()
    with disk_of(directory) as disk:
        async with opened(f"sqlite://{directory}/store.db") as journals:
            first = await append(journals, "a")
            disk.fill()
            once = request("b" * 10_000)
            for _ in range(2):
                with pytest.raises(errors.StoreFull):
                    await send(journals, once)
            assert await journals.head(TOPIC) == Head(first.journal, 1)
            disk.empty()
            assert (await send(journals, once)).placed[0].sequence == 2
            assert [sequence for sequence, _ in await shown(journals)] == [1, 2]


async def test_upkeep_that_ends_nothing_does_not_write_the_file(tmp_path: Path) -> None:
    async with opened(f"sqlite://{tmp_path}/store.db") as journals:
        await append(journals, Entry([b"a"], id="42"))
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as other:
            before = other.execute("PRAGMA data_version").fetchone()
            await journals.upkeep(lambda topic: LIMITS)
            assert other.execute("PRAGMA data_version").fetchone() == before
            await asyncio.sleep(0.01)
            await journals.upkeep(lambda topic: LIMITS._replace(max_age=0.005))
            assert other.execute("PRAGMA data_version").fetchone() != before
