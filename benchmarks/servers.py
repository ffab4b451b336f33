# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Real servers and daemons on free loopback ports, ended with the block that started them."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks.packets import GearmanError
from benchmarks.processes import (
    Process,
    ServerError,
    directory,
    free_port,
    installed,
    running,
)

KEY_PREFIX = "benchmark:"
LARGEST = 64 << 20
"""The default of [fanout] max_message_bytes."""

_CONFIGURATION = """\
[gearman]
servers = {servers}

[store]
url = {store}
key_prefix = {prefix}

[fanout]
timeout = 60
max_message_bytes = {largest}

[limits]
"""


class Server(NamedTuple):
    port: int
    process: Process


@contextlib.contextmanager
def gearmand() -> Iterator[int]:
    """Run a gearmand with its default options and the builtin queue; yield its port."""
    with job_server() as server:
        yield server.port


@contextlib.contextmanager
def job_server(queue: str = "builtin") -> Iterator[Server]:
    """Run a gearmand with its default options and a queue, "builtin" or "sqlite"."""
    port = free_port()
    with directory() as place:
        options = ["--listen", "127.0.0.1", "--port", str(port)]
        options += ["--pid-file", str(place / "pid"), "--log-file", "stderr"]
        if queue == "sqlite":
            options += ["--queue-type", "libsqlite3", "--libsqlite3-db", str(place / "queue.db")]
        with running([installed("gearmand"), *options], place / "log") as process:
            process.wait_for_port(port)
            yield Server(port, process)


@contextlib.contextmanager
def redis(*options: str) -> Iterator[Server]:
    """Run a Redis that keeps nothing on disk."""
    port = free_port()
    with directory() as place:
        command = [
            installed("redis-server"),
            *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(place)),
            *("--save", "", "--appendonly", "no", *options),
        ]
        with running(command, place / "log") as process:
            process.wait_for_port(port)
            yield Server(port, process)


@contextlib.contextmanager
def daemon(gearmand_port: int, largest: int = LARGEST) -> Iterator[Process]:
    """Run a gearhorn daemon with a Redis of its own; yield once it is ready.

    `largest` is the most bytes of a message.
    """
    with redis() as store, daemon_beside([gearmand_port], store.port, largest) as process:
        yield process


@contextlib.contextmanager
def daemon_beside(
    gearmand_ports: Sequence[int],
    redis_port: int,
    largest: int = LARGEST,
    limits: Mapping[str, int] | None = None,
    journal: Mapping[str, str | int] | None = None,
) -> Iterator[Process]:
    """Run a gearhorn daemon at these servers; yield once it is ready.

    `limits` and `journal` are options of the sections [limits] and [journal].
    """
    with directory() as place:
        configuration = place / "gearhorn.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                servers=",".join(f"127.0.0.1:{port}" for port in gearmand_ports),
                store=f"redis://127.0.0.1:{redis_port}/0",
                prefix=KEY_PREFIX,
                largest=largest,
            )
            + _options(limits)
            + "\n[journal]\n"
            + _options(journal)
        )
        command = [
            *(sys.executable, "-m", "gearhorn.cmd.serve"),
            *("--config-file", str(configuration)),
        ]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            notifications.bind(str(place / "notify"))
            notifications.settimeout(0.1)
            environment = {"NOTIFY_SOCKET": str(place / "notify")}
            with running(command, place / "log", environment, name="daemon") as process:
                process.wait_until(lambda: _says_ready(notifications))
                try:
                    yield process
                except (GearmanError, OSError) as error:
                    raise ServerError(
                        f"{error}; the daemon's log ends:\n{process.log()}"
                    ) from error


@contextlib.contextmanager
def receiver(gearmand_port: int, queues: Sequence[bytes]) -> Iterator[None]:
    """Run a process of bare sockets that completes every job of `queues` at once."""
    command = [sys.executable, "-m", "benchmarks.bare", str(gearmand_port)]
    with directory() as place:
        log = place / "log"
        with running(command, log, given=b"\n".join(queues), name="receiver") as process:
            process.wait_until(lambda: _is_ready(log))
            yield


def _options(options: Mapping[str, str | int] | None) -> str:
    return "".join(f"{name} = {value}\n" for name, value in (options or {}).items())


def _is_ready(log: pathlib.Path) -> bool:
    return log.read_bytes().startswith(b"ready\n")


def _says_ready(notifications: socket.socket) -> bool:
    try:
        return b"READY=1" in notifications.recv(4096).splitlines()
    except TimeoutError:
        return False
