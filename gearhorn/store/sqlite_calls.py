# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""One call of an SQLite store: a transaction, in a thread, in a file that has not gone back."""

import functools
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from gearhorn import errors
from gearhorn.store.base import Store
from gearhorn.store.numbers import Told, WentBack
from gearhorn.store.sqlite_counter import Counter
from gearhorn.store.sqlite_file import SQLiteFile, Work
from gearhorn.store.sqlite_thread import OneThread

_T = TypeVar("_T")


class SQLiteCalls(Store):
    """The calls of a :class:`~gearhorn.store.sqlite.SQLiteStore`, and its thread.

    :param url: ``sqlite://`` and the absolute path of the file.
    :param matchmaking_topic: the topic to which the daemons subscribe.
    :param timeout: seconds to wait for another process's change.
    :param worker_id: the daemon that calls; ``""`` if none does.
    """

    def __init__(
        self, url: str, *, matchmaking_topic: str, timeout: float, worker_id: str = ""
    ) -> None:
        super().__init__(worker_id)
        self._worker_id = worker_id
        self._counter = Counter(worker_id)
        self._file = SQLiteFile(path_of(url), timeout)
        self._matchmaking = matchmaking_topic
        self._thread = OneThread("sqlite")

    def set_timeout(self, timeout: float) -> None:
        self._thread.later(self._file.set_timeout, timeout)

    async def _execute(self, statement: str, values: Sequence[object]) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute(statement, tuple(values))

        await self._change(work)

    async def _change(self, work: "Work[_T]") -> _T:
        return await self._checked(self._file.change, work)

    async def _read(self, work: "Work[_T]") -> _T:
        return await self._checked(self._file.read, work)

    async def _checked(
        self,
        transaction: Callable[[Callable[[sqlite3.Connection], tuple[_T, int]]], tuple[_T, int]],
        work: "Work[_T]",
    ) -> _T:
        """Do work in a file that has not gone back, and note the number that it gives."""
        while True:
            told = self.numbers.now(self._file.identity)

            def checked(db: sqlite3.Connection, told: Told = told) -> tuple[_T, int]:
                self._counter.check(db, told)
                result = work(db)
                return result, self._counter.own(db)

            try:
                result, number = await self._thread.run(functools.partial(transaction, checked))
            except WentBack:
                pass
            else:
                self.numbers.answered(told, number)
                return result
            # Not in the handler: oslo.log would add the exception to what is logged.
            # The file may be that of an older release.
            await self._thread.run(self._file.add_tables)
            await self._go_back(told)


def path_of(url: str) -> str:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc or not path.startswith("/") or path.endswith("/"):
        raise errors.StoreMisconfigured(
            "the URL of an SQLite store is sqlite:// and the absolute path of a file"
        )
    return path
