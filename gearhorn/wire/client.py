# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""gear's clients on the event loop, without gear's threads.

gear's function registry, options and packet constants are used; its sockets,
its poll and connect threads and its per-packet objects are not (they manage
15,000 packets a second, and a blocking connect stops everything).
"""

import asyncio
import logging
import os
import random
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

import async_timeout
import gear
from gear import constants

from gearhorn import errors
from gearhorn.tasks import end
from gearhorn.wire import framing
from gearhorn.wire.servers import Server, Settings, Watch

LOG = logging.getLogger(__name__)

# gear.Server leaves ECHO_REQ unanswered, so a question that it knows goes with
# it: the state of a job that there is not.
_PROBE = framing.pack(constants.ECHO_REQ, b"gearhorn") + framing.pack(
    constants.GET_STATUS, b"gearhorn"
)
_BACKOFF_FIRST_S = 0.1
_CLOSE_TIMEOUT_S = 1.0
_CONGESTED_BYTES = 1 << 20
_SHOWN_BYTES = 1000
"""How much of an ERROR is for people."""
_UNLESS_ACCEPTED = "; over TLS: does it want a certificate, or another one than tls_cert?"
_SOUND_AFTER_S = 5.0
"""A connection that lived this long was sound: the next backoff starts anew."""


class Connection(gear.Connection, asyncio.Protocol):
    """One connection to a job server, from its handshake to its end.

    A new attempt is a new object, so that an answer that comes late can never
    go out on a newer socket, where its handle is another job's.
    """

    def __init__(self, owner: "LoopClient", server: Server) -> None:
        gear.Connection.__init__(self, server.host, server.port)
        self.server = server
        self.owner = owner
        self.loop = asyncio.get_running_loop()
        self.ready = self.loop.create_future()
        self.lost: asyncio.Future[str] = self.loop.create_future()
        self.transport: asyncio.Transport | None = None
        self.token = os.urandom(4).hex().encode()
        """Marks uniques that must not outlive this connection."""
        self.congested = False
        """The server does not read what it is sent: more is not to be caused."""
        self.complained = False
        """The server has sent an ERROR that answers no submission."""
        self._reader = framing.PacketReader(owner.max_bytes + framing.OVERSIZE_HEAD_BYTES)
        self._out: list[bytes] = []
        self._heard = True
        self._asked = False
        self._timer: asyncio.TimerHandle | None = None

    # What gear calls.

    def sendRaw(self, data: bytes) -> None:
        self.write(bytes(data))

    def sendPacket(self, packet: gear.Packet) -> None:
        self.write(bytes(packet.toBinary()))

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No instance of it on uvloop, whose transports only have its methods.
        self.transport = transport = cast(asyncio.Transport, transport)
        self.connected = True
        transport.set_write_buffer_limits(high=_CONGESTED_BYTES)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.owner._onConnect(self)
        # Whatever was sent before the probe has been read by the server when
        # its answer comes: functions are registered, options are set.
        self.write(_PROBE)
        self._watch_liveness()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            packets = self._reader.feed(data)
            self.owner.packets_received(self, packets)
        except errors.FramingError as error:
            self.abort(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self.connected = False
        if self._timer is not None:
            self._timer.cancel()
        reason = str(exc) if exc else "the server closed the connection"
        if not self.ready.done():
            # With TLS 1.3 the server's word about it is often lost in the reset.
            if self.owner.settings.tls is not None and not isinstance(exc, ssl.SSLError):
                reason += _UNLESS_ACCEPTED
            self.ready.set_exception(ConnectionError(reason))
            self.ready.exception()
        if not self.lost.done():
            self.lost.set_result(reason)

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        self.owner.writable(self)

    # What the rest of the adapter calls.

    def write(self, data: bytes) -> None:
        """Send ``data`` with all else that this turn of the loop sends."""
        if not self._out:
            self.loop.call_soon(self.flush)
        self._out.append(data)

    def flush(self) -> None:
        """Send what waits to be sent, in one write."""
        if self._out and self.transport is not None:
            data = b"".join(self._out)
            self._out.clear()
            self.transport.write(data)

    def close(self) -> None:
        """Send what waits and close."""
        self.flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self, reason: str) -> None:
        """Give the connection up at once."""
        if not self.lost.done():
            self.lost.set_result(reason)
        if self.transport is not None:
            self.transport.abort()

    def give_up(self) -> None:
        """Abort, unless the connection is closing in good order."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

    def probed(self) -> None:
        """The answer to a probe came."""
        if not self.ready.done():
            self.ready.set_result(None)

    def _watch_liveness(self) -> None:
        settings = self.owner.settings
        if self._heard:
            self._heard = self._asked = False
            delay = settings.liveness_interval
        elif not self._asked:
            self._asked = True
            self.write(_PROBE)
            delay = settings.liveness_timeout
        else:
            self.abort(f"no answer for {settings.liveness_timeout:g} seconds")
            return
        self._timer = self.loop.call_later(delay, self._watch_liveness)


class LoopClient(gear.BaseClient):
    """What the worker and the client on the loop share.

    :param client_id: how the connections are named to the servers.
    :param max_bytes: the largest data of a job or answer that is taken whole.
    :param watch: the log of servers that come and go, shared by all clients
        of a process.
    """

    def __init__(
        self,
        client_id: str,
        settings: Settings,
        max_bytes: int,
        watch: Watch,
    ) -> None:
        super().__init__(client_id)
        # gear starts two threads, which return at once, and a pipe to wake
        # one of them.
        self.poll_thread.join()
        self.connect_thread.join()
        os.close(self.wake_read)
        os.close(self.wake_write)
        self.settings = settings
        self.max_bytes = max_bytes
        self.connections: dict[Server, Connection] = {}
        """The connections that have passed their handshake."""
        self.on_servers_changed: Callable[[], None] = lambda: None
        self._watch = watch
        self._connected = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def _doPollLoop(self) -> None:
        """No thread of gear's reads."""

    def _doConnectLoop(self) -> None:
        """No thread of gear's connects."""

    def sendPacket(self, packet: gear.Packet, connection: Connection) -> None:
        connection.sendPacket(packet)

    def connect(self, servers: Sequence[Server]) -> None:
        """Keep a connection to each of ``servers`` from now on."""
        for server in servers:
            self._tasks.append(
                asyncio.get_running_loop().create_task(
                    self._keep_connected(server),
                    name=f"{self.client_id!r} to {server}",
                )
            )

    async def connected(self) -> None:
        """Return once there is a connection that has passed its handshake."""
        await self._connected.wait()

    async def close(self) -> None:
        """Close all connections, after what waits to be sent is sent."""
        closing = [c.lost for c in self.connections.values()]
        await end(self._tasks)
        self._tasks.clear()
        if closing:
            await asyncio.wait(closing, timeout=_CLOSE_TIMEOUT_S)

    async def _keep_connected(self, server: Server) -> None:
        attempt = 0
        while True:
            started = asyncio.get_running_loop().time()
            reason: object
            try:
                reason = await self._serve_connection(server)
            except (OSError, asyncio.TimeoutError, UnicodeError) as error:
                # UnicodeError: a name that cannot be a host name.
                reason = str(error) or "no answer in time"
            lived = asyncio.get_running_loop().time() - started
            if lived > _SOUND_AFTER_S:
                attempt = 0
            self._watch.down(server, self, reason)
            ceiling = min(self.settings.reconnect_max, _BACKOFF_FIRST_S * 2**attempt)
            attempt = min(attempt + 1, 30)
            await asyncio.sleep(random.uniform(ceiling / 2, ceiling))

    async def _serve_connection(self, server: Server) -> str:
        """Connect, and return why the connection ended."""
        connection = Connection(self, server)
        try:
            async with async_timeout.timeout(self.settings.connect_timeout):
                await self._shake_hands(connection)
            self.connections[server] = connection
            self._connected.set()
            self._watch.up(server, self)
            self._onActiveConnection(connection)
            self.on_servers_changed()
            reason = await asyncio.shield(connection.lost)
            connection.abort(reason)
            return reason
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            connection.give_up()
            if self.connections.get(server) is connection:
                del self.connections[server]
                self._lostConnection(connection)
                self.on_servers_changed()

    async def _shake_hands(self, connection: Connection) -> None:
        server = connection.server
        tls = self.settings.tls
        await connection.loop.create_connection(
            lambda: connection,
            server.host,
            server.port,
            ssl=tls,
            server_hostname=server.host if tls else None,
        )
        await connection.ready

    def packets_received(
        self, connection: Connection, packets: Sequence[tuple[int, bytes]]
    ) -> None:
        """Act on packets, in order; all of one read of the socket."""
        raise NotImplementedError

    def writable(self, connection: Connection) -> None:
        """The server reads again what it is sent."""

    def other_packet(self, connection: Connection, packet_type: int, body: bytes) -> None:
        """Act on a packet that the hot path does not know."""
        if packet_type in (constants.ECHO_RES, constants.STATUS_RES):
            connection.probed()
        elif packet_type == constants.ERROR:
            self.error_received(connection, body)
        elif packet_type not in constants.types:
            connection.abort(f"unknown packet type {packet_type}")

    def error_received(self, connection: Connection, body: bytes) -> None:
        """An ERROR that answers no submission."""
        # Once for each connection: a server could send any number of them.
        if connection.complained:
            return
        connection.complained = True
        LOG.warning(
            "job server %s answered ERROR: %s",
            connection.server,
            error_text(body),
        )

    def _lostConnection(self, conn: Connection) -> None:
        raise NotImplementedError

    def _onActiveConnection(self, conn: Any) -> None:
        """A connection passed its handshake."""


def error_text(body: bytes) -> str:
    """The code and text of an ERROR packet, for people."""
    return body[:_SHOWN_BYTES].replace(b"\0", b" ").decode("utf-8", "replace")
