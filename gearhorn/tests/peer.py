# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A Gearman peer on a bare blocking socket, for tests.

It shares no code with what it tests, so that an error in the package cannot hide itself.
Type numbers and arguments are those of the protocol text that gearmand's source holds
(``PROTOCOL``).
"""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import ssl
import struct
import time
from collections import deque
from types import TracebackType
from typing import Any, NamedTuple

CAN_DO = 1
CANT_DO = 2
PRE_SLEEP = 4
NOOP = 6
SUBMIT_JOB = 7
JOB_CREATED = 8
NO_JOB = 10
WORK_STATUS = 12
WORK_COMPLETE = 13
WORK_FAIL = 14
ECHO_REQ = 16
ECHO_RES = 17
SUBMIT_JOB_BG = 18
ERROR = 19
SUBMIT_JOB_HIGH = 21
SET_CLIENT_ID = 22
WORK_EXCEPTION = 25
OPTION_REQ = 26
OPTION_RES = 27
WORK_DATA = 28
WORK_WARNING = 29
GRAB_JOB_UNIQ = 30
JOB_ASSIGN_UNIQ = 31
SUBMIT_JOB_HIGH_BG = 32
SUBMIT_JOB_LOW = 33
SUBMIT_JOB_LOW_BG = 34

_NAMES = {number: name for name, number in list(globals().items()) if isinstance(number, int)}

#: How many NULs separate the arguments of a received packet; what follows the last is data.
_SEPARATORS = {
    ERROR: 1,
    WORK_STATUS: 2,
    WORK_COMPLETE: 1,
    WORK_EXCEPTION: 1,
    WORK_DATA: 1,
    WORK_WARNING: 1,
    JOB_ASSIGN_UNIQ: 3,
}

_SUBMIT = {
    ("high", False): SUBMIT_JOB_HIGH,
    ("normal", False): SUBMIT_JOB,
    ("low", False): SUBMIT_JOB_LOW,
    ("high", True): SUBMIT_JOB_HIGH_BG,
    ("normal", True): SUBMIT_JOB_BG,
    ("low", True): SUBMIT_JOB_LOW_BG,
}

_ABOUT_A_JOB = {
    WORK_DATA,
    WORK_WARNING,
    WORK_STATUS,
    WORK_COMPLETE,
    WORK_FAIL,
    WORK_EXCEPTION,
}

_LAST = {WORK_COMPLETE, WORK_FAIL}

_HEADER = struct.Struct(">4sII")


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


class ServerError(Exception):
    """The server answered ERROR; the arguments are its code and its text."""


class Packet(NamedTuple):
    """A packet as it was received."""

    type: int
    body: bytes

    @property
    def args(self) -> list[bytes]:
        """The arguments; the last is the data, which may hold NULs."""
        return self.body.split(b"\0", _SEPARATORS.get(self.type, 0))

    @property
    def handle(self) -> bytes:
        """The first argument up to its first NUL.

        gearmand puts a NUL behind the handle of a WORK_FAIL that it made of a WORK_EXCEPTION.
        """
        return self.body.split(b"\0", 1)[0]

    def __repr__(self) -> str:
        return f"<{_NAMES.get(self.type, self.type)} {self.body!r}>"


@dataclasses.dataclass
class Outcome:
    """What a client learns about a job that it submitted."""

    handle: bytes
    packets: list[Packet]
    """The packets that followed JOB_CREATED; none for a background job."""

    def of(self, packet_type: int) -> list[bytes]:
        """The last argument of each packet of that type."""
        return [packet.args[-1] for packet in self.packets if packet.type == packet_type]

    @property
    def completed(self) -> bool:
        return bool(self.packets) and self.packets[-1].type == WORK_COMPLETE

    @property
    def failed(self) -> bool:
        return bool(self.packets) and self.packets[-1].type == WORK_FAIL

    @property
    def data(self) -> bytes:
        """The result: all WORK_DATA parts and what came with WORK_COMPLETE."""
        return b"".join(self.of(WORK_DATA) + self.of(WORK_COMPLETE))

    @property
    def progress(self) -> list[tuple[int, int]]:
        """Numerator and denominator of each WORK_STATUS."""
        statuses = (packet.args for packet in self.packets if packet.type == WORK_STATUS)
        return [(int(done), int(total)) for _, done, total in statuses]

    @property
    def report(self) -> Any:
        """The JSON of the result, or for a failed job of its only warning."""
        if self.completed:
            return json.loads(self.data)
        (warning,) = self.of(WORK_WARNING)
        return json.loads(warning)


class Job(NamedTuple):
    """A job as a worker receives it."""

    handle: bytes
    function: bytes
    unique: bytes
    data: bytes


class Peer:
    """A connection to a job server, used as client, as worker or as both.

    Waiting is bounded by ``timeout_s``; then TimeoutError is raised. A connection that the
    server closed raises ConnectionError.
    """

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        timeout_s: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self._socket = socket.create_connection((host, port), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ssl_context is not None:
            self._socket = ssl_context.wrap_socket(self._socket, server_hostname=host)
        self._input = b""
        # What was read while waiting for something else: of jobs by handle, and the rest.
        self._about_jobs: dict[bytes, deque[Packet]] = {}
        self._others: deque[Packet] = deque()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # Packets

    def send(self, packet_type: int, *args: str | bytes) -> None:
        body = b"\0".join(map(_bytes, args))
        self.send_raw(_HEADER.pack(b"\0REQ", packet_type, len(body)) + body)

    def send_raw(self, data: bytes) -> None:
        """Send bytes that need not be a packet."""
        self._socket.settimeout(self.timeout_s)
        self._socket.sendall(data)

    def receive(self, timeout_s: float | None = None) -> Packet:
        """The next packet of any kind, in the order received."""
        if self._others:
            return self._others.popleft()
        return self._read(self._deadline(timeout_s))

    def expect(self, *packet_types: int, timeout_s: float | None = None) -> Packet:
        """The next packet, which must be of one of these types."""
        packet = self.receive(timeout_s)
        assert packet.type in packet_types, f"unexpected {packet}"
        return packet

    def expect_silence(self, seconds: float) -> None:
        """Nothing must arrive for that long."""
        try:
            packet = self.receive(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected {packet}")

    def expect_closed(self, timeout_s: float | None = None) -> None:
        """The server must close the connection, whatever it sends before."""
        deadline = self._deadline(timeout_s)
        try:
            while True:
                self._read(deadline)
        except ConnectionError:
            pass

    def _deadline(self, timeout_s: float | None) -> float:
        return time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)

    def _read(self, deadline: float) -> Packet:
        while True:
            if len(self._input) >= _HEADER.size:
                magic, packet_type, size = _HEADER.unpack_from(self._input)
                assert magic == b"\0RES", f"not a packet: {self._input[:80]!r}"
                end = _HEADER.size + size
                if len(self._input) >= end:
                    packet = Packet(packet_type, self._input[_HEADER.size : end])
                    self._input = self._input[end:]
                    return packet
            # A socket whose timeout is 0 does not block at all, which is another error.
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            received = self._socket.recv(1 << 20)
            if not received:
                raise ConnectionError("the job server closed the connection")
            self._input += received

    # Either side

    def echo(self, data: str | bytes = b"?") -> bytes:
        """Return what the server sends back. What it sent before is kept for later."""
        self.send(ECHO_REQ, data)
        return self._wait_for(ECHO_RES, self._deadline(None)).body

    def option(self, name: str) -> bytes:
        self.send(OPTION_REQ, name)
        return self._wait_for(OPTION_RES, self._deadline(None)).body

    def _wait_for(self, packet_type: int, deadline: float) -> Packet:
        """Read up to a packet that is about no job, and put away what came before it."""
        for position, packet in enumerate(self._others):
            if packet.type in (packet_type, ERROR):
                del self._others[position]
                break
        else:
            while (packet := self._read(deadline)).type not in (packet_type, ERROR):
                if packet.type in _ABOUT_A_JOB:
                    self._about_jobs.setdefault(packet.handle, deque()).append(packet)
                else:
                    self._others.append(packet)
        if packet.type == ERROR:
            raise ServerError(*(arg.decode() for arg in packet.args))
        return packet

    # The client

    def submit(
        self,
        function: str | bytes,
        data: str | bytes | dict[str, Any],
        background: bool = False,
        unique: str | bytes = b"",
        priority: str = "normal",
        timeout_s: float | None = None,
    ) -> Outcome:
        """Submit a job and wait until it ends, or, in the background, until it is queued.

        A dictionary is sent as JSON.
        """
        handle = self.start(function, data, background, unique, priority)
        if background:
            return Outcome(handle, [])
        return self.finish(handle, timeout_s)

    def start(
        self,
        function: str | bytes,
        data: str | bytes | dict[str, Any],
        background: bool = False,
        unique: str | bytes = b"",
        priority: str = "normal",
    ) -> bytes:
        """Submit a job and return its handle once it is queued."""
        if isinstance(data, dict):
            data = json.dumps(data)
        self.send(_SUBMIT[priority, background], function, unique, data)
        return self._wait_for(JOB_CREATED, self._deadline(None)).body

    def finish(self, handle: bytes, timeout_s: float | None = None) -> Outcome:
        """Wait for the end of a job that was started; others may end in between."""
        deadline = self._deadline(timeout_s)
        packets: list[Packet] = []
        while not packets or packets[-1].type not in _LAST:
            packets.append(self.about(handle, max(deadline - time.monotonic(), 0)))
        return Outcome(handle, packets)

    def about(self, handle: bytes, timeout_s: float | None = None) -> Packet:
        """The next packet about a job that was started."""
        deadline = self._deadline(timeout_s)
        kept = self._about_jobs.setdefault(handle, deque())
        while not kept:
            packet = self._read(deadline)
            if packet.type in _ABOUT_A_JOB:
                self._about_jobs.setdefault(packet.handle, deque()).append(packet)
            else:
                self._others.append(packet)
        return kept.popleft()

    # The worker

    def can_do(self, *functions: str | bytes) -> None:
        """Register functions, and return once the server has done so."""
        for function in functions:
            self.send(CAN_DO, function)
        self.echo()

    def cant_do(self, function: str | bytes) -> None:
        self.send(CANT_DO, function)
        self.echo()

    def grab(self, timeout_s: float | None = None) -> Job:
        """Wait for a job of one of the registered functions."""
        deadline = self._deadline(timeout_s)
        while True:
            job = self.try_grab()
            if job is not None:
                return job
            self.send(PRE_SLEEP)
            self._wait_for(NOOP, deadline)

    def try_grab(self) -> Job | None:
        """Return a job if there is one now."""
        self.send(GRAB_JOB_UNIQ)
        deadline = self._deadline(None)
        while True:
            packet = self._read(deadline)
            if packet.type == JOB_ASSIGN_UNIQ:
                handle, function, unique, data = packet.args
                return Job(handle, function, unique, data)
            if packet.type == NO_JOB:
                return None
            # The server may wake a worker that is already awake.
            if packet.type != NOOP:
                self._others.append(packet)

    def take(self, count: int, timeout_s: float | None = None) -> list[bytes]:
        """Grab and complete that many jobs; return what they carried."""
        deadline = self._deadline(timeout_s)
        taken = []
        for _ in range(count):
            job = self.grab(max(deadline - time.monotonic(), 0))
            self.complete(job)
            taken.append(job.data)
        return taken

    def complete(self, job: Job, data: str | bytes = b"") -> None:
        self.send(WORK_COMPLETE, job.handle, data)

    def fail(self, job: Job) -> None:
        self.send(WORK_FAIL, job.handle)

    def exception(self, job: Job, data: str | bytes = b"") -> None:
        self.send(WORK_EXCEPTION, job.handle, data)

    def data(self, job: Job, data: str | bytes) -> None:
        self.send(WORK_DATA, job.handle, data)

    def warning(self, job: Job, data: str | bytes) -> None:
        self.send(WORK_WARNING, job.handle, data)

    def status(self, job: Job, done: int, total: int) -> None:
        self.send(WORK_STATUS, job.handle, str(done), str(total))


class Queue(NamedTuple):
    """A line of the ``status`` command."""

    total: int
    """Jobs that are queued or running."""
    running: int
    workers: int


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
        return self.status().get(function, Queue(0, 0, 0))

    def workers(self) -> list[ConnectedWorker]:
        lines = self.command("workers", ends_with_dot=True)
        parsed = (re.fullmatch(r"\S+ \S+ (.*?) : ?(.*)", line) for line in lines)
        return [ConnectedWorker(m[1], set(m[2].split())) for m in parsed if m]

    def drop(self, function: str) -> str:
        """Make the server forget a function that has no worker, and its queue with it."""
        return self.command(f"drop function {function}")[0]
