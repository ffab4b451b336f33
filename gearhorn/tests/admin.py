# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The text commands of a job server, by which it tells what it holds."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from typing import NamedTuple


class Queue(NamedTuple):
    """A line of the ``status`` command."""

    total: int
    """Jobs that are queued or running."""
    running: int
    workers: int


_UNKNOWN = Queue(0, 0, 0)


class ConnectedWorker(NamedTuple):
    """A line of the ``workers`` command, which lists every connection."""

    client_id: str
    functions: set[str]


class Admin:
    """The text commands of a job server, each on a connection of its own."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, timeout_s: float = 10.0) -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s

    def command(self, line: str, *, ends_with_dot: bool = False) -> list[str]:
        """Send a command and return the lines of its answer, without the closing dot."""
        with socket.create_connection(self._address, timeout=self._timeout_s) as connection:
            connection.sendall(line.encode() + b"\n")
            with connection.makefile("r", encoding="utf-8", newline="\n") as answer:
                if not ends_with_dot:
                    return [self._line(answer.readline())]
                lines: list[str] = []
                while (received := self._line(answer.readline())) != ".":
                    lines.append(received)
                return lines

    @staticmethod
    def _line(received: str) -> str:
        if not received:
            raise ConnectionError("the job server closed the connection")
        # Some of gearmand's answers end in CR LF.
        return received.rstrip("\r\n")

    def version(self) -> str:
        return self.command("version")[0]

    def status(self) -> dict[str, Queue]:
        """Every function that the server knows."""
        rows = (line.split("\t") for line in self.command("status", ends_with_dot=True))
        return {name: Queue(int(a), int(b), int(c)) for name, a, b, c in rows}

    def queue(self, function: str) -> Queue:
        """The line of one function; zeros where the server does not know it."""
        return self.status().get(function, _UNKNOWN)

    def totals(self, functions: Iterable[str]) -> list[int]:
        """Return the jobs queued or running, for each of these functions."""
        status = self.status()
        return [status.get(name, _UNKNOWN).total for name in functions]

    def total(self, functions: Iterable[str]) -> int:
        """Return the jobs queued or running for all of these functions together."""
        return sum(self.totals(functions))

    def workers(self) -> list[ConnectedWorker]:
        lines = self.command("workers", ends_with_dot=True)
        parsed = (re.fullmatch(r"\S+ \S+ (.*?) : ?(.*)", line) for line in lines)
        return [ConnectedWorker(m[1], set(m[2].split())) for m in parsed if m]

    def drop(self, function: str) -> str:
        """Make the server forget a function that has no worker, and its queue with it."""
        return self.command(f"drop function {function}")[0]
