# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""An append to a journal in SQLite, and what ends there: the work inside a transaction.

Times are milliseconds of the machine's clock.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

from gearhorn.store.journal import (
    MOST_IDS,
    MOST_WORKERS,
    UNUSED_AFTER,
    Append,
    Appended,
    Entry,
    First,
    Head,
    JournalLimits,
    Mark,
    Placed,
    Refused,
)
from gearhorn.store.journal_numbers import milliseconds

_FIELDS = "journal, topic, id, last, trimmed, jump, messages, bytes, appended_at, max_age"

_PARTS = ("journal_messages", "journal_appends", "journal_ids")


class Journal:
    """A head, as it is changed by the work on it, and written by :meth:`save`."""

    def __init__(self, db: sqlite3.Connection, row: tuple[Any, ...]) -> None:
        self._db = db
        self.number, self.topic, self.id = row[:3]
        self.last, self.trimmed, self.jump, self.messages, self.bytes = row[3:8]
        self.appended_at, self.max_age = row[8:]

    def save(self) -> None:
        self._db.execute(
            f"INSERT OR REPLACE INTO journals ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # nosec B608
            (
                self.number,
                self.topic,
                self.id,
                self.last,
                self.trimmed,
                self.jump,
                self.messages,
                self.bytes,
                self.appended_at,
                self.max_age,
            ),
        )

    def first(self) -> tuple[int, int | None]:
        """Return the sequence of the oldest message, or of the next one, and its time."""
        found: tuple[int, int] | None = self._db.execute(
            "SELECT sequence, published FROM journal_messages WHERE journal = ?"
            " ORDER BY sequence LIMIT 1",
            (self.number,),
        ).fetchone()
        return found or (self.last + 1, None)

    def payloads(self, sequence: int, messages: int) -> list[bytes | None]:
        """Return the payloads from a sequence on, ``None`` for those that are gone."""
        rows = self._db.execute(
            "SELECT sequence, payload FROM journal_messages"
            " WHERE journal = ? AND sequence >= ? AND sequence < ?",
            (self.number, sequence, sequence + messages),
        )
        found = dict(rows.fetchall())
        return [found.get(sequence + i) for i in range(messages)]

    def trim(self, max_messages: float, max_bytes: float, oldest: float) -> bool:
        """End the oldest messages: those too many, too large or older than a time.

        Return true if there were any.
        """
        rows = self._db.execute(
            "SELECT sequence, length(payload), published FROM journal_messages"
            " WHERE journal = ? ORDER BY sequence",
            (self.number,),
        )
        before = self.trimmed
        for sequence, size, published in rows:
            is_large = self.bytes > max_bytes and self.messages > 1
            if self.messages <= max_messages and not is_large and published >= oldest:
                break
            self.trimmed = sequence
            self.messages -= 1
            self.bytes -= size
        rows.close()
        is_trimmed: bool = self.trimmed > before
        if is_trimmed:
            self._db.execute(
                "DELETE FROM journal_messages WHERE journal = ? AND sequence <= ?",
                (self.number, self.trimmed),
            )
        return is_trimmed

    def forget_ids(self, before: int) -> None:
        """Forget the ids that were last used before a time."""
        self._db.execute(
            "DELETE FROM journal_ids WHERE journal = ? AND used_at < ?", (self.number, before)
        )

    def keep_newest_ids(self) -> None:
        """Forget the oldest ids beyond a number: it takes a while where there are many."""
        self._db.execute(
            "DELETE FROM journal_ids WHERE journal = ? AND used_at < (SELECT used_at"
            " FROM journal_ids WHERE journal = ? ORDER BY used_at DESC LIMIT 1 OFFSET ?)",
            (self.number, self.number, MOST_IDS - 1),
        )

    def keep_newest_appends(self) -> None:
        """Forget the oldest last appends of daemons beyond a number."""
        self._db.execute(
            "DELETE FROM journal_appends WHERE journal = ? AND worker_id IN ("
            " SELECT worker_id FROM journal_appends WHERE journal = ?"
            " ORDER BY at DESC, worker_id LIMIT -1 OFFSET ?)",
            (self.number, self.number, MOST_WORKERS),
        )

    def delete(self) -> None:
        self._db.execute("DELETE FROM journals WHERE journal = ?", (self.number,))
        for table in _PARTS:
            self._db.execute(f"DELETE FROM {table} WHERE journal = ?", (self.number,))  # nosec B608


def find(db: sqlite3.Connection, topic: str) -> Journal | None:
    row = db.execute(
        f"SELECT {_FIELDS} FROM journals WHERE topic = ?",  # nosec B608
        (topic,),
    ).fetchone()
    return Journal(db, row) if row else None


def upkeep(
    db: sqlite3.Connection, topic: str, limits: JournalLimits | None, id_window: float
) -> None:
    """End what is too old, and the journal if nothing was appended for long."""
    journal = find(db, topic)
    if journal is None:
        return
    now = time.time_ns() // 1_000_000
    max_age = journal.max_age if limits is None else milliseconds(limits.max_age)
    if max_age and now - journal.appended_at >= UNUSED_AFTER * max_age:
        journal.delete()
        return
    # Most often there is nothing to end, and the file is not written.
    if max_age and journal.trim(float("inf"), float("inf"), now - max_age):
        journal.save()
    journal.forget_ids(now - milliseconds(id_window))
    journal.keep_newest_ids()


class Appending:
    """The appends of one turn, in one transaction."""

    def __init__(
        self, db: sqlite3.Connection, worker_id: str, *, max_topics: int, id_window: float
    ) -> None:
        self._db = db
        self._worker_id = worker_id
        self._max_topics = max_topics
        self._micros = time.time_ns() // 1000
        self._now = self._micros // 1000
        self._used_since = self._now - milliseconds(id_window)

    def append(self, given: Append, told: Head | None) -> Appended | Refused:
        """Append to one topic.

        :param told: what this daemon was told last of its journal.
        """
        journal = find(self._db, given.topic)
        if journal is not None:
            for mark in given.marks:
                self._mark(journal, mark)
        if not given.entries:
            return Appended(journal.id if journal else None, [])
        done = self._done(journal) if journal is not None else None
        if journal is not None and done is not None:
            number, first, repeats = done
            if given.number < number:
                return Refused.LATE
            if given.number == number:
                return self._answer(journal, given, first, json.loads(repeats))
        if journal is None:
            (count,) = self._db.execute("SELECT count(*) FROM journals").fetchone()
            if count >= self._max_topics:
                return Refused.TOO_MANY_JOURNALS
            journal = self._begin(given.topic)
        told_last = told.sequence if told and told.journal == journal.id else 0
        if told_last > journal.last:
            self._jump(journal, told_last)
        return self._write(journal, given, is_first=done is None)

    def _begin(self, topic: str) -> Journal:
        (number,) = self._db.execute("SELECT ifnull(max(journal), 0) + 1 FROM journals").fetchone()
        journal = Journal(self._db, (number, topic, f"{self._micros:x}", *[0] * 7))
        # Should somebody have deleted the head by hand.
        journal.delete()
        return journal

    def _jump(self, journal: Journal, told_last: int) -> None:
        """Go on where no sequence can have been given: the file went back."""
        if self._micros > told_last:
            journal.last = self._micros - 1
        else:
            journal.id = f"{max(self._micros, int(journal.id, 16) + 1):x}"
            self._db.execute("DELETE FROM journal_ids WHERE journal = ?", (journal.number,))
        journal.jump = journal.last + 1

    def _write(self, journal: Journal, given: Append, *, is_first: bool) -> Appended:
        """Write the messages, and what was done.

        :param is_first: nothing that this daemon appended to the journal is known.
        """
        first = journal.last + 1
        published = max(journal.appended_at, self._now)
        repeats: dict[str, int] = {}
        for index, entry in enumerate(given.entries):
            known = self._record(journal, entry.id) if entry.id else None
            if known is not None:
                repeats[str(index)] = known[0]
                self._db.execute(
                    "UPDATE journal_ids SET used_at = ? WHERE journal = ? AND id = ?",
                    (self._now, journal.number, entry.id),
                )
            else:
                self._add(journal, entry, published)
        if journal.last >= first:
            journal.appended_at = published
        journal.max_age = milliseconds(given.limits.max_age)
        if journal.messages > given.limits.max_messages or journal.bytes > given.limits.max_bytes:
            journal.trim(given.limits.max_messages, given.limits.max_bytes, float("-inf"))
        journal.forget_ids(self._used_since)
        journal.save()
        self._db.execute(
            "INSERT OR REPLACE INTO journal_appends VALUES (?, ?, ?, ?, ?, ?)",
            (journal.number, self._worker_id, given.number, self._now, first, json.dumps(repeats)),
        )
        if is_first:
            journal.keep_newest_appends()
        return self._answer(journal, given, first, repeats)

    def _add(self, journal: Journal, entry: Entry, published: int) -> None:
        sequence = journal.last + 1
        for payload in entry.payloads:
            journal.last += 1
            journal.messages += 1
            journal.bytes += len(payload)
            self._db.execute(
                "INSERT INTO journal_messages VALUES (?, ?, ?, ?, ?)",
                (journal.number, journal.last, published, entry.groups, payload),
            )
        if entry.id:
            self._db.execute(
                "INSERT OR REPLACE INTO journal_ids VALUES (?, ?, ?, ?, ?, ?, '')",
                (
                    journal.number,
                    entry.id,
                    self._now,
                    sequence,
                    len(entry.payloads),
                    entry.groups,
                ),
            )

    def _mark(self, journal: Journal, mark: Mark) -> None:
        if mark.journal == journal.id:
            self._db.execute(
                "UPDATE journal_ids SET counts = ? WHERE journal = ? AND id = ? AND sequence = ?",
                (mark.counts, journal.number, mark.id, mark.sequence),
            )

    def _done(self, journal: Journal) -> tuple[int, int, str] | None:
        """Return the last append of this daemon: number, first sequence, and duplicates."""
        found: tuple[int, int, str] | None = self._db.execute(
            "SELECT number, first, repeats FROM journal_appends"
            " WHERE journal = ? AND worker_id = ?",
            (journal.number, self._worker_id),
        ).fetchone()
        return found

    def _record(self, journal: Journal, name: str) -> tuple[int, int, int, str] | None:
        """Return the record of an id: sequence, messages, groups and counts."""
        found: tuple[int, int, int, str] | None = self._db.execute(
            "SELECT sequence, messages, groups, counts FROM journal_ids"
            " WHERE journal = ? AND id = ? AND used_at >= ?",
            (journal.number, name, self._used_since),
        ).fetchone()
        return found

    def _answer(
        self, journal: Journal, given: Append, first: int, repeats: dict[str, int]
    ) -> Appended:
        return Appended(journal.id, [*self._placed(journal, given, first, repeats)])

    def _placed(
        self, journal: Journal, given: Append, first: int, repeats: dict[str, int]
    ) -> Iterator[Placed]:
        for index, entry in enumerate(given.entries):
            sequence = repeats.get(str(index))
            if sequence is None:
                yield Placed(first)
                first += len(entry.payloads)
                continue
            # It may have been forgotten before a repeat.
            default = (sequence, len(entry.payloads), entry.groups, "")
            _, messages, groups, counts = self._record(journal, entry.id) or default
            needed = not (counts and entry.background)
            payloads = journal.payloads(sequence, messages) if needed else []
            yield Placed(sequence, First(messages, groups, counts, payloads))
