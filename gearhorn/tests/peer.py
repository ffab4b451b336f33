# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A Gearman peer on a bare blocking socket: what a client or a worker of any language does."""

from __future__ import annotations

import dataclasses
import json
import socket
import ssl
import time
from collections import deque
from typing import Any, NamedTuple

from gearhorn.tests import packets as wire
from gearhorn.tests.closing import Closing
from gearhorn.tests.packets import HEADER, Packet

_SUBMIT = {
    ("high", False): wire.SUBMIT_JOB_HIGH,
    ("normal", False): wire.SUBMIT_JOB,
    ("low", False): wire.SUBMIT_JOB_LOW,
    ("high", True): wire.SUBMIT_JOB_HIGH_BG,
    ("normal", True): wire.SUBMIT_JOB_BG,
    ("low", True): wire.SUBMIT_JOB_LOW_BG,
}

_ABOUT_A_JOB = {
    wire.WORK_DATA,
    wire.WORK_WARNING,
    wire.WORK_STATUS,
    wire.WORK_COMPLETE,
    wire.WORK_FAIL,
    wire.WORK_EXCEPTION,
}

_LAST = {wire.WORK_COMPLETE, wire.WORK_FAIL}


class ServerError(Exception):
    """The server answered ERROR; the arguments are its code and its text."""


@dataclasses.dataclass
class Outcome:
    """The outcome of a job for the client that submitted it."""

    handle: bytes
    packets: list[Packet]
    """The packets that followed JOB_CREATED; none for a background job."""

    def of(self, packet_type: int) -> list[bytes]:
        """The last argument of each packet of that type."""
        return [packet.args[-1] for packet in self.packets if packet.type == packet_type]

    @property
    def completed(self) -> bool:
        return bool(self.packets) and self.packets[-1].type == wire.WORK_COMPLETE

    @property
    def failed(self) -> bool:
        return bool(self.packets) and self.packets[-1].type == wire.WORK_FAIL

    @property
    def refusal(self) -> str:
        """The code of the error for which the request was refused."""
        assert self.failed, self
        return str(self.report["error"])

    @property
    def data(self) -> bytes:
        """The result: all wire.WORK_DATA parts and what came with wire.WORK_COMPLETE."""
        return b"".join(self.of(wire.WORK_DATA) + self.of(wire.WORK_COMPLETE))

    @property
    def progress(self) -> list[tuple[int, int]]:
        """Numerator and denominator of each WORK_STATUS."""
        statuses = (packet.args for packet in self.packets if packet.type == wire.WORK_STATUS)
        return [(int(done), int(total)) for _, done, total in statuses]

    @property
    def report(self) -> Any:
        """The JSON of the result, or for a failed job of its only warning."""
        if self.completed:
            return json.loads(self.data)
        (warning,) = self.of(wire.WORK_WARNING)
        return json.loads(warning)


class Job(NamedTuple):
    """A job as a worker receives it."""

    handle: bytes
    function: bytes
    unique: bytes
    data: bytes


class Peer(Closing):
    """A connection to a job server, used as client, as worker or as both.

    Waiting is bounded by ``timeout_s``; then TimeoutError is raised. A connection that the
    server closed raises ConnectionError.
    """

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        timeout_s: float = 20.0,
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

    def close(self) -> None:
        self._socket.close()

    # Packets

    def send(self, packet_type: int, *args: str | bytes) -> None:
        self.send_raw(wire.request(packet_type, *args))

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

    def expect_nothing_about(self, handle: bytes, seconds: float) -> None:
        """Nothing must be said for that long about a job that was started."""
        try:
            packet = self.about(handle, seconds)
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
            if len(self._input) >= HEADER.size:
                magic, packet_type, size = HEADER.unpack_from(self._input)
                assert magic == b"\0RES", f"not a packet: {self._input[:80]!r}"
                end = HEADER.size + size
                if len(self._input) >= end:
                    packet = Packet(packet_type, self._input[HEADER.size : end])
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
        self.send(wire.ECHO_REQ, data)
        return self._wait_for(wire.ECHO_RES, self._deadline(None)).body

    def option(self, name: str) -> bytes:
        self.send(wire.OPTION_REQ, name)
        return self._wait_for(wire.OPTION_RES, self._deadline(None)).body

    def _wait_for(self, packet_type: int, deadline: float) -> Packet:
        """Read up to a packet that is about no job, and put away what came before it."""
        for position, packet in enumerate(self._others):
            if packet.type in (packet_type, wire.ERROR):
                del self._others[position]
                break
        else:
            while (packet := self._read(deadline)).type not in (packet_type, wire.ERROR):
                if packet.type in _ABOUT_A_JOB:
                    self._about_jobs.setdefault(packet.handle, deque()).append(packet)
                else:
                    self._others.append(packet)
        if packet.type == wire.ERROR:
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
        return self._wait_for(wire.JOB_CREATED, self._deadline(None)).body

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
            self.send(wire.CAN_DO, function)
        self.echo()

    def cant_do(self, function: str | bytes) -> None:
        self.send(wire.CANT_DO, function)
        self.echo()

    def grab(self, timeout_s: float | None = None) -> Job:
        """Wait for a job of one of the registered functions."""
        deadline = self._deadline(timeout_s)
        while True:
            job = self.try_grab()
            if job is not None:
                return job
            self.send(wire.PRE_SLEEP)
            self._wait_for(wire.NOOP, deadline)

    def try_grab(self) -> Job | None:
        """Return a job if there is one now."""
        self.send(wire.GRAB_JOB_UNIQ)
        deadline = self._deadline(None)
        while True:
            packet = self._read(deadline)
            if packet.type == wire.JOB_ASSIGN_UNIQ:
                handle, function, unique, data = packet.args
                return Job(handle, function, unique, data)
            if packet.type == wire.NO_JOB:
                return None
            # The server may wake a worker that is already awake.
            if packet.type != wire.NOOP:
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
        self.send(wire.WORK_COMPLETE, job.handle, data)

    def fail(self, job: Job) -> None:
        self.send(wire.WORK_FAIL, job.handle)

    def exception(self, job: Job, data: str | bytes = b"") -> None:
        self.send(wire.WORK_EXCEPTION, job.handle, data)

    def data(self, job: Job, data: str | bytes) -> None:
        self.send(wire.WORK_DATA, job.handle, data)

    def warning(self, job: Job, data: str | bytes) -> None:
        self.send(wire.WORK_WARNING, job.handle, data)

    def status(self, job: Job, done: int, total: int) -> None:
        self.send(wire.WORK_STATUS, job.handle, str(done), str(total))
