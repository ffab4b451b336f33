# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Functions that are registered to be seen, and never worked on.

They have connections of their own: CANT_DO requeues jobs of its connection, and here
there are none.
"""

import asyncio
from collections.abc import Collection, Sequence

from gearhorn.wire import adapter, framing
from gearhorn.wire.connection import Connection, ConnectionSettings
from gearhorn.wire.pool import Pool
from gearhorn.wire.watch import Watch

_MAX_BYTES = 1024
_SHOWN = b"gearhorn-shown"


class Marker(Pool):
    """A pool that shows functions on each job server.

    :param client_id: the name that servers show for it.
    """

    def __init__(self, client_id: str, settings: ConnectionSettings, watch: Watch) -> None:
        worker = adapter.Worker(client_id)
        super().__init__(worker.greeting, settings, _MAX_BYTES, watch)
        self.shown: frozenset[str] = frozenset()
        """The functions that are to be seen now."""
        self._read: dict[Connection, asyncio.Future[None]] = {}

    async def show(self, functions: Collection[str]) -> None:
        """Show these functions from now on, and no others.

        Returns when the servers that are connected have read it, or had the time to.
        """
        self._change(functions)
        if waiting := tuple(self._read.values()):
            await asyncio.wait(waiting, timeout=self.settings.connect_timeout)

    async def close(self) -> None:
        """Show nothing more, and close all connections."""
        # Closing alone is noticed late.
        self._change(())
        await super().close()

    def _change(self, functions: Collection[str]) -> None:
        shown, self.shown = self.shown, frozenset(functions)
        packets = b"".join(
            [
                *(framing.pack(framing.CAN_DO, name.encode()) for name in self.shown - shown),
                *(framing.pack(framing.CANT_DO, name.encode()) for name in shown - self.shown),
            ]
        )
        if packets:
            for connection in self.connections.values():
                connection.write(packets)
                self._ask_if_read(connection)

    def _ask_if_read(self, connection: Connection) -> None:
        if connection not in self._read:
            self._read[connection] = connection.loop.create_future()
        # gear.Server does not answer ECHO_REQ.
        connection.write(framing.pack(framing.GET_STATUS, _SHOWN))

    def connection_ready(self, connection: Connection) -> None:
        connection.write(
            b"".join([framing.pack(framing.CAN_DO, name.encode()) for name in self.shown])
        )

    def connection_gone(self, connection: Connection) -> None:
        self._tell_read(connection)

    def packets_received(self, connection: Connection, packets: Sequence[framing.Packet]) -> None:
        for packet_type, body, _ in packets:
            if packet_type == framing.STATUS_RES and body.startswith(_SHOWN):
                self._tell_read(connection)
            else:
                self.other_packet(connection, packet_type, body)

    def _tell_read(self, connection: Connection) -> None:
        future = self._read.pop(connection, None)
        if future is not None and not future.done():
            future.set_result(None)
