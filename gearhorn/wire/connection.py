# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""One connection to a job server, as an asyncio protocol."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from gearhorn import errors
from gearhorn.net import tls
from gearhorn.net.connecting import describe, open_socket
from gearhorn.wire import framing
from gearhorn.wire.address import Address
from gearhorn.wire.tally import Tally

# gear.Server does not answer ECHO_REQ, so a question about a job that does not
# exist goes with it.
_PROBE = framing.pack(framing.ECHO_REQ, b"gearhorn") + framing.pack(framing.GET_STATUS, b"gearhorn")
# Without functions there is no job for it. A server that does not know it would never give one.
_ASK_SUPPORT = framing.pack(framing.GRAB_JOB_UNIQ)
_CONGESTED_BYTES = 1 << 20
_UNLESS_ACCEPTED = "; over TLS: does it want a certificate, or another one than tls_cert?"


@dataclass(frozen=True)
class ConnectionSettings:
    """The settings of connections. All times are in seconds."""

    tls: ssl.SSLContext | None = None
    connect_timeout: float = 10.0
    liveness_interval: float = 10.0
    """The silence after which a server is asked for an echo."""
    liveness_timeout: float = 10.0
    """The further silence after which the server counts as lost."""
    reconnect_max: float = 10.0
    """The longest pause between two attempts to connect."""


class Owner(Protocol):
    """The owner of a connection, which acts on its packets."""

    def packets_received(self, connection: "Connection", packets: Sequence[framing.Packet]) -> None:
        """Act on the packets of one read of the socket, in order."""

    def writable(self, connection: "Connection") -> None:
        """Called when a server that was congested reads again."""


class Connection(asyncio.Protocol):
    """One connection to a job server, from its handshake to its end.

    Each attempt is a new object, so a late answer cannot go out on a newer
    socket. gearmand numbers handles from 1 at each start: the same handle may
    be another job's there.

    :param greeting: returns the packets that are sent first.
    :param max_bytes: the largest data of a job or answer that is taken whole.
    """

    def __init__(
        self,
        owner: Owner,
        server: Address,
        settings: ConnectionSettings,
        greeting: Callable[[], bytes],
        max_bytes: int,
    ) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.ready = self.loop.create_future()
        """Done once the server has answered the first probe."""
        self.lost: asyncio.Future[str] = self.loop.create_future()
        """Done once the connection has ended, with the reason."""
        self.connected = False
        self.token = os.urandom(4).hex().encode()
        """A mark for uniques that no other connection may share."""
        self.congested = False
        """True while the server does not read; nothing that adds to its backlog starts."""
        self._paused = False
        """True while nothing is read, so that the server keeps what it has for us."""
        self._gives_jobs: bool | None = None
        """True if the server knows GRAB_JOB_UNIQ; ``None`` until it has answered one."""
        self.tally = Tally()
        """The counts of its pool at this server; the pool sets it."""
        self.share = 0
        """The share of the pool's functions that it has; the pool sets it."""
        self.renewing = False
        """True once it is dropped to make another."""
        self.complained = False
        """True once the server has sent an ERROR that answers no submission."""
        self._owner = owner
        self.settings = settings
        """Of these, durations may be replaced at any time."""
        self._greeting = greeting
        self._transport: asyncio.Transport | None = None
        self._reader = framing.PacketReader(max_bytes + framing.OVERSIZE_HEAD_BYTES)
        self._out: list[bytes] = []
        self._heard = True
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # cast(), as uvloop's transports have the methods of the class only.
        self._transport = transport = cast(asyncio.Transport, transport)
        self.connected = True
        transport.set_write_buffer_limits(high=_CONGESTED_BYTES)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.write(_ASK_SUPPORT + self._greeting())
        # When the probe is answered, the server has read all that was sent before:
        # functions are registered and options are set.
        self.write(_PROBE)
        self._watch_liveness()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            packets = self._reader.feed(data)
            self._owner.packets_received(self, packets)
        except errors.FramingError as error:
            self.abort(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self.connected = False
        if self._timer is not None:
            self._timer.cancel()
        reason = describe(exc) if exc else "the server closed the connection"
        if not self.ready.done():
            # With TLS 1.3 a server's complaint is often lost in the reset.
            if self.settings.tls is not None and not isinstance(exc, ssl.SSLError):
                reason += _UNLESS_ACCEPTED
            self.ready.set_exception(ConnectionError(reason))
            self.ready.exception()
        if not self.lost.done():
            self.lost.set_result(reason)

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        self._owner.writable(self)

    # Called by pools.

    async def connect(self) -> None:
        """Connect, and return once the server has answered the greeting.

        :raises OSError: the server cannot be reached, or closed the connection.
        :raises UnsupportedServer: the server lacks what gearhorn needs.
        """
        connected = await open_socket(self.server.host, self.server.port)
        context = tls.for_connection(self.settings.tls)
        try:
            await self.loop.create_connection(
                lambda: self,
                sock=connected,
                ssl=context,
                server_hostname=self.server.host if context else None,
            )
        except BaseException:
            connected.close()
            raise
        await self.ready

    def write(self, data: bytes) -> None:
        """Send ``data`` at the end of this turn of the loop, in one write with the rest."""
        if not self._out:
            self.loop.call_soon(self.flush)
        self._out.append(data)

    def flush(self) -> None:
        """Send all that waits, in one write."""
        if self._out and self._transport is not None:
            data = b"".join(self._out)
            self._out.clear()
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Leave to the server what it has sent, until :meth:`resume_reading`."""
        transport = self._transport
        # uvloop's raises for one that is closing.
        if not self._paused and transport is not None and not transport.is_closing():
            self._paused = True
            transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again, if that was paused."""
        transport = self._transport
        if self._paused and transport is not None and not transport.is_closing():
            self._paused = False
            self._heard = True
            transport.resume_reading()

    def close(self) -> None:
        """Send all that waits, and close."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self, reason: str) -> None:
        """Drop the connection at once."""
        if not self.lost.done():
            self.lost.set_result(reason)
        if self._transport is not None:
            self._transport.abort()

    def renew(self) -> None:
        """Drop the connection at once, to make another to a server that is well."""
        self.renewing = True
        self.abort("renewed")

    def give_up(self) -> None:
        """Drop the connection at once, unless it is closing in good order."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()

    def close_file(self) -> None:
        """Close the socket without telling the loop, in a process that was forked."""
        if self._transport is None:
            return
        raw = self._transport.get_extra_info("socket")
        # The socket itself, where asyncio has it, is not to close the same number again.
        inner = getattr(raw, "_sock", None)
        fd = raw.fileno() if inner is None else inner.detach()
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def probed(self) -> None:
        """Record that the server has answered a probe."""
        if self.ready.done():
            return
        if self._gives_jobs:
            self.ready.set_result(None)
        else:
            self._refuse("it does not answer GRAB_JOB_UNIQ")

    @property
    def is_asked_for_support(self) -> bool:
        """True until the server has answered the first packet that it was sent."""
        return self._gives_jobs is None

    def support_answered(self, packet_type: int, body: bytes) -> None:
        """Record that answer: NO_JOB, or an ERROR from a server that gearhorn cannot use."""
        self._gives_jobs = packet_type == framing.NO_JOB
        if not self._gives_jobs:
            self._refuse(f"it answers GRAB_JOB_UNIQ with {framing.error_text(body)}")

    def _refuse(self, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(
                errors.UnsupportedServer(f"unsupported: {reason}; use gearmand 1.1.20 or later")
            )
            self.ready.exception()
        self.abort(reason)

    def _watch_liveness(self) -> None:
        if self._paused:
            # Nobody reads the answer, but a server that is gone refuses the question.
            self.write(_PROBE)
            delay = self.settings.liveness_interval
        elif self._heard:
            self._heard = self._asked = False
            delay = self.settings.liveness_interval
        elif not self._asked:
            self._asked = True
            self.write(_PROBE)
            delay = self.settings.liveness_timeout
        else:
            self.abort(f"no answer for {self.settings.liveness_timeout:g} seconds")
            return
        self._timer = self.loop.call_later(delay, self._watch_liveness)
