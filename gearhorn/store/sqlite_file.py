# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The file of an SQLite store: opening it, transactions in it, its errors.

Everything here blocks, and belongs to one thread.
"""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar
from urllib.parse import quote

from gearhorn import errors
from gearhorn.store.identity import Opened, Terms, check_layout, new_identity, tag_of, unusable
from gearhorn.store.sqlite_tables import APPLICATION_ID, LATER, MAKE, SCHEMA, SCHEMA_VERSION

# What can heal by itself, or under the hands of an operator, is waited for. SQLite's
# errors are known by text, since Python has their codes only from 3.11 on.
_VAGUE = ("readonly", "unable to open", "disk I/O error")
"""What SQLite says of a disk that is read-only or full, and of missing permissions."""
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
        self.restarted = False
        """True if the store was accepted in another's place, or is in another file than before,
        such as an older copy, and nobody vouched for it yet."""

    def open(self, known: Collection[str], terms: Terms) -> Opened:
        """Open the file, or make it, and take its identity: see :meth:`Store.open`."""
        self.close()
        with self._faults():
            if terms <= Terms.TAKE and self._is_missing():
                raise errors.StoreReplaced(f"{self._path}: {unusable('', known)}")
            self._create()
            return self._connect(known, terms)

    @property
    def identity(self) -> str:
        return self._identity

    def add_tables(self) -> None:
        """Add the tables that a file of an older release lacks."""

        self.change(_add_tables)

    def vouch(self, db: sqlite3.Connection) -> None:
        """Note that no list is in use that was read from another store or file."""
        db.execute("DELETE FROM notes WHERE kind IN ('restarted', 'file')")
        db.execute("INSERT INTO notes VALUES ('file', ?)", (_named(self._inode),))

    def set_timeout(self, timeout: float) -> None:
        """Wait so many seconds for another process's change from now on."""
        self._timeout = timeout
        if self._db is not None:
            self._db.execute(f"PRAGMA busy_timeout = {round(timeout * 1000)}")

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
                # A release that converts it keeps the identity.
                self._check_version(db)
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

    def _connect(self, known: Collection[str], terms: Terms) -> Opened:
        """Connect to the file, and give it tables and an identity if it has none."""
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
            opened = self._prepare(db, known, terms, inode)
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        if terms is Terms.LOOK:
            db.close()
        else:
            self._db, self._inode, self._identity = db, inode, opened.identity
        return opened

    def _prepare(
        self,
        db: sqlite3.Connection,
        known: Collection[str],
        terms: Terms,
        inode: tuple[int, int] | None,
    ) -> Opened:
        """Make the tables if the file is empty, and take its identity or give it one."""
        (application_id,) = db.execute("PRAGMA application_id").fetchone()
        if application_id == 0 and _is_empty(db):
            if terms <= Terms.TAKE:
                raise errors.StoreReplaced(f"{self._path}: {unusable('', known)}")
            for statement in SCHEMA:
                db.execute(statement)
        elif application_id != APPLICATION_ID:
            raise errors.StoreMisconfigured(f"{self._path} is the database of another program")
        self._check_version(db)
        _add_tables(db)
        identity = _identity(db)
        check_layout(identity)
        made = not identity
        if made:
            usable = terms > Terms.TAKE
        else:
            tags = {tag_of(identity), *_noted(db, "follows")}
            usable = terms is Terms.ACCEPT or not known or not tags.isdisjoint(known)
        if not usable:
            raise errors.StoreReplaced(f"{self._path}: {unusable(identity, known)}")
        if made:
            identity = new_identity()
            db.execute(MAKE, (identity,))
            db.execute("DELETE FROM notes")
            db.execute("INSERT INTO notes VALUES ('file', ?)", (_named(inode),))
        if terms is Terms.ACCEPT or (made and known):
            notes = [("follows", tag) for tag in known if tag != tag_of(identity)]
            db.executemany(
                "INSERT OR REPLACE INTO notes VALUES (?, ?)", [("restarted", ""), *notes]
            )
        self.restarted = bool(_noted(db, "restarted")) or _named(inode) not in _noted(db, "file")
        return Opened(identity, made, _noted(db, "follows"))

    def _check_version(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != SCHEMA_VERSION:
            raise errors.StoreMisconfigured(
                f"{self._path} has version {version}, and this release of gearhorn knows "
                f"{SCHEMA_VERSION}: use the release that made or converted it"
            )

    def _is_missing(self) -> bool:
        """Return true if there is no file, or nothing in it."""
        try:
            return os.stat(self._path).st_size == 0
        except (FileNotFoundError, NotADirectoryError):
            return True

    def _inode_now(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino

    def _replaced(self) -> errors.StoreReplaced:
        return errors.StoreReplaced(f"{self._path} is gone, or is another store than it was")

    def _kind(self, text: str) -> type[errors.StoreError]:
        if "locked" in text:
            return errors.StoreAway
        if "full" in text:
            return errors.StoreFull
        if not any(part in text for part in _VAGUE):
            return errors.StoreMisconfigured
        directory = os.path.dirname(self._path)
        try:
            disk = os.statvfs(directory)
        except OSError as error:
            return _KINDS_BY_NUMBER.get(error.errno or 0, errors.StoreMisconfigured)
        if disk.f_flag & os.ST_RDONLY or not disk.f_bavail:
            return errors.StoreFull
        if "I/O" in text:
            return errors.StoreAway
        is_allowed = all(os.access(path, os.W_OK) for path in (self._path, directory))
        if "readonly" in text and is_allowed:
            return errors.StoreFull
        return errors.StoreMisconfigured

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


def _noted(db: sqlite3.Connection, kind: str) -> frozenset[str]:
    rows = db.execute("SELECT text FROM notes WHERE kind = ?", (kind,))
    return frozenset(text for (text,) in rows)


def _named(inode: tuple[int, int] | None) -> str:
    return "{}:{}".format(*inode or ("", ""))


def _add_tables(db: sqlite3.Connection) -> None:
    for statement in LATER:
        db.execute(statement)


def _identity(db: sqlite3.Connection) -> str:
    row = db.execute("SELECT identity FROM store").fetchone()
    return str(row[0]) if row else ""
