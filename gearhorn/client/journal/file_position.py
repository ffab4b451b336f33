# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Positions in the files of a directory, and the interface for those kept elsewhere."""

import logging
import os
import threading
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from gearhorn import errors
from gearhorn.client import forks

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LOG = logging.getLogger(__name__)

SYNC_S = 1.0
"""Seconds between two syncs: what a power cut can take back."""
_LOCK = "lock"
_SYNCED = ".synced"
_HEAD = b"gearhorn position "


class Position(Protocol):
    """A place in which a subscriber keeps how far it has come.

    The subscriber calls both methods in a thread of its own, one call at a time. What
    they raise ends it. A position serves one process at a time.
    """

    def read(self, topic: str, client_id: str) -> bytes | None:
        """Return what was written last, or ``None`` if nothing ever was."""

    def write(self, topic: str, client_id: str, data: bytes) -> None:
        """Keep ``data``, whole or not at all, in place of what was written before."""


class FilePosition:
    """A place for positions: a directory, with a file for each topic and client_id.

    A file is replaced for each message, and synced to the disk once a second. So the death
    of the process takes nothing back, and a power cut a second's worth. The directory is
    locked from the first use until :meth:`close`, or the end of the process: a second
    process that uses it is refused. It is made if it is not there.

    :param directory: the directory, on a disk of this machine.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)
        self._lock = threading.Lock()
        self._locked: int | None = None
        self._unsynced: dict[Path, bytes] = {}
        self._syncer: threading.Thread | None = None
        self._ended = threading.Event()
        self._fault: OSError | None = None
        forks.tell(self)

    def _forked(self) -> None:
        """Leave the lock to the parent: only a descriptor of one's own can be refused it."""
        self._lock = threading.Lock()
        self._unsynced = {}
        self._syncer = None
        if self._locked is not None:
            os.close(self._locked)
            self._locked = None

    def __repr__(self) -> str:
        return f"FilePosition({str(self._directory)!r})"

    def __enter__(self) -> "FilePosition":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Sync what was written, and let another process have the directory."""
        with self._lock:
            syncer, self._syncer = self._syncer, None
        if syncer is not None:
            self._ended.set()
            syncer.join()
            self._ended.clear()
        with self._lock:
            if self._locked is not None:
                os.close(self._locked)
                self._locked = None

    def read(self, topic: str, client_id: str) -> bytes | None:
        """Return what was written last for a topic and a client_id.

        :returns: ``None`` if nothing ever was.
        :raises PositionInUse: another process uses the directory.
        :raises PositionUnreadable: the file is there and cannot be read.
        :raises ConfigurationError: this system has no ``flock``.
        """
        with self._lock:
            self._take()
            path = self._path(topic, client_id)
            found = [_read(each) for each in (path, _synced(path))]
        for data in found:
            if data is not None and (whole := _whole(data)) is not None:
                return whole
        if any(data is not None for data in found):
            raise errors.PositionUnreadable(
                f"the position of {client_id} for {topic} in {path} is damaged: restore the file, "
                "or remove it and the one with .synced to begin anew"
            )
        return None

    def write(self, topic: str, client_id: str, data: bytes) -> None:
        """Write a position.

        :raises PositionInUse: another process uses the directory.
        :raises OSError: it cannot be written.
        """
        with self._lock:
            self._take()
            if self._fault is not None:
                raise self._fault
            path = self._path(topic, client_id)
            written = _HEAD + _digest(data) + b"\n" + data
            _replace(path, written)
            self._unsynced[path] = written
            if self._syncer is None:
                self._syncer = threading.Thread(
                    target=self._sync_often, name="gearhorn positions", daemon=True
                )
                self._syncer.start()

    def _path(self, topic: str, client_id: str) -> Path:
        # Names may hold what a file's may not, and differ in case alone.
        digest = blake2b(digest_size=16)
        for name in (topic, client_id):
            data = name.encode()
            digest.update(b"%d:%s" % (len(data), data))
        return self._directory / digest.hexdigest()

    def _take(self) -> None:
        if self._locked is not None:
            return
        if fcntl is None:
            raise errors.ConfigurationError(
                "FilePosition needs flock, which this system lacks: bring a position of your own"
            )
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            locked = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise errors.PositionUnreadable(f"{self._directory}: {error.strerror}") from error
        try:
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(locked)
            raise errors.PositionInUse(
                f"another process uses the positions in {self._directory}: end it, or give this "
                "one another directory and client_id"
            ) from None
        self._locked = locked

    def _sync_often(self) -> None:
        while True:
            is_last = self._ended.wait(SYNC_S)
            with self._lock:
                unsynced, self._unsynced = self._unsynced, {}
            try:
                self._sync(unsynced)
            except OSError as error:
                LOG.error("positions in %s cannot be synced: %s", self._directory, error)
                self._fault = error
                return
            if is_last:
                return

    def _sync(self, unsynced: dict[Path, bytes]) -> None:
        """Write a second file, of which a power cut leaves the old or the new one whole."""
        for path, written in unsynced.items():
            _replace(_synced(path), written, sync=True)
        if unsynced:
            folder = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _synced(path: Path) -> Path:
    return path.with_name(path.name + _SYNCED)


def _replace(path: Path, written: bytes, *, sync: bool = False) -> None:
    new = path.with_name(path.name + ".new")
    opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(opened, "wb", buffering=0, closefd=False) as file:
            if file.write(written) != len(written):
                raise OSError(f"{new} was not written whole")
        if sync:
            os.fsync(opened)
    finally:
        os.close(opened)
    os.replace(new, path)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.PositionUnreadable(f"{path}: {error.strerror}") from error


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).hexdigest().encode()


def _whole(written: bytes) -> bytes | None:
    """Return what a file was made of, or ``None`` if it is not whole."""
    head, _, data = written.partition(b"\n")
    return data if head == _HEAD + _digest(data) else None
