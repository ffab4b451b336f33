# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A store in an SQLite file, shared by the daemons of one machine.

The tables are in :mod:`gearhorn.store.sqlite_file`. The members of the
matchmaking topic are the rows of ``daemons``. Expiry goes by the machine's
clock.
"""

import math
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence

from gearhorn import clock, errors, messages
from gearhorn.messages import NO_LIMITS, Limits
from gearhorn.store.base import Change, DaemonEntry, SubscriberExpiry, TopicSize
from gearhorn.store.endings import BeingDiscarded
from gearhorn.store.identity import Opened, Terms
from gearhorn.store.sqlite_counter import unconfirmed_of
from gearhorn.store.sqlite_endings import (
    KNOWS,
    SQLiteEndings,
    begin_anew,
    is_due,
    keep_newest,
    lease_of,
    note_ended,
)
from gearhorn.store.sqlite_lists import SQLiteLists, renewal_of
from gearhorn.store.sqlite_patterns import SQLitePatterns

_OF_DAEMONS = ("settings", "secrets", "knows")
"""The tables that say more of the daemons which have an entry."""

_LEFT_MOST = 100
"""The most daemons without an entry of which it is kept what they were told."""


class SQLiteStore(SQLiteEndings, SQLitePatterns, SQLiteLists):
    """A :class:`~gearhorn.store.base.Store` in a file."""

    async def open(self, known: Collection[str] = (), terms: Terms = Terms.MAKE) -> Opened:
        opened = await self._thread.run(lambda: self._file.open(known, terms))
        if terms is not Terms.LOOK:
            self.run_changed_at = clock.now() if self._file.restarted else -math.inf
        return opened

    async def close(self) -> None:
        await self._thread.end(self._file.close)

    async def vouch(self) -> None:
        # No process stands between a call and the file, but it may be another file.
        await self._change(self._file.vouch)

    async def add(
        self,
        topic: str,
        client_id: str,
        ttl: float | None,
        limits: Limits = NO_LIMITS,
        despite: str = "",
    ) -> Sequence[Change]:
        queue = messages.queue_name(topic, client_id)

        def work(db: sqlite3.Connection) -> list[Change]:
            now = time.time()
            expires_at = None if ttl is None else now + ttl
            concerned = messages.topics_of(queue)
            lease = lease_of(db, queue)
            if lease is not None and lease[0] != despite:
                raise BeingDiscarded(*lease[:2])
            holder = db.execute(
                "SELECT topic, client_id, expires_at FROM subscribers WHERE queue = ?",
                (queue,),
            ).fetchone()
            if holder is not None and holder[:2] == (topic, client_id):
                # What changes only the expiry is told too.
                self._counter.next_number(db)
                db.execute(
                    "UPDATE subscribers SET expires_at = ? WHERE queue = ?",
                    (expires_at, queue),
                )
                _limit(db, topic, client_id, limits)
                begin_anew(db, queue)
                return unconfirmed_of(db, concerned)
            if holder is not None:
                if holder[2] is None or holder[2] > now:
                    raise errors.QueueTaken(
                        f"the queue {queue} belongs to client_id "
                        f"{holder[1]!r} of topic {holder[0]!r}"
                    )
                self._discard(db, *holder[:2])
            self._counter.give_version(db, topic)
            db.execute(
                "INSERT INTO subscribers VALUES (?, ?, ?, ?)",
                (topic, client_id, queue, expires_at),
            )
            _limit(db, topic, client_id, limits)
            begin_anew(db, queue)
            return unconfirmed_of(db, concerned)

        return await self._change(work)

    async def remove(self, topic: str, client_id: str) -> Sequence[Change]:
        def work(db: sqlite3.Connection) -> list[Change]:
            self._discard(db, topic, client_id)
            keep_newest(db)
            return unconfirmed_of(db, [topic])

        return await self._change(work)

    async def reap(self, limit: int) -> Sequence[Change]:
        def work(db: sqlite3.Connection) -> tuple[int, list[Change]]:
            due = db.execute(
                "SELECT topic, client_id FROM subscribers"
                " WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
                (time.time(), limit),
            ).fetchall()
            for topic, client_id in due:
                self._discard(db, topic, client_id)
            keep_newest(db)
            return len(due), unconfirmed_of(db, {topic for topic, _ in due})

        count, changes = await self._change(work)
        self.reaped += count
        return changes

    async def end_idle(self, queue: str) -> Sequence[Change]:
        def work(db: sqlite3.Connection) -> list[Change]:
            row = db.execute(
                "SELECT topic, client_id FROM subscribers WHERE queue = ?", (queue,)
            ).fetchone()
            if row is None or not is_due(db, queue):
                return []
            self._discard(db, *row)
            keep_newest(db)
            return unconfirmed_of(db, row[:1])

        return await self._change(work)

    async def unconfirmed(self, limit: int) -> Sequence[Change]:
        def work(db: sqlite3.Connection) -> list[Change]:
            rows = db.execute("SELECT topic, version FROM unconfirmed LIMIT ?", (limit,))
            return [Change(*row) for row in rows]

        return await self._read(work)

    async def confirm(self, change: Change) -> None:
        await self._execute("DELETE FROM unconfirmed WHERE topic = ? AND version = ?", change)

    async def join(self, worker_id: str, settings: str, secret: str = "") -> None:
        def work(db: sqlite3.Connection) -> None:
            # Older releases leave these of the daemons that they remove.
            for table in _OF_DAEMONS:
                db.execute(
                    f"DELETE FROM {table} WHERE worker_id NOT IN (SELECT worker_id FROM daemons)"  # nosec B608
                )
            # What a daemon was told stays when its entry is removed: it may only be frozen,
            # and is not to take the removal for a store that went back. The last ones do.
            db.execute(
                "DELETE FROM told WHERE worker_id IN (SELECT worker_id FROM told"
                " WHERE worker_id NOT IN (SELECT worker_id FROM daemons) AND worker_id <> ?"
                " ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (self._worker_id, _LEFT_MOST),
            )
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (worker_id, settings))
            db.execute("INSERT OR REPLACE INTO secrets VALUES (?, ?)", (worker_id, secret))
            db.execute("INSERT OR REPLACE INTO knows VALUES (?, ?)", (worker_id, KNOWS))
            db.execute(
                "INSERT OR REPLACE INTO daemons VALUES (?, ?, ?)",
                (worker_id, self._counter.next_number(db), time.time()),
            )

        await self._change(work)

    async def renew(self, worker_id: str, secret: str = "") -> bool:
        def work(db: sqlite3.Connection) -> bool:
            if renewal_of(db, worker_id) <= 0:
                return False
            db.execute("INSERT OR REPLACE INTO secrets VALUES (?, ?)", (worker_id, secret))
            db.execute("INSERT OR REPLACE INTO knows VALUES (?, ?)", (worker_id, KNOWS))
            db.execute(
                "UPDATE daemons SET renewal = ?, seen_at = ? WHERE worker_id = ?",
                (self._counter.next_number(db), time.time(), worker_id),
            )
            return True

        return await self._change(work)

    async def leave(self, worker_id: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            for table in ("daemons", *_OF_DAEMONS, "told"):
                db.execute(f"DELETE FROM {table} WHERE worker_id = ?", (worker_id,))  # nosec B608

        await self._change(work)
        if worker_id == self._worker_id:
            self.numbers.left()

    async def daemons(self) -> dict[str, DaemonEntry]:
        def work(db: sqlite3.Connection) -> dict[str, DaemonEntry]:
            now = time.time()
            rows = db.execute(
                "SELECT worker_id, renewal, seen_at, settings.text, secrets.text FROM daemons"
                " LEFT JOIN settings USING (worker_id) LEFT JOIN secrets USING (worker_id)"
            )
            return {
                worker_id: DaemonEntry(renewal, max(0.0, now - seen_at), settings, secret or None)
                for worker_id, renewal, seen_at, settings, secret in rows
            }

        return await self._read(work)

    async def bar(self, worker_id: str) -> int | None:
        def work(db: sqlite3.Connection) -> int | None:
            db.execute(
                "UPDATE daemons SET renewal = -abs(renewal) WHERE worker_id = ?",
                (worker_id,),
            )
            return renewal_of(db, worker_id) or None

        return await self._change(work)

    async def remove_daemon(self, worker_id: str, renewal: int) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            db.execute(
                "DELETE FROM daemons WHERE worker_id = ? AND renewal = ?",
                (worker_id, renewal),
            )
            is_gone = not renewal_of(db, worker_id)
            if is_gone:
                for table in _OF_DAEMONS:
                    db.execute(f"DELETE FROM {table} WHERE worker_id = ?", (worker_id,))  # nosec B608
            return is_gone

        return await self._change(work)

    async def topics(self, after: str, limit: int) -> Sequence[TopicSize]:
        def work(db: sqlite3.Connection) -> list[TopicSize]:
            rows = db.execute(
                "SELECT topic, count(*) FROM subscribers WHERE topic > :after"
                " GROUP BY topic UNION ALL"
                " SELECT :matchmaking, count(*) FROM daemons"
                " WHERE :matchmaking > :after HAVING count(*) > 0"
                " ORDER BY 1 LIMIT :limit",
                {
                    "after": after,
                    "matchmaking": self._matchmaking,
                    "limit": limit,
                },
            )
            return [TopicSize(*row) for row in rows]

        return await self._read(work)

    async def subscribers(self, topic: str, after: str, limit: int) -> Sequence[SubscriberExpiry]:
        if topic == self._matchmaking:
            query = (
                "SELECT worker_id, NULL, NULL FROM daemons"
                " WHERE worker_id > :after ORDER BY 1 LIMIT :limit"
            )
        else:
            query = (
                "SELECT client_id, expires_at, text FROM subscribers"
                " LEFT JOIN limits USING (topic, client_id)"
                " WHERE topic = :topic AND client_id > :after"
                " ORDER BY 1 LIMIT :limit"
            )
        values = {"topic": topic, "after": after, "limit": limit}

        def work(db: sqlite3.Connection) -> list[SubscriberExpiry]:
            now = time.time()
            return [
                SubscriberExpiry(
                    name,
                    None if expires_at is None else expires_at - now,
                    Limits.read(text or "{}"),
                )
                for name, expires_at, text in db.execute(query, values)
            ]

        return await self._read(work)

    async def holders(self, queues: Sequence[str]) -> Mapping[str, str]:
        query = "SELECT queue, topic FROM subscribers WHERE queue = ?"

        def work(db: sqlite3.Connection) -> dict[str, str]:
            return dict(row for queue in queues for row in db.execute(query, (queue,)))

        return await self._read(work)

    def _discard(self, db: sqlite3.Connection, topic: str, client_id: str) -> None:
        """Remove a subscriber, if it is there."""
        cursor = db.execute(
            "DELETE FROM subscribers WHERE topic = ? AND client_id = ?",
            (topic, client_id),
        )
        if cursor.rowcount:
            self._counter.give_version(db, topic)
            note_ended(db, topic, client_id, messages.queue_name(topic, client_id))
        _limit(db, topic, client_id, NO_LIMITS)


def _limit(db: sqlite3.Connection, topic: str, client_id: str, limits: Limits) -> None:
    """Note what a subscriber brought for its queue, in place of what it brought before."""
    db.execute("DELETE FROM limits WHERE topic = ? AND client_id = ?", (topic, client_id))
    if limits:
        db.execute("INSERT INTO limits VALUES (?, ?, ?)", (topic, client_id, limits.text()))
