# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Child processes: started, watched, signalled, and ended with whoever started them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar, TypeVar

import async_timeout

from gearhorn.tests.closing import Closing
from gearhorn.tests.forkserver import Forked

START_TIMEOUT_S = 20.0

Result = TypeVar("Result")
SomeProcess = TypeVar("SomeProcess", bound="Process")


# Below those that the system gives to outgoing connections, which could else take the port of a
# server that has not started yet.
_BLOCKS = range(20_000, 32_400, 400)


@functools.cache
def _ports() -> tuple[socket.socket, Iterator[int]]:
    """The ports of this process, in any order for ever, and what keeps them its own.

    Tests run in several processes at a time. One of them could else start a server on a port that
    another has given already, or to which nobody is to answer there. Each has a block of ports,
    which is its own for as long as it listens on the first.
    """
    for first in random.sample(_BLOCKS, len(_BLOCKS)):
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", first))
            holder.listen()
        except OSError:
            holder.close()
        else:
            others = range(first + 1, first + _BLOCKS.step)
            return holder, itertools.cycle(random.sample(others, len(others)))
    raise AssertionError("all blocks of ports are taken")


def free_port() -> int:
    """A loopback port that nobody listens on, of those that no other process of tests gives."""
    _, ports = _ports()
    while True:
        port = next(ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def eventually(
    condition: Callable[[], Result], timeout_s: float = 20.0, *, interval_s: float = 0.01
) -> Result:
    """Ask until the answer is true and return it; for what sends no event one could wait for."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s; the last answer was {result!r}")
        time.sleep(interval_s)
    return result


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """The same in an event loop, which runs meanwhile."""
    async with async_timeout.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class MissingProgramError(Exception):
    """A server that the tests need is not installed."""


class Process(Closing):
    """A child process in a session and a directory of its own."""

    program: ClassVar[str]
    package: ClassVar[str]

    def __init__(self) -> None:
        # Not in pytest's directory for the test, whose name can be too long for Unix sockets.
        self.directory = Path(tempfile.mkdtemp(prefix="gearhorn-"))
        self._log_path = self.directory / "log"
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def __enter__(self: SomeProcess) -> SomeProcess:
        if self._process is None:
            self.start()
        return super().__enter__()

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        """One exchange in the server's protocol; OSError means not yet."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    @classmethod
    def find_program(cls) -> str:
        # Debian keeps gearmand where only root's PATH looks.
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
        program = shutil.which(cls.program, path=path)
        if program is None:
            raise MissingProgramError(
                f"{cls.program} is missing: install the Debian package {cls.package}"
            )
        return program

    @property
    def log(self) -> str:
        """All that the process has written, of earlier starts as well."""
        if not self._log_path.exists():
            return ""
        return self._log_path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._running().poll()

    def _running(self) -> subprocess.Popen[bytes] | Forked:
        assert self._process is not None, f"{self.program} was not started"
        return self._process

    def start(self) -> None:
        """Start it, and return when it is ready."""
        self._launch()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._try_ready():
            self._check_starting(deadline)
            time.sleep(0.01)

    def _launch(self) -> None:
        with self._log_path.open("ab") as log:
            self._process = self._execute(log)

    def _execute(self, log: IO[bytes]) -> subprocess.Popen[bytes] | Forked:
        return subprocess.Popen(
            self.command(),
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _try_ready(self) -> bool:
        try:
            return self.is_ready()
        except OSError:
            return False

    def _check_starting(self, deadline: float) -> None:
        code = self._running().poll()
        if code is not None:
            raise AssertionError(f"{self.program} ended with {code}:\n{self.log}")
        if time.monotonic() > deadline:
            raise AssertionError(f"{self.program} did not become ready:\n{self.log}")

    def signal(self, number: int) -> None:
        self._running().send_signal(number)

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        self.signal(signal.SIGTERM)

    def wait(self, timeout_s: float = 20.0) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self._running().wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.program} did not end within {timeout_s} s") from None

    def stop(self, timeout_s: float = 20.0) -> int:
        """Ask it to end, wait, and return the exit code."""
        self.terminate()
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """Freeze it; return when it stands still."""
        self.signal(signal.SIGSTOP)
        eventually(lambda: _state(self.pid) == "T", interval_s=0.001)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again where it was, ending it first if it still runs."""
        if self.exit_code is None:
            self.stop()
        self.start()

    def close(self) -> None:
        """End it and the children it may have, and remove its directory."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait()
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)


def status_of(pid: int) -> dict[str, str]:
    """Return the kernel's account of a process, by the names in proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _state(pid: int) -> str:
    """The state of a process, as ps(1) shows it."""
    # The name of the program before it is in brackets, and may hold some.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Server(Process):
    """A process that listens on a loopback port, the same one after each start."""

    host = "127.0.0.1"

    def __init__(self, port: int | None = None) -> None:
        super().__init__()
        self.port = free_port() if port is None else port

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"
