# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What ends, in SQLite: see :mod:`gearhorn.store.endings`."""

import sqlite3
import time
from collections.abc import Sequence

from gearhorn.messages import LEAST_IDLE_S, Limits
from gearhorn.store.endings import MOST_RECORDS, Ended, Taken
from gearhorn.store.sqlite_calls import SQLiteCalls

KNOWS = "records journals"
"""What this release knows that older ones do not."""

_GAPS = 10
"""A subscription is to end after so many times the longest gap between two looks at least."""


def ignorant_of(db: sqlite3.Connection, word: str) -> list[str]:
    """Return the daemons of an older release, which do not know of something."""
    rows = db.execute(
        "SELECT worker_id FROM daemons WHERE worker_id NOT IN"
        " (SELECT worker_id FROM knows WHERE instr(text, ?) > 0)",
        (word,),
    )
    return [worker_id for (worker_id,) in rows]


class SQLiteEndings(SQLiteCalls):
    """The part of a :class:`~gearhorn.store.sqlite.SQLiteStore` that is about what ends."""

    async def ended(self, after: str, limit: int) -> Sequence[Ended]:
        def work(db: sqlite3.Connection) -> list[Ended]:
            now = time.time()
            # Older releases add a subscription and leave the record.
            rows = db.execute(
                "SELECT queue, topic, client_id, ended_at FROM ended WHERE queue > ?"
                " AND queue NOT IN (SELECT queue FROM subscribers) ORDER BY queue LIMIT ?",
                (after, limit),
            )
            return [
                Ended(queue, topic, client_id, max(0.0, now - ended_at))
                for queue, topic, client_id, ended_at in rows
            ]

        return await self._read(work)

    async def discardable(self, queues: Sequence[str], age: float) -> Sequence[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            return [
                queue
                for queue in queues
                if _age(db, queue) >= age and not _is_subscribed(db, queue)
            ]

        return await self._read(work)

    async def take(
        self, queue: str, token: str, *, length: float, age: float, held: str = ""
    ) -> Taken:
        def work(db: sqlite3.Connection) -> Taken:
            now = time.time()
            lease = lease_of(db, queue)
            if lease is None:
                is_free = not held
            else:
                is_free = lease[0] == held or (not held and lease[2] <= now)
            if not is_free:
                return Taken(False)
            if _is_subscribed(db, queue):
                db.execute("DELETE FROM ended WHERE queue = ?", (queue,))
                _give_back(db, queue, held)
                return Taken(False)
            if not held and _age(db, queue) < age:
                return Taken(False)
            # A daemon of an older release would add a subscription whatever is taken.
            if ignorant := ignorant_of(db, "records"):
                _give_back(db, queue, held)
                return Taken(False, ignorant)
            db.execute(
                "INSERT OR REPLACE INTO discards VALUES (?, ?, ?, ?)",
                (queue, token, length, now + length),
            )
            return Taken(True)

        return await self._change(work)

    async def release(self, queue: str, token: str) -> None:
        await self._change(lambda db: _give_back(db, queue, token))

    async def unserved(self, queues: Sequence[str], remove_idle: float) -> None:
        def work(db: sqlite3.Connection) -> None:
            now = time.time()
            for queue in queues:
                after = _ends_after(db, queue, remove_idle)
                row = db.execute("SELECT after FROM idle WHERE queue = ?", (queue,)).fetchone()
                if not after:
                    db.execute("DELETE FROM idle WHERE queue = ?", (queue,))
                elif row is None or row[0] != after:
                    db.execute(
                        "INSERT OR REPLACE INTO idle VALUES (?, ?, ?)", (queue, after, now + after)
                    )

        if queues:
            await self._change(work)

    async def served(self, queues: Sequence[str]) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM idle WHERE queue = ?", [(queue,) for queue in queues])

        if queues:
            await self._change(work)

    async def idle(self) -> Sequence[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            return [queue for (queue,) in db.execute("SELECT queue FROM idle")]

        return await self._read(work)

    async def looked(self, limit: int) -> Sequence[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            now = time.time()
            row = db.execute("SELECT text FROM notes WHERE kind = 'looked'").fetchone()
            gap = now - (float(row[0]) if row else 0.0)
            if gap * _GAPS > LEAST_IDLE_S:
                db.execute("UPDATE idle SET due_at = ? + after WHERE after < ?", (now, gap * _GAPS))
            db.execute("DELETE FROM notes WHERE kind = 'looked'")
            db.execute("INSERT INTO notes VALUES ('looked', ?)", (repr(now),))
            due = db.execute(
                "SELECT queue FROM idle WHERE due_at <= ? ORDER BY due_at LIMIT ?", (now, limit)
            )
            return [queue for (queue,) in due]

        return await self._change(work)


def lease_of(db: sqlite3.Connection, queue: str) -> tuple[str, float, float] | None:
    """Return the token of a queue's lease, its length and its end, if there is one."""
    found: tuple[str, float, float] | None = db.execute(
        "SELECT token, length, ends_at FROM discards WHERE queue = ?", (queue,)
    ).fetchone()
    return found


def note_ended(db: sqlite3.Connection, topic: str, client_id: str, queue: str) -> None:
    """Make the record of a subscription that ends."""
    db.execute("DELETE FROM idle WHERE queue = ?", (queue,))
    db.execute(
        "INSERT OR REPLACE INTO ended VALUES (?, ?, ?, ?)", (queue, topic, client_id, time.time())
    )


def keep_newest(db: sqlite3.Connection) -> None:
    """Keep the newest records: once in a step, as it takes a while where there are many."""
    # One that is being discarded may go: its lease stands by itself.
    db.execute(
        "DELETE FROM ended WHERE ended_at < (SELECT ended_at FROM ended"
        " ORDER BY ended_at DESC LIMIT 1 OFFSET ?)",
        (MOST_RECORDS - 1,),
    )


def begin_anew(db: sqlite3.Connection, queue: str) -> None:
    """Forget what is noted of a queue: somebody registers for it."""
    for table in ("ended", "discards", "idle"):
        db.execute(f"DELETE FROM {table} WHERE queue = ?", (queue,))  # nosec B608


def is_due(db: sqlite3.Connection, queue: str) -> bool:
    """Return true if a subscription is to end for not being served."""
    row = db.execute("SELECT due_at FROM idle WHERE queue = ?", (queue,)).fetchone()
    return row is not None and row[0] <= time.time()


def _age(db: sqlite3.Connection, queue: str) -> float:
    """Return the seconds since a subscription ended, less than 0 if there is no record."""
    row = db.execute("SELECT ended_at FROM ended WHERE queue = ?", (queue,)).fetchone()
    return time.time() - row[0] if row else -1.0


def _is_subscribed(db: sqlite3.Connection, queue: str) -> bool:
    row = db.execute("SELECT 1 FROM subscribers WHERE queue = ?", (queue,)).fetchone()
    return row is not None


def _give_back(db: sqlite3.Connection, queue: str, token: str) -> None:
    db.execute("DELETE FROM discards WHERE queue = ? AND token = ?", (queue, token))


def _ends_after(db: sqlite3.Connection, queue: str, remove_idle: float) -> float:
    """Return the seconds after which a subscription ends; 0 for never, or for none."""
    row = db.execute(
        "SELECT text FROM subscribers LEFT JOIN limits USING (topic, client_id) WHERE queue = ?",
        (queue,),
    ).fetchone()
    if row is None:
        return 0
    own = Limits.read(row[0] or "{}").remove_idle
    return remove_idle if own is None else own
