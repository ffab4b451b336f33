# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Programs on free loopback ports, ended with the block that started them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent

PACKAGES = {
    "gearmand": "gearman-job-server",
    "redis-server": "redis-server",
    "nats-server": "nats-server",
    "rabbitmq-server": "rabbitmq-server",
    "epmd": "erlang-base",
}
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0
# Debian keeps servers in directories that only root's PATH names.
_SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


class ServerError(Exception):
    """A server is not installed, did not start, or died."""


@dataclasses.dataclass(frozen=True)
class ProcessorTime:
    """Seconds of processor time, and those of them in the kernel."""

    whole: float = 0.0
    kernel: float = 0.0

    def __add__(self, other: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(self.whole + other.whole, self.kernel + other.kernel)

    def __sub__(self, other: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(self.whole - other.whole, self.kernel - other.kernel)

    def __truediv__(self, count: float) -> ProcessorTime:
        return ProcessorTime(self.whole / count, self.kernel / count)


class Process:
    """A running program, seen from outside."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: pathlib.Path) -> None:
        self.name = name
        self._popen = popen
        self._log = log

    def freeze(self) -> None:
        self._popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._popen.send_signal(signal.SIGCONT)

    def resident_kib(self) -> int:
        return self._status("VmRSS")

    def peak_kib(self) -> int:
        """Return the most memory that was resident since the start or `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        pathlib.Path(f"/proc/{self._popen.pid}/clear_refs").write_text("5")

    def processor_time(self) -> ProcessorTime:
        return processor_time(self._popen.pid)

    def log(self) -> str:
        """Return the end of the log."""
        return self._log.read_text(errors="replace")[-2000:]

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Wait until `is_ready`, which may take a moment itself, returns true."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not is_ready():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{self._popen.args!r} did not start:\n{self.log()}")
            time.sleep(0.01)

    def wait_for_port(self, port: int) -> None:
        def connects() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            except OSError:
                return False
            return True

        self.wait_until(connects)

    def check(self) -> None:
        """Raise ServerError if the process has ended."""
        if self._popen.poll() is not None:
            raise ServerError(f"{self._popen.args!r} died:\n{self.log()}")

    def _status(self, key: str) -> int:
        status = pathlib.Path(f"/proc/{self._popen.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if key in line)


def processor_time(pid: int) -> ProcessorTime:
    """Return the time that a process has used: to the nanosecond, in the kernel in whole ticks."""
    # The id of the process's clock, as clock_getcpuclockid(3) would give it.
    whole_s = time.clock_gettime((~pid << 3) | 2)
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    kernel_s = int(stat.rpartition(")")[2].split()[12]) / os.sysconf("SC_CLK_TCK")
    return ProcessorTime(whole_s, kernel_s)


_processes: list[Process] = []


def processor_times() -> dict[str, ProcessorTime]:
    """Return the time that all running programs have used so far, by name."""
    used: dict[str, ProcessorTime] = {}
    for process in _processes:
        used[process.name] = used.get(process.name, ProcessorTime()) + process.processor_time()
    return used


def resident_kib(name: str) -> int:
    """Return the memory of all running programs with a name."""
    return sum(process.resident_kib() for process in _processes if process.name == name)


def find(program: str) -> str | None:
    """Return the path of a program; ``GEARHORN_GEARMAND`` names another gearmand."""
    if program == "gearmand" and (named := os.environ.get("GEARHORN_GEARMAND")):
        return shutil.which(os.path.abspath(named))
    return shutil.which(program, path=_SEARCHED)


def installed(program: str) -> str:
    path = find(program)
    if path is None:
        raise ServerError(f"{program} is missing: install the package {PACKAGES[program]}")
    return path


# Below the ports that the system gives to outgoing connections: one of these could take the port
# of a server that has not started yet.
_ports = itertools.cycle(random.sample(range(20_000, 32_768), 12_768))


def free_port() -> int:
    """Return a loopback port that nobody listens on and that was not given before."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def directory() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(
        prefix="gearhorn-benchmark-", ignore_cleanup_errors=True
    ) as name:
        yield pathlib.Path(name)


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: pathlib.Path,
    environment: dict[str, str] | None = None,
    given: bytes | None = None,
    name: str | None = None,
) -> Iterator[Process]:
    """Run a command; `given` is its standard input.

    The process has `name`, or else the name of the program.
    """
    with log.open("wb") as output:
        popen = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    process = Process(name or pathlib.Path(command[0]).name, popen, log)
    _processes.append(process)
    try:
        if popen.stdin is not None:
            popen.stdin.write(given or b"")
            popen.stdin.close()
        yield process
    finally:
        _processes.remove(process)
        popen.terminate()
        try:
            popen.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
