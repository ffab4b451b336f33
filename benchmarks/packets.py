# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The few Gearman packets that the benchmark needs, on a blocking socket."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterable, Sequence

CAN_DO = 1
PRE_SLEEP = 4
NOOP = 6
SUBMIT_JOB = 7
JOB_CREATED = 8
NO_JOB = 10
WORK_COMPLETE = 13
WORK_FAIL = 14
ECHO_REQ = 16
ECHO_RES = 17
SUBMIT_JOB_BG = 18
ERROR = 19
WORK_WARNING = 29
GRAB_JOB_UNIQ = 30
JOB_ASSIGN_UNIQ = 31

# As large as a block of answers, so the references read less often.
_RECEIVE_BYTES = 1 << 18
_ANSWER_TIMEOUT_S = 60.0

_header = struct.Struct(">4sII")


class GearmanError(Exception):
    """gearmand answered ERROR, failed a job or closed the connection."""


def packet(kind: int, *arguments: bytes) -> bytes:
    body = b"\0".join(arguments)
    return _header.pack(b"\0REQ", kind, len(body)) + body


class Connection:
    """One connection to a gearmand on the loopback."""

    def __init__(self, port: int, answer_timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=answer_timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send = self.socket.sendall
        self._rest = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive(self) -> list[tuple[int, bytes]]:
        """Read once, and return the packets that are now whole as (kind, body)."""
        chunk = self.socket.recv(_RECEIVE_BYTES)
        if not chunk:
            raise GearmanError("gearmand closed the connection")
        data = self._rest + chunk
        packets = []
        start, end = 0, len(data)
        while end - start >= _header.size:
            _, kind, length = _header.unpack_from(data, start)
            body = start + _header.size
            if body + length > end:
                break
            if kind == ERROR:
                raise GearmanError(data[body : body + length].decode(errors="replace"))
            packets.append((kind, data[body : body + length]))
            start = body + length
        self._rest = data[start:]
        return packets

    def synchronize(self) -> None:
        """Return once gearmand has handled all that was sent before."""
        self.send(packet(ECHO_REQ, b"benchmark"))
        while not any(kind == ECHO_RES for kind, _ in self.receive()):
            pass


def submit_in_blocks(connection: Connection, packets: Sequence[bytes], size: int = 500) -> None:
    """Send SUBMIT_JOB_BG packets in blocks; each is answered before the next is sent."""
    for start in range(0, len(packets), size):
        block = packets[start : start + size]
        submit(connection, b"".join(block), len(block))


def submit(connection: Connection, block: bytes, jobs: int) -> None:
    """Send a block of SUBMIT_JOB_BG packets, and return once all are answered."""
    connection.send(block)
    answered = 0
    while answered < jobs:
        answered += len(connection.receive())


def run_jobs(connection: Connection, packets: Iterable[bytes], in_flight: int = 500) -> None:
    """Send SUBMIT_JOB packets, `in_flight` at a time, until each has ended in WORK_COMPLETE."""
    waiting = iter(packets)
    running = 0
    free = in_flight
    warning = b""
    while True:
        batch = list(itertools.islice(waiting, free))
        if batch:
            connection.send(b"".join(batch))
            running += len(batch)
        if not running:
            return
        free = 0
        for kind, body in connection.receive():
            if kind == WORK_COMPLETE:
                free += 1
            elif kind == WORK_WARNING:
                warning = body
            elif kind == WORK_FAIL:
                raise GearmanError(f"a job failed: {warning.decode(errors='replace')}")
        running -= free


def queued_jobs(port: int, prefix: bytes = b"") -> int:
    """Return the number of jobs, waiting and running, in queues with this prefix."""
    return _jobs(port, prefix, 1)


def running_jobs(port: int, prefix: bytes) -> int:
    """Return the number of jobs that workers have, of functions with this prefix."""
    return _jobs(port, prefix, 2)


def _jobs(port: int, prefix: bytes, column: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_TIMEOUT_S) as admin:
        admin.sendall(b"status\n")
        data = b""
        while not (data == b".\n" or data.endswith(b"\n.\n")):
            chunk = admin.recv(_RECEIVE_BYTES)
            if not chunk:
                raise GearmanError("gearmand closed the connection")
            data += chunk
    rows = (line.split(b"\t") for line in data.splitlines()[:-1])
    return sum(int(row[column]) for row in rows if row[0].startswith(prefix))
