# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The journals in an SQLite file. The tables are in :mod:`gearhorn.store.sqlite_tables`."""

import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from gearhorn import errors
from gearhorn.store import sqlite_append
from gearhorn.store.identity import Opened, Terms
from gearhorn.store.journal import (
    Answer,
    Append,
    Head,
    JournalLimits,
    JournalMessage,
    JournalRow,
    Journals,
    Memory,
    Question,
    Reading,
)
from gearhorn.store.journal_numbers import crosses
from gearhorn.store.sqlite_calls import path_of
from gearhorn.store.sqlite_file import SQLiteFile
from gearhorn.store.sqlite_thread import OneThread
from gearhorn.store.sqlite_watch import SQLiteWatch
from gearhorn.store.told import Told

_T = TypeVar("_T")


class SQLiteJournals(Journals):
    """:class:`~gearhorn.store.journal.Journals` in a file.

    :param url: ``sqlite://`` and the absolute path of the file.
    :param timeout: seconds to wait for another process's change.
    """

    def __init__(
        self, url: str, *, timeout: float, worker_id: str = "", max_topics: int, id_window: float
    ) -> None:
        super().__init__(worker_id, max_topics=max_topics, id_window=id_window)
        path = path_of(url)
        self._file = SQLiteFile(path, timeout)
        self._thread = OneThread("journals")
        self._told = Told()
        self._watch = SQLiteWatch(path, lambda topic: self.on_append(topic))

    async def open(self, known: Collection[str] = (), terms: Terms = Terms.MAKE) -> Opened:
        opened = await self._thread.run(lambda: self._file.open(known, terms))
        if terms is not Terms.LOOK:
            self._watch.open_anew()
        return opened

    def set_timeout(self, timeout: float) -> None:
        self._thread.later(self._file.set_timeout, timeout)

    async def close(self) -> None:
        await self._watch.close()
        await self._thread.end(self._file.close)

    async def append(self, turn: Sequence[Append]) -> Sequence[Answer]:
        told = [self._told.of(append.topic) for append in turn]

        def work(db: sqlite3.Connection) -> list[Answer]:
            appending = sqlite_append.Appending(
                db, self.worker_id, max_topics=self.max_topics, id_window=self.id_window
            )
            return [appending.append(*each) for each in zip(turn, told, strict=True)]

        answers = await self._change(work)
        self._told.note(turn, answers)
        return answers

    async def heads(self, topics: Sequence[str]) -> Sequence[Head]:
        def work(db: sqlite3.Connection) -> list[Head]:
            found = (sqlite_append.find(db, topic) for topic in topics)
            return [Head(each.id, each.last) if each else Head(None, 0) for each in found]

        return await self._read(work)

    async def read_all(self, questions: Sequence[Question]) -> Sequence[Reading]:
        # One transaction each: others have their turn between.
        return [await self._read_one(question) for question in questions]

    async def _read_one(self, question: Question) -> Reading:
        return await self._read(lambda db: _read_page(db, *question))

    async def rows(self, topics: Sequence[str]) -> Sequence[JournalRow]:
        def work(db: sqlite3.Connection) -> list[JournalRow]:
            rows = (_row(db, topic) for topic in topics)
            return [row for row in rows if row is not None]

        return await self._read(work)

    async def topics(self, after: str, limit: int) -> Sequence[str]:
        def work(db: sqlite3.Connection) -> list[str]:
            rows = db.execute(
                "SELECT topic FROM journals WHERE topic > ? ORDER BY topic LIMIT ?", (after, limit)
            )
            return [topic for (topic,) in rows]

        return await self._read(work)

    async def memory(self) -> Memory:
        def work(db: sqlite3.Connection) -> Memory:
            pages, free, size = (
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            return Memory((pages - free) * size, None)

        return await self._read(work)

    async def trim(self, topic: str, limits: JournalLimits | None) -> None:
        await self._change(lambda db: sqlite_append.upkeep(db, topic, limits, self.id_window))

    async def upkeep(
        self, limits_of: Callable[[str], JournalLimits | None]
    ) -> Mapping[str, errors.StoreError]:
        faults = await super().upkeep(limits_of)
        await self._told.forget_ended(self.max_topics, self.rows)
        return faults

    async def watch(self, topic: str) -> None:
        await self._watch.add(topic)

    def unwatch(self, topic: str) -> None:
        self._watch.discard(topic)

    async def _change(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await self._thread.run(lambda: self._do(self._file.change, work))

    async def _read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await self._thread.run(lambda: self._do(self._file.read, work))

    def _do(
        self,
        transaction: Callable[[Callable[[sqlite3.Connection], _T]], _T],
        work: Callable[[sqlite3.Connection], _T],
    ) -> _T:
        try:
            return transaction(work)
        except errors.StoreMisconfigured as error:
            if "no such table" not in str(error):
                raise
        # It went back to the file of an older release.
        self._file.add_tables()
        return transaction(work)


def _read_page(
    db: sqlite3.Connection, topic: str, after: int, asked: str | None, limit: int, max_bytes: int
) -> Reading:
    journal = sqlite_append.find(db, topic)
    is_reset = asked is not None and (journal is None or asked != journal.id)
    if journal is None:
        return Reading(None, 1, 0, [], trimmed=False, gap=False, reset=is_reset)
    if is_reset:
        after = 0
    first, _ = journal.first()
    rows = db.execute(
        "SELECT sequence, published, groups, payload FROM journal_messages"
        " WHERE journal = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (journal.number, after, limit),
    )
    messages: list[JournalMessage] = []
    size = 0
    for sequence, published, groups, payload in rows:
        size += len(payload)
        if size > max_bytes and messages:
            break
        messages.append(JournalMessage(sequence, published / 1000, groups, payload))
    rows.close()
    return Reading(
        journal.id,
        first,
        journal.last,
        messages,
        trimmed=journal.trimmed > after,
        gap=crosses(after, journal.jump, journal.last, messages),
        reset=is_reset,
    )


def _row(db: sqlite3.Connection, topic: str) -> JournalRow | None:
    journal = sqlite_append.find(db, topic)
    if journal is None:
        return None
    first, published = journal.first()
    return JournalRow(
        topic,
        journal.id,
        first,
        journal.last,
        journal.messages,
        journal.bytes,
        None if published is None else max(0.0, time.time() - published / 1000),
    )
