# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The start of a service in the old style: pid file, user, detaching."""

import contextlib
import errno
import fcntl
import grp
import logging
import os
import pwd
import signal
import stat
from collections.abc import Iterator
from typing import NamedTuple

import daemon

from gearhorn import errors
from gearhorn.service.running import pass_over_hangups

_UMASK = 0o027
"""What a process in the background forbids, besides what its umask did."""
# The signals that a terminal sends. By default python-daemon would also take SIGTERM,
# which belongs to the event loop, as SIGHUP does.
_IGNORED_SIGNALS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class PidFileUnusable(errors.GearhornError):
    """The pid file cannot be made, or another process holds it."""

    code = "pidfile_unusable"


class PidFile:
    """The pid file of this process, locked while the process lives.

    A pid file that no process holds is replaced. A symbolic link is never followed:
    otherwise anyone who may write in the directory could have root overwrite any
    file.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._fd = -1

    def take(self) -> None:
        """Make the file and write the process id.

        :raises PidFileUnusable: the file cannot be made, or another process holds it.
        """
        # More than once, as another process may make or remove the file in between.
        for _ in range(10):
            self._remove_stale()
            if self._make():
                self.write()
                return
        raise PidFileUnusable(f"the pid file {self.path} is fought over by several processes")

    def write(self) -> None:
        """Write the process id, which changes with detaching."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def fileno(self) -> int:
        return self._fd

    def release(self) -> None:
        """Remove the file, or empty it if this user may not remove it."""
        try:
            if _is_at(self._fd, self.path):
                os.unlink(self.path)
        except OSError:
            os.ftruncate(self._fd, 0)
        os.close(self._fd)

    def _make(self) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self.path, flags, 0o644)
        except FileExistsError:
            return False
        except OSError as error:
            raise PidFileUnusable(
                f"the pid file {self.path} cannot be made: {error.strerror}"
            ) from None
        # Until the file is locked, another start may take it for a stale one.
        if not _lock(fd) or not _is_at(fd, self.path):
            os.close(fd)
            return False
        # Others are to read it, whatever the umask is.
        os.fchmod(fd, 0o644)
        self._fd = fd
        return True

    def _remove_stale(self) -> None:
        try:
            # O_NONBLOCK, as opening a FIFO would wait for a writer.
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            link = error.errno == errno.ELOOP
            reason = "is a symbolic link" if link else f"cannot be read: {error.strerror}"
            raise PidFileUnusable(f"the pid file {self.path} {reason}") from None
        try:
            content = os.read(fd, 64).strip(_BLANKS) if stat.S_ISREG(os.fstat(fd).st_mode) else b"?"
            if content and not content.isdigit():
                raise PidFileUnusable(f"{self.path} is there already and is no pid file")
            # The lock alone decides: after a crash another program may have the number.
            if not _lock(fd):
                raise PidFileUnusable(
                    f"the pid file {self.path} is held by the running process "
                    f"{content.decode() or 'that has just made it'}"
                )
            if _is_at(fd, self.path):
                os.unlink(self.path)
        except OSError as error:
            raise PidFileUnusable(
                f"the stale pid file {self.path} cannot be removed: {error.strerror}"
            ) from None
        finally:
            os.close(fd)


_BLANKS = b"\0 \t\r\n"
"""A file that a power failure has cut may hold NULs."""


def _lock(fd: int) -> bool:
    # Unlike the locks of fcntl(2), this one outlives the forks of detaching.
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


class Identity(NamedTuple):
    """A user, with the name for the supplementary groups, and a group."""

    uid: int | None
    name: str | None
    gid: int | None


def identity(user: str | None, group: str | None) -> Identity:
    """Return the identity that the options name.

    :raises ConfigurationError: there is no such user or group.
    """
    uid, name, gid = None, None, None
    if user:
        try:
            entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        except (KeyError, OverflowError):
            raise errors.ConfigurationError(f"[service] user: there is no user {user!r}") from None
        uid, name, gid = entry.pw_uid, entry.pw_name, entry.pw_gid
    if group:
        try:
            found = grp.getgrgid(int(group)) if group.isdecimal() else grp.getgrnam(group)
        except (KeyError, OverflowError):
            raise errors.ConfigurationError(
                f"[service] group: there is no group {group!r}"
            ) from None
        gid = found.gr_gid
    return Identity(uid, name, gid)


def become(who: Identity) -> None:
    """Give up root's rights for good, if this process has them."""
    if os.geteuid() != 0 or who.gid is None:
        return
    if who.name is None:
        os.setgroups([who.gid])
    else:
        os.initgroups(who.name, who.gid)
    os.setgid(who.gid)
    if who.uid is not None:
        os.setuid(who.uid)


def restrict_umask() -> int:
    """Keep what this process makes, its log first of all, from users who are not of its group.

    What the umask forbids already stays forbidden.

    :returns: the umask from now on.
    """
    # It can only be read by setting it.
    umask = os.umask(0o777) | _UMASK
    os.umask(umask)
    return umask


def detach(pid_file: PidFile | None) -> None:
    """Go on as a process in the background, without the terminal.

    Call this before any socket is made: all files are closed except those of the log
    and the pid file.
    """
    kept = set(_log_files())
    if pid_file is not None:
        kept.add(pid_file.fileno())
    context = daemon.DaemonContext(
        # Even if init started it, as in a container: detaching was asked for.
        detach_process=True,
        umask=restrict_umask(),
        files_preserve=sorted(kept),
        signal_map=dict.fromkeys(_IGNORED_SIGNALS),
    )
    context.open()
    # Whoever was started under nohup has no terminal any more that could be closed.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Whoever reads the pid file may send it at once.
    pass_over_hangups()
    if pid_file is not None:
        pid_file.write()


def _log_files() -> Iterator[int]:
    """Yield the descriptors that log handlers write to."""
    for logger in (logging.getLogger(), *logging.Logger.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            # A file, or a connection to a log server. Either may not be open yet.
            for name in ("stream", "socket", "sock"):
                output = getattr(handler, name, None)
                if output is not None:
                    with contextlib.suppress(AttributeError, OSError, ValueError):
                        yield output.fileno()
