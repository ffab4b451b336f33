# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Taking what waits in a queue, page by page, to fail it or to leave it.

A page is held until it is failed. If the connection is closed instead, the job server
has its jobs again: gearmand puts them back into the queue.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gearhorn.wire import admin, framing
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings

PAGE = 1000
"""The most jobs that are held at a time."""


class Pages:
    """The pages of a queue on one job server."""

    def __init__(
        self,
        queue: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._queue = queue.encode()
        self._reader = reader
        self._writer = writer
        # Of a job its head is enough.
        self._packets = framing.PacketReader(framing.OVERSIZE_HEAD_BYTES)
        self._held: list[bytes] = []

    async def take(self) -> int:
        """Take a page, and return the number of its jobs; 0 if nothing waits."""
        self._writer.write(framing.pack(framing.GRAB_JOB_UNIQ) * PAGE)
        answers = 0
        while answers < PAGE:
            for packet_type, body, _ in self._packets.feed(await admin.read_some(self._reader)):
                if packet_type == framing.JOB_ASSIGN_UNIQ:
                    self._held.append(body.partition(b"\0")[0])
                answers += packet_type in (framing.NO_JOB, framing.JOB_ASSIGN_UNIQ)
        return len(self._held)

    def fail(self) -> None:
        """Answer the page that is held with WORK_FAIL: its jobs are gone."""
        held, self._held = self._held, []
        self._writer.write(b"".join(framing.pack(framing.WORK_FAIL, handle) for handle in held))

    async def end(self) -> None:
        """Give the queue up, so that no worker is seen there any more."""
        # No job is held that CANT_DO would requeue. NO_JOB says that it is done: closing
        # is noticed late.
        cant_do = framing.pack(framing.CANT_DO, self._queue)
        self._writer.write(cant_do + framing.pack(framing.GRAB_JOB_UNIQ))
        await self._reader.readexactly(framing.HEADER_BYTES)

    def start(self) -> None:
        """Do the queue."""
        self._writer.write(framing.pack(framing.CAN_DO, self._queue))


@asynccontextmanager
async def pages(server: Address, settings: ConnectionSettings, queue: str) -> AsyncIterator[Pages]:
    """Connect to a server to take what waits in a queue.

    What is held at the end, and was not failed, is the server's again.

    :raises ServerLost: the server is away.
    """
    async with admin.connected(server, settings) as streams:
        found = Pages(queue, *streams)
        found.start()
        yield found
