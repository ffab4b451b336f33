# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The lists of topics, in SQLite: one, or several in one transaction."""

import sqlite3
from collections.abc import Mapping, Sequence

from gearhorn.messages import Limits
from gearhorn.store.base import LONGEST, Members
from gearhorn.store.sqlite_calls import SQLiteCalls
from gearhorn.store.sqlite_patterns import version_of


class SQLiteLists(SQLiteCalls):
    """The part of a :class:`~gearhorn.store.sqlite.SQLiteStore` that reads lists."""

    async def members(self, topic: str, reader: str) -> Members:
        if topic == self._matchmaking:
            query = "SELECT worker_id FROM daemons"
            names: tuple[str, ...] = ()
        else:
            query = "SELECT client_id FROM subscribers WHERE topic = ?"
            names = (topic,)

        def work(db: sqlite3.Connection) -> Members:
            rows = db.execute(query, names).fetchall()
            # Older releases leave those of the subscribers that they remove.
            brought = db.execute(
                "SELECT client_id, text FROM limits JOIN subscribers USING (topic, client_id)"
                " WHERE topic = ?",
                (topic,),
            )
            limits = {client_id: Limits.read(text) for client_id, text in brought}
            return Members(
                [row[0] for row in rows], renewal_of(db, reader) > 0, limits, version_of(db)
            )

        return await self._read(work)

    async def lists(self, topics: Sequence[str], reader: str) -> Mapping[str, Members]:
        def work(db: sqlite3.Connection) -> dict[str, Members]:
            reader_known, version = renewal_of(db, reader) > 0, version_of(db)
            found: dict[str, Members] = {}
            for topic in topics:
                rows = db.execute(
                    "SELECT client_id, text FROM subscribers"
                    " LEFT JOIN limits USING (topic, client_id) WHERE topic = ? LIMIT ?",
                    (topic, LONGEST + 1),
                ).fetchall()
                if len(rows) <= LONGEST and topic != self._matchmaking:
                    limits = {name: Limits.read(text) for name, text in rows if text is not None}
                    names = [name for name, _ in rows]
                    found[topic] = Members(names, reader_known, limits, version)
            return found

        return await self._read(work)


def renewal_of(db: sqlite3.Connection, worker_id: str) -> int:
    """Return a daemon's renewal number, 0 if it has no entry."""
    row = db.execute("SELECT renewal FROM daemons WHERE worker_id = ?", (worker_id,)).fetchone()
    return int(row[0]) if row else 0
