# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The counter of an SQLite store, and what each daemon was told of it."""

import sqlite3
from collections.abc import Iterable

from gearhorn.store.changes import Change
from gearhorn.store.numbers import NONCES, Told, WentBack, new_nonce


class Counter:
    """The counter, for the work of one daemon in a transaction.

    :param worker_id: ``""`` for a caller that is no daemon.
    """

    def __init__(self, worker_id: str) -> None:
        self._worker_id = worker_id

    def check(self, db: sqlite3.Connection, told: Told) -> None:
        """Raise WentBack if the file is older than what this daemon was told."""
        (counter,) = db.execute("SELECT counter FROM store").fetchone()
        if self.own(db) < told.own or counter < told.least:
            raise WentBack("the file went back to an older state")

    def own(self, db: sqlite3.Connection) -> int:
        """Return the last number that this daemon was told."""
        try:
            row = db.execute(
                "SELECT number FROM told WHERE worker_id = ?", (self._worker_id,)
            ).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            raise WentBack("the file went back to that of an older release") from error
        return int(row[0]) if row else 0

    def next_number(self, db: sqlite3.Connection) -> int:
        """Return the number of a change or a renewal."""
        db.execute("UPDATE store SET counter = counter + 1")
        (number,) = db.execute("SELECT counter FROM store").fetchone()
        if self._worker_id:
            db.execute("INSERT OR REPLACE INTO told VALUES (?, ?)", (self._worker_id, number))
        return int(number)

    def give_version(self, db: sqlite3.Connection, topic: str) -> int:
        """Note a change of a topic that nobody has confirmed, and return its number."""
        number = self.next_number(db)
        db.execute(
            "INSERT OR REPLACE INTO unconfirmed VALUES (?, ?)",
            (topic, number * NONCES + new_nonce()),
        )
        return number


def unconfirmed_of(db: sqlite3.Connection, topics: Iterable[str]) -> list[Change]:
    """Return the changes of some topics that nobody has confirmed."""
    found = []
    for topic in topics:
        row = db.execute(
            "SELECT topic, version FROM unconfirmed WHERE topic = ?", (topic,)
        ).fetchone()
        if row is not None:
            found.append(Change(*row))
    return found
