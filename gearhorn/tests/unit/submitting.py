# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A submitter and a job server that is played, and batches for it, for tests of the submitter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gearhorn.tests import packets as wire
from gearhorn.tests.fake import Conversation, FakeServer
from gearhorn.tests.packets import Packet
from gearhorn.wire.batch import Batch, Copy, Listener
from gearhorn.wire.connection import Connection, ConnectionSettings
from gearhorn.wire.submitter import Submitter
from gearhorn.wire.watch import Watch

FAST = ConnectionSettings(reconnect_max=0.05)


class Told(Listener):
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
        self.copies: dict[str, Copy] = {}

    async def next(self) -> tuple[object, ...]:
        return await asyncio.wait_for(self.events.get(), 10)

    async def expect(self, *events: tuple[object, ...]) -> None:
        assert [await self.next() for _ in events] == list(events)

    def batch_written(self, batch: Batch) -> None:
        self.events.put_nowait(("written",))

    def batch_created(self, batch: Batch) -> None:
        self.events.put_nowait(("created",))

    def batch_lost(self, batch: Batch) -> None:
        self.events.put_nowait(("lost", batch.created))

    def copy_created(self, copy: Copy) -> None:
        self.copies[copy.key] = copy

    def copy_refused(self, batch: Batch, index: int, *, full: bool) -> None:
        self.events.put_nowait(("full" if full else "refused", batch.keys[index]))

    def copy_answered(self, copy: Copy, packet_type: int, data: bytes, whole: bool) -> None:
        what = "answered" if whole else "answered at length"
        self.events.put_nowait((what, copy.key, packet_type, data))

    def copies_lost(self, copies: Sequence[Copy]) -> None:
        self.events.put_nowait(("copies lost", *(copy.key for copy in copies)))


def batch(
    told: Told,
    copies: int | Sequence[str] = 1,
    *,
    lane: str = "t",
    foreground: bool = False,
    priority: str = "normal",
    payload: bytes = b"payload",
    uniques: Sequence[bytes] = (b"unique",),
    groups: Sequence[int] | None = None,
) -> Batch:
    keys = [f"c{n}" for n in range(copies)] if isinstance(copies, int) else copies
    queues = [f"{lane}_{key}".encode() for key in keys]
    return Batch(
        told,
        lane,
        priority=priority,
        foreground=foreground,
        queues=queues,
        keys=keys,
        uniques=uniques,
        groups=groups,
        payload=payload,
        longest_queue=max(map(len, queues)),
    )


class Link:
    """A submitter and the server that it is connected to."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.submitter = Submitter("worker-1", FAST, 1 << 20, Watch())
        self.submitter.connect([server.address])
        self.there: Conversation
        self._handles = 0

    async def connected(self) -> Link:
        self.there = await self.server.accept()
        while not self.submitter.servers or self.connection.lost.done():
            await self.there.settle()
        return self

    @property
    def connection(self) -> Connection:
        return self.submitter.servers[self.server.address]

    def submit(self, *batches: Batch) -> None:
        for one in batches:
            self.submitter.submit(self.connection, one)

    async def sent(self) -> list[Packet]:
        """Wait for a packet, and return all that were sent and not yet answered."""
        packets = [await self.there.receive()]
        await self.there.settle()
        return packets + [await self.there.receive() for _ in range(self.there.pending)]

    def create(self, count: int = 1, handle: bytes | None = None) -> None:
        for _ in range(count):
            self._handles += 1
            self.there.send(wire.JOB_CREATED, handle or b"H:%d" % self._handles)


def queues_of(packets: Sequence[Packet]) -> list[str]:
    return [packet.body.split(b"\0")[0].decode() for packet in packets]
