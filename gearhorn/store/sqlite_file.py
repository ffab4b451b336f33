# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The file of an SQLite store: opening it, transactions in it, its errors.

Everything here blocks, and belongs to one thread.
"""

import contextlib
import errno
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import quote

from gearhorn import errors

_APPLICATION_ID = 0x67686F72  # "ghor", in the header of the file
_SCHEMA_VERSION = 1
# In a file of an older release these are made at once. Those releases do not mind them.
_LATER = (
    """CREATE TABLE IF NOT EXISTS settings (
        worker_id TEXT PRIMARY KEY,
        text TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS told (
        worker_id TEXT PRIMARY KEY,
        number INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS secrets (
        worker_id TEXT PRIMARY KEY,
        text TEXT NOT NULL
    ) WITHOUT ROWID""",
)
_SCHEMA = (
    "CREATE TABLE store (identity TEXT NOT NULL, counter INTEGER NOT NULL)",
    # The row is also the claim on the queue name.
    """CREATE TABLE subscribers (
        topic TEXT NOT NULL,
        client_id TEXT NOT NULL,
        queue TEXT NOT NULL UNIQUE,
        expires_at REAL,
        PRIMARY KEY (topic, client_id)
    ) WITHOUT ROWID""",
    """CREATE INDEX expiry ON subscribers (expires_at)
        WHERE expires_at IS NOT NULL""",
    """CREATE TABLE unconfirmed (
        topic TEXT PRIMARY KEY,
        version INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE daemons (
        worker_id TEXT PRIMARY KEY,
        renewal INTEGER NOT NULL,
        seen_at REAL NOT NULL
    ) WITHOUT ROWID""",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)

# What can heal by itself, or under the hands of an operator, is waited for. SQLite's
# errors are known by text, since Python has their codes only from 3.11 on.
_KINDS_BY_TEXT = {
    "locked": errors.StoreAway,
    "disk I/O error": errors.StoreAway,
    "disk is full": errors.StoreFull,
    "readonly": errors.StoreFull,
}
_KINDS_BY_NUMBER = {
    **dict.fromkeys((errno.EROFS, errno.ENOSPC, errno.EDQUOT), errors.StoreFull),
    **dict.fromkeys(
        (
            errno.EIO,
            errno.ESTALE,
            errno.ETIMEDOUT,
            errno.ENOTCONN,
            errno.ENODEV,
            errno.ENXIO,
            errno.EMFILE,
            errno.ENFILE,
            errno.ENOMEM,
            errno.EAGAIN,
            errno.EINTR,
        ),
        errors.StoreAway,
    ),
}

_T = TypeVar("_T")
Work = Callable[[sqlite3.Connection], _T]


class SQLiteFile:
    """An open database, known by its identity.

    :param timeout: seconds to wait for another process's change.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._db: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._identity = ""

    def open(self) -> None:
        """Open the file, or make it, and take its identity."""
        self.close()
        with self._faults():
            self._create()
            self._connect()

    @property
    def identity(self) -> str:
        return self._identity

    def add_tables(self) -> None:
        """Add the tables that a file of an older release lacks."""

        def work(db: sqlite3.Connection) -> None:
            for statement in _LATER:
                db.execute(statement)

        self.change(work)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def read(self, work: "Work[_T]") -> _T:
        """Return what ``work`` finds, all from one moment."""
        return self._transaction("BEGIN", work)

    def change(self, work: "Work[_T]") -> _T:
        """Do ``work`` in one step, and return its result once it is on the disk."""
        return self._transaction("BEGIN IMMEDIATE", work)

    def _transaction(self, begin: str, work: "Work[_T]") -> _T:
        with self._faults():
            db = self._connection()
            db.execute(begin)
            try:
                if _identity(db) != self._identity:
                    raise self._replaced()
                result = work(db)
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            # The file may be gone by now, and the change with it.
            if self._inode_now() != self._inode:
                raise self._replaced()
            return result

    def _connection(self) -> sqlite3.Connection:
        """Return the connection, if its file is still the one at the path.

        A new file is not opened here: SQLite would apply what is left of the old
        file's write-ahead log to it.
        """
        if self._db is None or self._inode_now() != self._inode:
            raise self._replaced()
        return self._db

    def _create(self) -> None:
        """Make the directory and the file if they are missing.

        SQLite would make a file that all can read. An existing file is not opened
        here: closing it would drop the locks that SQLite has on it.
        """
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            pass

    def _connect(self) -> None:
        """Connect to the file, and give it tables if it has none."""
        inode = self._inode_now()
        db = sqlite3.connect(
            f"file:{quote(self._path)}?mode=rw",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
        )
        try:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            identity = self._prepare(db)
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        self._db, self._inode, self._identity = db, inode, identity

    def _prepare(self, db: sqlite3.Connection) -> str:
        """Make the tables if the file is empty, and return its identity."""
        (application_id,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application_id == 0 and _is_empty(db):
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute("INSERT INTO store VALUES (?, 0)", (secrets.token_hex(16),))
        elif (application_id, version) != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise errors.StoreMisconfigured(
                f"{self._path} is the database of another program, or of "
                "another release of gearhorn"
            )
        for statement in _LATER:
            db.execute(statement)
        return _identity(db)

    def _inode_now(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino

    def _replaced(self) -> errors.StoreReplaced:
        return errors.StoreReplaced(f"{self._path} is gone, or is another store than it was")

    def _kind(self, text: str) -> type[errors.StoreError]:
        for part, kind in _KINDS_BY_TEXT.items():
            if part in text:
                return kind
        # SQLite does not say why it is "unable to open database file".
        try:
            is_read_only = os.statvfs(os.path.dirname(self._path)).f_flag & os.ST_RDONLY
        except OSError as error:
            return _KINDS_BY_NUMBER.get(error.errno or 0, errors.StoreMisconfigured)
        return errors.StoreFull if is_read_only else errors.StoreMisconfigured

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Translate errors."""
        try:
            yield
        except sqlite3.Error as error:
            # SQLite reports a file that is gone as read-only.
            if self._inode is not None and self._inode_now() != self._inode:
                raise self._replaced() from error
            raise self._kind(str(error))(f"{self._path}: {error}") from error
        except OSError as error:
            kind = _KINDS_BY_NUMBER.get(error.errno or 0, errors.StoreMisconfigured)
            raise kind(f"{self._path}: {error.strerror}") from error


def _is_empty(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def _identity(db: sqlite3.Connection) -> str:
    row = db.execute("SELECT identity FROM store").fetchone()
    return str(row[0]) if row else ""
