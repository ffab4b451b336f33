# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The patterns of topics with journals, in SQLite: see :mod:`gearhorn.store.patterns`."""

import json
import sqlite3
from collections.abc import Sequence

from gearhorn.store.patterns import Patterns, Written
from gearhorn.store.sqlite_calls import SQLiteCalls
from gearhorn.store.sqlite_counter import unconfirmed_of
from gearhorn.store.sqlite_endings import ignorant_of


class SQLitePatterns(SQLiteCalls):
    """The part of a :class:`~gearhorn.store.sqlite.SQLiteStore` that is about patterns."""

    async def patterns(self) -> Patterns:
        return await self._read(lambda db: _read(db, self._matchmaking))

    async def _write_patterns(
        self, patterns: Sequence[str], journals: str, *, over: bool
    ) -> Written:
        def work(db: sqlite3.Connection) -> Written:
            standing = _read(db, self._matchmaking)
            others = (tuple(patterns), journals) != standing[1:3]
            ignorant: list[str] = []
            if not standing.version or (over and others):
                ignorant = ignorant_of(db, "journals")
                if not ignorant:
                    version = self._counter.give_version(db, self._matchmaking)
                    db.execute("DELETE FROM patterns")
                    db.execute(
                        "INSERT INTO patterns VALUES (?, ?, ?)",
                        (version, json.dumps(list(patterns)), journals),
                    )
            changes = unconfirmed_of(db, [self._matchmaking])
            return Written(_read(db, self._matchmaking), ignorant, changes)

        return await self._change(work)


def version_of(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT version FROM patterns").fetchone()
    return int(row[0]) if row else 0


def _read(db: sqlite3.Connection, matchmaking: str) -> Patterns:
    in_force = not db.execute(
        "SELECT 1 FROM unconfirmed WHERE topic = ?", (matchmaking,)
    ).fetchone()
    row = db.execute("SELECT version, text, journals FROM patterns").fetchone()
    if row is None:
        return Patterns(0, in_force=in_force)
    return Patterns(row[0], tuple(json.loads(row[1])), row[2], in_force)
