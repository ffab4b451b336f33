"""Real servers on free loopback ports, ended with the block that started them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from benchmarks.packets import GearmanError

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent

_PACKAGES = {"gearmand": "gearman-job-server", "redis-server": "redis-server"}
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 30.0

_CONFIGURATION = """\
[gearman]
servers = 127.0.0.1:{gearmand}

[store]
url = redis://127.0.0.1:{redis}/0
key_prefix = benchmark:

[fanout]
timeout = 60
"""


class ServerError(Exception):
    """A server is not installed, did not start, or died."""


class Daemon:
    """A running gearhorn daemon, seen from outside."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def resident_kib(self) -> int:
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)


@contextlib.contextmanager
def gearmand() -> Iterator[int]:
    """A gearmand with its default options and the builtin queue; yields its port."""
    port = _free_port()
    with _directory() as directory:
        command = [
            _installed("gearmand"),
            *("--listen", "127.0.0.1", "--port", str(port)),
            *("--pid-file", str(directory / "pid"), "--log-file", "stderr"),
        ]
        with _running(command, directory / "log") as process:
            _wait_for_port(process, port, directory / "log")
            yield port


@contextlib.contextmanager
def daemon(gearmand_port: int) -> Iterator[Daemon]:
    """A gearhorn daemon, with a Redis of its own, that has said it is ready."""
    with _redis() as redis_port, _directory() as directory:
        configuration = directory / "gearhorn.conf"
        configuration.write_text(_CONFIGURATION.format(gearmand=gearmand_port, redis=redis_port))
        command = [
            *(sys.executable, "-m", "gearhorn.cmd.fanout"),
            *("--config-file", str(configuration)),
        ]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            notifications.bind(str(directory / "notify"))
            environment = {"NOTIFY_SOCKET": str(directory / "notify")}
            with _running(command, directory / "log", environment) as process:
                _wait_until_ready(process, notifications, directory / "log")
                try:
                    yield Daemon(process)
                except (GearmanError, OSError) as error:
                    log = _tail(directory / "log")
                    raise ServerError(f"{error}; the daemon's log ends:\n{log}") from error


@contextlib.contextmanager
def receiver(gearmand_port: int, queues: Sequence[bytes]) -> Iterator[None]:
    """A process of bare sockets that completes every job of `queues` at once."""
    command = [sys.executable, "-m", "benchmarks.bare", str(gearmand_port)]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with _ending(process):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n".join(queues))
        process.stdin.close()
        if process.stdout.readline() != b"ready\n":
            raise ServerError("the receiver did not start")
        yield


@contextlib.contextmanager
def _redis() -> Iterator[int]:
    port = _free_port()
    with _directory() as directory:
        command = [
            _installed("redis-server"),
            *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)),
            *("--save", "", "--appendonly", "no"),
        ]
        with _running(command, directory / "log") as process:
            _wait_for_port(process, port, directory / "log")
            yield port


def _installed(program: str) -> str:
    # Debian keeps gearmand in a directory that only root's PATH names.
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise ServerError(f"{program} is missing: install the package {_PACKAGES[program]}")
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _directory() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="gearhorn-benchmark-") as name:
        yield pathlib.Path(name)


@contextlib.contextmanager
def _running(
    command: Sequence[str], log: pathlib.Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    with _ending(process):
        yield process


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], port: int, log: pathlib.Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            _check_alive(process, deadline, log)
            time.sleep(0.01)


def _wait_until_ready(
    process: subprocess.Popen[bytes], notifications: socket.socket, log: pathlib.Path
) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    notifications.settimeout(0.1)
    while True:
        try:
            if b"READY=1" in notifications.recv(4096).splitlines():
                return
        except TimeoutError:
            _check_alive(process, deadline, log)


def _check_alive(process: subprocess.Popen[bytes], deadline: float, log: pathlib.Path) -> None:
    if process.poll() is not None or time.monotonic() > deadline:
        raise ServerError(f"{process.args!r} did not start:\n{_tail(log)}")


def _tail(log: pathlib.Path) -> str:
    return log.read_text(errors="replace")[-2000:]
