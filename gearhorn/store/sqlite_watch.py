# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The watch of journals in an SQLite file: it is asked ten times a second.

That is so only while anything is watched, on a connection and in a thread of its own, so
that no append waits for it.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection
from urllib.parse import quote

from gearhorn.store.sqlite_thread import OneThread
from gearhorn.tasks import Tasks

_EVERY_S = 0.1

_Heads = dict[str, tuple[str, int]]
"""By topic, its journal and the last sequence in it."""


class SQLiteWatch:
    """The topics that somebody waits for.

    :param on_append: called with a topic, or with ``None`` if messages may have been missed.
    """

    def __init__(self, path: str, on_append: Callable[[str | None], object]) -> None:
        self._path = path
        self._on_append = on_append
        self._thread = OneThread("watch")
        self._tasks = Tasks()
        self._running: asyncio.Task[None] | None = None
        # In the thread alone.
        self._db: sqlite3.Connection | None = None
        self._version = -1
        # In the event loop alone: the last sequence of each topic, and its journal.
        self._topics: dict[str, tuple[str, int] | None] = {}
        self._is_anew = False

    async def add(self, topic: str) -> None:
        if topic in self._topics:
            return
        self._topics[topic] = None
        found = await self._look(self._heads, topic)
        if topic in self._topics:
            self._topics[topic] = (found or {}).get(topic)
        if self._running is None:
            self._running = self._tasks.start(self._run())

    def discard(self, topic: str) -> None:
        self._topics.pop(topic, None)
        if not self._topics and self._running is not None:
            self._running.cancel()
            self._running = None

    def open_anew(self) -> None:
        """Ask another file from now on, if there is another at the path."""
        self._is_anew = True

    async def close(self) -> None:
        self._topics.clear()
        await self._tasks.cancel()
        self._running = None
        await self._thread.end(self._close)

    async def _run(self) -> None:
        failed = False
        while True:
            await asyncio.sleep(_EVERY_S)
            if self._is_anew:
                self._is_anew = False
                failed = True
                await self._thread.run(self._close)
            heads = await self._look(self._changed, *self._topics)
            if heads is not None:
                self._compare(heads)
                if failed:
                    self._on_append(None)
            failed = heads is None

    def _compare(self, heads: _Heads) -> None:
        for topic, head in heads.items():
            if topic in self._topics and self._topics[topic] != head:
                self._topics[topic] = head
                self._on_append(topic)

    async def _look(self, look: Callable[[Collection[str]], _Heads], *topics: str) -> _Heads | None:
        """Look in the thread, and return ``None`` on an error."""

        def work() -> _Heads | None:
            try:
                return look(topics)
            except sqlite3.Error:
                self._close()
                return None

        return await self._thread.run(work)

    # In the thread.

    def _changed(self, topics: Collection[str]) -> _Heads:
        """Return the heads of topics, none if nothing has changed."""
        # It changes with what other connections have written.
        (version,) = self._connection().execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return {}
        heads = self._heads(topics)
        self._version = version
        return heads

    def _heads(self, topics: Collection[str]) -> _Heads:
        query = "SELECT id, last FROM journals WHERE topic = ?"
        db = self._connection()
        rows = ((topic, db.execute(query, (topic,)).fetchone()) for topic in topics)
        return {topic: row for topic, row in rows if row is not None}

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = sqlite3.connect(f"file:{quote(self._path)}?mode=ro", uri=True, timeout=0.0)
            self._version = -1
        return self._db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
