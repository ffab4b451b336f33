# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A pool that keeps one connection to each job server."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

import async_timeout

from gearhorn import errors
from gearhorn.net.connecting import describe
from gearhorn.tasks import OnFailed, Tasks
from gearhorn.wire import framing
from gearhorn.wire.address import Address
from gearhorn.wire.connection import Connection, ConnectionSettings
from gearhorn.wire.tally import Tally
from gearhorn.wire.watch import Watch

LOG = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.1
_CLOSE_TIMEOUT_S = 1.0
_UNSUPPORTED_ATTEMPT = 30
"""The backoff is that of so many failures: another server may listen there one day."""
_SOUND_AFTER_S = 5.0
"""After a connection that lived this long, the backoff starts anew."""


class Pool:
    """One connection to each job server, made again whenever it is lost.

    A grabber that has many functions deals them out in shares. Each share has a connection
    of its own to each server; the first is share 0, which every pool has.

    :param greeting: returns the packets that each new connection sends first.
    :param max_bytes: the largest data of a job or answer that is taken whole.
    :param watch: the log of servers that come and go, shared by all pools of a
        process.
    """

    def __init__(
        self,
        greeting: Callable[[], bytes],
        settings: ConnectionSettings,
        max_bytes: int,
        watch: Watch,
    ) -> None:
        self.settings = settings
        self.max_bytes = max_bytes
        self.connections: dict[Address, Connection] = {}
        """The connections of share 0 that have passed their handshake."""
        self.tallies: dict[Address, Tally] = {}
        """The counts at each server, since the start."""
        self.on_servers_changed: Callable[[], None] = lambda: None
        """Called after :attr:`connections` has changed."""
        self._greeting = greeting
        self._watch = watch
        self._servers: Sequence[Address] = ()
        self._connected = asyncio.Event()
        self._made: set[Connection] = set()
        """All connections, including those that have not passed their handshake."""
        self.on_failed: OnFailed = lambda error: None
        """Called with an unexpected error, after which a server is not connected to again."""
        self._tasks = Tasks(lambda error: self.on_failed(error))

    def connect(self, servers: Sequence[Address]) -> None:
        """Keep a connection to each of ``servers`` from now on."""
        self._servers = servers
        for server in servers:
            self.tallies[server] = Tally()
        self._connect_share(0)

    def _connect_share(self, share: int) -> None:
        for server in self._servers:
            self._tasks.keep(self._keep_connected(server, share), f"the connection to {server}")

    def apply(self, settings: ConnectionSettings) -> None:
        """Go by these settings: durations at once, TLS from the next connection on."""
        self.settings = settings
        for connection in self._made:
            connection.settings = settings

    async def connected(self) -> None:
        """Return once a connection has passed its handshake."""
        await self._connected.wait()

    async def close(self) -> None:
        """Send what waits to be sent, and close all connections."""
        self._servers = ()
        closing = [connection.lost for connection in self._made if connection.connected]
        await self._tasks.cancel()
        if closing:
            await asyncio.wait(closing, timeout=_CLOSE_TIMEOUT_S)

    def close_files(self) -> None:
        """Close all sockets without telling the loop, in a process that was forked.

        They are the parent's too, where nothing changes.
        """
        for connection in self._made:
            connection.close_file()

    async def _keep_connected(self, server: Address, share: int) -> None:
        # Each has a pause of its own, so that those of a server that is back do not come at once.
        attempt = 0
        while True:
            started = asyncio.get_running_loop().time()
            try:
                reason = await self._serve_connection(server, share)
            except (OSError, asyncio.TimeoutError, UnicodeError) as error:
                # UnicodeError if the name cannot be a host name.
                reason = describe(error) or "no answer in time"
            except errors.UnsupportedServer as error:
                reason = str(error)
                attempt = _UNSUPPORTED_ATTEMPT
            lived = asyncio.get_running_loop().time() - started
            if lived > _SOUND_AFTER_S:
                attempt = 0
            if reason is not None:
                self._watch.down(server, (self, share), reason)
            ceiling = min(self.settings.reconnect_max, _BACKOFF_FIRST_S * 2**attempt)
            attempt = min(attempt + 1, _UNSUPPORTED_ATTEMPT)
            await asyncio.sleep(random.uniform(ceiling / 2, ceiling))

    async def _serve_connection(self, server: Address, share: int) -> str | None:
        """Connect, and return why the connection was lost; ``None`` if it was not."""
        connection = Connection(self, server, self.settings, self._greeting, self.max_bytes)
        connection.share = share
        is_ready = False
        self._made.add(connection)
        tally = connection.tally = self.tallies[server]
        try:
            async with async_timeout.timeout(self.settings.connect_timeout):
                await connection.connect()
            is_ready = True
            if not share:
                self.connections[server] = connection
            self._connected.set()
            tally.connects += 1
            self._watch.up(server, (self, share))
            self.connection_ready(connection)
            self.on_servers_changed()
            reason = await asyncio.shield(connection.lost)
            if connection.renewing:
                return None
            tally.losses += 1
            connection.abort(reason)
            return reason
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            self._made.discard(connection)
            connection.give_up()
            if is_ready:
                if not share:
                    del self.connections[server]
                self.connection_gone(connection)
                self.on_servers_changed()

    # Overridden by grabbers and submitters.

    def connection_ready(self, connection: Connection) -> None:
        """Called when a connection has passed its handshake."""
        raise NotImplementedError

    def connection_gone(self, connection: Connection) -> None:
        """Called when a connection that was ready is lost or closed."""
        raise NotImplementedError

    def packets_received(self, connection: Connection, packets: Sequence[framing.Packet]) -> None:
        """Act on the packets of one read of the socket, in order."""
        raise NotImplementedError

    def writable(self, connection: Connection) -> None:
        """Called when a server that was congested reads again."""

    def other_packet(self, connection: Connection, packet_type: int, body: bytes) -> None:
        """Act on a packet that the hot path does not know."""
        if packet_type in (framing.ECHO_RES, framing.STATUS_RES):
            connection.probed()
        elif connection.is_asked_for_support and packet_type in (framing.NO_JOB, framing.ERROR):
            connection.support_answered(packet_type, body)
        elif packet_type == framing.ERROR:
            self.error_received(connection, body)
        elif not framing.is_known(packet_type):
            connection.abort(f"unknown packet type {packet_type}")

    def error_received(self, connection: Connection, body: bytes) -> None:
        """Log an ERROR that answers no submission."""
        connection.tally.errors += 1
        # Once a connection: a server could send any number of them.
        if not connection.complained:
            connection.complained = True
            text = framing.error_text(body)
            LOG.warning("job server %s answered ERROR: %s", connection.server, text)
