# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Job servers that do what a test tells them, in a time that a test tells.

No socket is opened and no second passes: the connections of the package end in
``FakeServer``, which keeps what came and answers when it is told to, with whatever it is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from gearhorn.tests import packets as wire

_SUBMITS = {
    wire.SUBMIT_JOB: True,
    wire.SUBMIT_JOB_HIGH: True,
    wire.SUBMIT_JOB_LOW: True,
    wire.SUBMIT_JOB_BG: False,
    wire.SUBMIT_JOB_HIGH_BG: False,
    wire.SUBMIT_JOB_LOW_BG: False,
}
"""The packets that submit, and whether in the foreground."""

_TURNS = 12
"""Turns of the loop after which nothing is left to do at one moment."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still but for :meth:`advance`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.servers: dict[int, FakeServer] = {}

    def time(self) -> float:
        # A clock that is read twice tells two times.
        self.now += 1e-9
        return self.now

    def do(self, function: Callable[[bytes], None], data: bytes) -> None:
        """Call what must be called from within the loop, from anywhere."""

        async def call() -> None:
            function(data)

        if self.is_running():
            function(data)
        else:
            self.run_until_complete(call())

    def settle(self) -> None:
        """Do all that can be done now."""

        async def turns() -> None:
            for _ in range(_TURNS):
                await asyncio.sleep(0)

        self.run_until_complete(turns())

    def advance(self, seconds: float) -> None:
        """Let time pass, from one timer to the next."""
        end = self.now + seconds
        while (timers := self.timers()) and min(timers) <= end:
            self.now = max(self.now, min(timers))
            self.settle()
        self.now = max(self.now, end)
        self.settle()

    def timers(self) -> list[float]:
        scheduled: list[asyncio.TimerHandle] = vars(self)["_scheduled"]
        return [timer.when() for timer in scheduled if not timer.cancelled()]

    async def create_connection(  # type: ignore[override]
        self, factory: Any, *args: Any, **kwargs: Any
    ) -> Any:
        server = kwargs["sock"].server
        protocol = factory()
        transport = FakeTransport(self, server, protocol)
        protocol.connection_made(transport)
        return transport, protocol

    async def open_socket(self, host: str, port: int) -> Any:
        """Stands for :func:`gearhorn.net.connecting.open_socket`."""
        server = self.servers[port]
        if not server.up:
            raise ConnectionRefusedError("nobody listens")
        return _Socket(server)


class _Socket:
    def __init__(self, server: FakeServer) -> None:
        self.server = server

    def setsockopt(self, *args: Any) -> None:
        """Whatever is set is fine."""

    def close(self) -> None:
        """It is none."""


class FakeTransport(asyncio.Transport):
    """The end of a connection that the package holds, and the other end too."""

    def __init__(self, loop: VirtualLoop, server: FakeServer, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._input = b""
        self.server = server
        self.open = True
        self.grabs = 0
        self.has_grabbed = False
        self.is_greeted = False
        self.submissions: deque[Submission] = deque()
        """Those that are not answered."""
        self.functions: set[bytes] = set()
        server.connections.append(self)

    # What the package calls.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return _Socket(self.server) if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Everything is read at once."""

    def write(self, data: Any) -> None:
        self._input += bytes(data)
        while len(self._input) >= 12:
            magic, packet_type, size = wire.HEADER.unpack_from(self._input)
            assert magic == b"\0REQ"
            if len(self._input) < 12 + size:
                break
            body = self._input[12 : 12 + size]
            self._input = self._input[12 + size :]
            self._take(packet_type, body)

    def is_closing(self) -> bool:
        return not self.open

    def abort(self) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, from either side."""
        if self.open:
            self.open = False
            self.server.connections.remove(self)
            self._loop.call_soon(self._protocol.connection_lost, None)
            self.server.on_closed(self)

    # What the server does.

    def send(self, packet_type: int, *arguments: bytes) -> None:
        self.send_raw(wire.response(packet_type, *arguments))

    def send_raw(self, data: bytes) -> None:
        if self.open:
            self._loop.do(self._protocol.data_received, data)

    def _take(self, packet_type: int, body: bytes) -> None:
        if packet_type in (wire.WORK_STATUS, wire.WORK_WARNING, *_ENDS):
            # An answer counts also where the package is not told yet that nobody hears it.
            self.server.on_answer(self, wire.Packet(packet_type, body))
        elif not self.open:
            return
        elif packet_type in _SUBMITS:
            queue, unique, payload = body.split(b"\0", 2)
            submission = Submission(self, queue, unique, payload, _SUBMITS[packet_type])
            self.submissions.append(submission)
            self.server.on_submitted(submission)
        elif packet_type == wire.GRAB_JOB_UNIQ and not self.is_greeted:
            self.is_greeted = True
            self._loop.call_soon(self.send, wire.NO_JOB)
        elif packet_type == wire.GRAB_JOB_UNIQ:
            self.grabs += 1
            self.has_grabbed = True
        elif packet_type == wire.ECHO_REQ:
            if self.server.responsive:
                # Its own turn: no answer comes while the question is written.
                self._loop.call_soon(self.send, wire.ECHO_RES, body)
        elif packet_type == wire.CAN_DO:
            self.functions.add(body)


_ENDS = (wire.WORK_COMPLETE, wire.WORK_FAIL)


class Submission:
    """A copy as a server got it."""

    def __init__(
        self,
        connection: FakeTransport,
        queue: bytes,
        unique: bytes,
        payload: bytes,
        foreground: bool,
    ) -> None:
        self.connection = connection
        self.queue = queue
        self.unique = unique
        self.payload = payload
        self.foreground = foreground
        self.handle = b""


class FakeServer:
    """A job server that a test plays."""

    def __init__(
        self,
        loop: VirtualLoop,
        port: int,
        *,
        on_submitted: Callable[[Submission], None],
        on_answer: Callable[[FakeTransport, wire.Packet], None],
        on_closed: Callable[[FakeTransport], None],
    ) -> None:
        self.port = port
        self.up = True
        self.responsive = True
        """False if it does not answer when it is asked for an echo."""
        self.connections: list[FakeTransport] = []
        self.on_submitted = on_submitted
        self.on_answer = on_answer
        self.on_closed = on_closed
        loop.servers[port] = self

    def close_all(self) -> None:
        for connection in list(self.connections):
            connection.close()
