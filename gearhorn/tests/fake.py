# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A job server that does what a test tells it, for what a real one does not do on demand.

Handshakes and probes it answers by itself, unless it is told to be mute.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gearhorn.tests import packets as wire
from gearhorn.tests.listening import close_server
from gearhorn.tests.packets import HEADER, Packet
from gearhorn.wire.address import Address

_ANSWERED = (wire.ECHO_REQ, wire.GET_STATUS, wire.OPTION_REQ)
_TIMEOUT_S = 10.0


class Conversation:
    """One connection, as the server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._received: asyncio.Queue[Packet | None] = asyncio.Queue()
        self.mute = False
        self.functions: list[bytes] = []
        self.options: list[bytes] = []
        self.probes = 0
        self.greeted = False

    async def serve(self) -> None:
        try:
            while True:
                header = await self._reader.readexactly(HEADER.size)
                magic, packet_type, size = HEADER.unpack(header)
                assert magic == b"\0REQ"
                body = await self._reader.readexactly(size)
                if not self._handle(packet_type, body):
                    self._received.put_nowait(Packet(packet_type, body))
        except (asyncio.IncompleteReadError, ConnectionError):
            self._received.put_nowait(None)

    def _handle(self, packet_type: int, body: bytes) -> bool:
        """Answer what is not for the test; whether it was such a packet."""
        if packet_type == wire.CAN_DO:
            self.functions.append(body)
        elif packet_type == wire.OPTION_REQ:
            self.options.append(body)
        elif packet_type == wire.ECHO_REQ:
            self.probes += 1
        elif packet_type == wire.GRAB_JOB_UNIQ and not self.greeted:
            # Each connection begins with one, to see whether it is supported.
            self.greeted = True
            if not self.mute:
                self.greet()
        elif packet_type != wire.GET_STATUS:
            return packet_type == wire.SET_CLIENT_ID
        if packet_type in _ANSWERED and not self.mute:
            if packet_type == wire.GET_STATUS:
                self.send(wire.STATUS_RES, body, b"0", b"0", b"0", b"0")
            else:
                self.send(wire.ECHO_RES if packet_type == wire.ECHO_REQ else wire.OPTION_RES, body)
        return True

    def greet(self) -> None:
        self.send(wire.NO_JOB)

    def send(self, packet_type: int, *args: bytes) -> None:
        self.send_raw(wire.response(packet_type, *args))

    def send_raw(self, data: bytes) -> None:
        self._writer.write(data)

    def assign(
        self, handle: bytes, function: bytes, data: bytes = b"", unique: bytes = b""
    ) -> None:
        self.send(wire.JOB_ASSIGN_UNIQ, handle, function, unique, data)

    async def receive(self) -> Packet:
        """The next packet that is not answered by itself."""
        packet = await asyncio.wait_for(self._received.get(), _TIMEOUT_S)
        if packet is None:
            raise ConnectionError("the other side closed the connection")
        return packet

    async def expect(self, packet_type: int, count: int = 1) -> list[Packet]:
        """The next packets, which must all be of this type."""
        packets = [await self.receive() for _ in range(count)]
        assert {packet.type for packet in packets} <= {packet_type}, packets
        return packets

    async def expect_closed(self) -> list[Packet]:
        """Return the packets that come until the other side closes the connection."""
        packets: list[Packet] = []
        while True:
            packet = await asyncio.wait_for(self._received.get(), _TIMEOUT_S)
            if packet is None:
                return packets
            packets.append(packet)

    async def settle(self) -> None:
        """Return when the other side, which lives in the same loop, has acted on all it got."""
        for _ in range(20):
            await asyncio.sleep(0.001)

    @property
    def pending(self) -> int:
        """The number of packets that wait to be received."""
        return self._received.qsize()

    def close(self) -> None:
        self._writer.transport.abort()


class FakeServer:
    """Accepts connections and hands them to the test."""

    def __init__(self) -> None:
        self.accepted = 0
        #: What is done with new connections.
        self.mute = False
        self.refuse = False
        self._conversations: asyncio.Queue[Conversation] = asyncio.Queue()
        self._open: set[Conversation] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)

    @property
    def address(self) -> Address:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return Address("127.0.0.1", port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        conversation = Conversation(reader, writer)
        conversation.mute = self.mute
        if self.refuse:
            conversation.close()
            return
        self._open.add(conversation)
        self._conversations.put_nowait(conversation)
        await conversation.serve()
        self._open.discard(conversation)
        writer.close()

    @property
    def open(self) -> Sequence[Conversation]:
        """The connections that are open."""
        return list(self._open)

    async def accept(self) -> Conversation:
        """The next connection."""
        return await asyncio.wait_for(self._conversations.get(), _TIMEOUT_S)

    async def stop(self) -> None:
        """Stop listening and break all connections."""
        assert self._server is not None
        await close_server(self._server)
        for conversation in list(self._open):
            conversation.close()
        await self._server.wait_closed()


@asynccontextmanager
async def fake_server() -> AsyncIterator[FakeServer]:
    server = FakeServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
