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
"""The client on the loop: submits copies in blocks, matches replies in order.

A connection has one block in flight, filled from many batches and fully
answered before the next. gearmand serves all that one connection sent before
it looks at another, so the size of a block is how long others wait; it follows
the server, between bounds. (Rejected: free pipelining, with which others wait
0.4 s at the 99th percentile; one batch a block, which gives 7,500 batches of
one a second instead of 30,000.)

Batches of one lane, a topic, are written in order, each whole before the next;
lanes take turns, at most half a block each while others wait.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

import gear
from gear import constants

from gearhorn.wire import framing
from gearhorn.wire.client import Connection, LoopClient
from gearhorn.wire.servers import Server, Settings, Watch

BLOCK_FIRST = 32
BLOCK_MIN = 8
BLOCK_MAX = 1000
BLOCK_FAST_S = 0.005
"""A full block that is answered within this makes the next one larger."""
BLOCK_MAX_BYTES = 1 << 20


class Listener(Protocol):
    """Who is told what becomes of a batch."""

    def batch_written(self, batch: "Batch") -> None:
        """All copies of a foreground batch are on their way."""

    def batch_created(self, batch: "Batch") -> None:
        """The server has answered each copy: it is queued, or was refused."""

    def batch_lost(self, batch: "Batch") -> None:
        """The server is gone; copies from ``batch.created`` on are unanswered.

        What is left of the batch is the listener's to submit again.
        """

    def copy_created(self, copy: "Copy") -> None:
        """The server queued a foreground copy; its answer is waited for."""

    def copy_refused(self, batch: "Batch", index: int) -> None:
        """The server answered a copy with an ERROR packet."""

    def copy_answered(self, copy: "Copy", packet_type: int, data: bytes) -> None:
        """The receiver of a foreground copy answered.

        ``packet_type`` is WORK_DATA, WORK_COMPLETE, WORK_FAIL or
        WORK_EXCEPTION; only the first is not the last.
        """

    def copy_lost(self, copy: "Copy") -> None:
        """The server was lost between taking a copy and its answer."""


class Batch:
    """Copies of one payload for queues on one server.

    :param lane: what it takes turns as, and in whose order it is written.
    :param queues: the names of the queues.
    :param keys: what the listener calls each copy.
    :param uniques: the unique of each group of queues.
    :param groups: which group each queue is in; ``None`` where there is one.
    :param longest_queue: the bytes of the longest name.
    """

    __slots__ = (
        "_middles",
        "cancelled",
        "created",
        "foreground",
        "groups",
        "keys",
        "lane",
        "listener",
        "longest_queue",
        "packet_type",
        "payload",
        "queues",
        "written",
    )

    def __init__(
        self,
        listener: Listener,
        lane: str,
        *,
        priority: str,
        foreground: bool,
        queues: Sequence[bytes],
        keys: Sequence[str],
        uniques: Sequence[bytes],
        groups: Sequence[int] | None,
        payload: bytes,
        longest_queue: int,
    ) -> None:
        self.listener = listener
        self.lane = lane
        self.packet_type = framing.SUBMIT_TYPES[not foreground, priority]
        self.foreground = foreground
        self.queues = queues
        self.keys = keys
        self.groups = groups
        self.payload = payload
        self.longest_queue = longest_queue
        self.written = 0
        self.created = 0
        self.cancelled = False
        self._middles = [b"\0" + unique + b"\0" for unique in uniques]

    @property
    def packet_bytes(self) -> int:
        """The size of its largest packet."""
        return (
            framing.HEADER_BYTES + self.longest_queue + len(self._middles[-1]) + len(self.payload)
        )

    def cancel(self) -> None:
        """Write no more of it and tell its listener nothing more."""
        self.cancelled = True

    def pack(self, start: int, stop: int, parts: list[bytes]) -> None:
        """Append the packets of the copies from ``start`` to ``stop``."""
        packet_type = self.packet_type
        payload = self.payload
        groups = self.groups
        header = framing.header
        append = parts.append
        if groups is None:
            middle = self._middles[0]
            rest = len(middle) + len(payload)
            headers: dict[int, bytes] = {}
            for queue in self.queues[start:stop]:
                size = len(queue)
                head = headers.get(size)
                if head is None:
                    head = headers[size] = header(packet_type, size + rest)
                append(head)
                append(queue)
                append(middle)
                append(payload)
            return
        middles = self._middles
        size = len(payload)
        for queue, group in zip(self.queues[start:stop], groups[start:stop], strict=True):
            middle = middles[group]
            append(header(packet_type, len(queue) + len(middle) + size))
            append(queue)
            append(middle)
            append(payload)


class Copy:
    """A foreground copy that a server has queued and no one has answered."""

    __slots__ = ("batch", "handle", "index", "routes")

    def __init__(
        self,
        batch: Batch,
        index: int,
        handle: bytes,
        routes: "dict[bytes, deque[Copy]]",
    ) -> None:
        self.batch = batch
        self.index = index
        self.handle = handle
        self.routes = routes

    @property
    def key(self) -> str:
        """What the listener calls this copy."""
        return self.batch.keys[self.index]

    def forget(self) -> None:
        """Drop the answer, if it still comes."""
        copies = self.routes.get(self.handle)
        if copies is not None and self in copies:
            copies.remove(self)
            if not copies:
                del self.routes[self.handle]


class _Outbox:
    """What one connection has to send and has in flight."""

    __slots__ = (
        "batch",
        "block",
        "due",
        "full",
        "lanes",
        "routes",
        "sent_at",
        "size",
        "stop",
    )

    def __init__(self) -> None:
        self.lanes: dict[str, deque[Batch]] = {}
        self.block: deque[tuple[Batch, int]] = deque()
        """The rest of the block in flight: batches, each with where its part
        of the block ends."""
        self.batch: Batch | None = None
        """The batch whose copy the next answer is for."""
        self.stop = 0
        self.size = BLOCK_FIRST
        self.full = False
        self.sent_at = 0.0
        self.due = False
        # Two copies coalesced by their unique have one handle, and each gets
        # all of the answer's packets.
        self.routes: dict[bytes, deque[Copy]] = {}

    def next_batch(self) -> bool:
        """Turn to the next part of the block; false at its end."""
        if self.block:
            self.batch, self.stop = self.block.popleft()
            return True
        self.batch = None
        return False


class Submitter(LoopClient, gear.Client):
    """Submits batches to the servers it is connected to."""

    def __init__(self, client_id: str, settings: Settings, max_bytes: int, watch: Watch) -> None:
        super().__init__(client_id, settings, max_bytes, watch)
        # Without it gearmand turns a receiver's WORK_EXCEPTION into a
        # WORK_FAIL with a NUL behind the handle.
        self.options.add(b"exceptions")
        self._outboxes: dict[Connection, _Outbox] = {}

    @property
    def servers(self) -> Mapping[Server, Connection]:
        """The servers that take copies now."""
        return self.connections

    def submit(self, connection: Connection, batch: Batch) -> None:
        """Send ``batch``, after what its lane holds for that connection."""
        outbox = self._outboxes[connection]
        lane = outbox.lanes.get(batch.lane)
        if lane is None:
            lane = outbox.lanes[batch.lane] = deque()
        lane.append(batch)
        if outbox.batch is None and not outbox.due:
            # Not at once: what else this turn of the loop submits goes into
            # the same block.
            outbox.due = True
            connection.loop.call_soon(self._send_block, connection)

    def packets_received(
        self, connection: Connection, packets: Sequence[tuple[int, bytes]]
    ) -> None:
        outbox = self._outboxes.get(connection)
        for packet_type, body in packets:
            if outbox is None:
                self.other_packet(connection, packet_type, body)
            elif packet_type == constants.JOB_CREATED:
                batch = outbox.batch
                if batch is None:
                    connection.abort("it created a job that was not asked for")
                    return
                if batch.foreground and not batch.cancelled:
                    self._route(outbox, batch, body)
                batch.created += 1
                if batch.created == outbox.stop:
                    self._part_answered(connection, outbox, batch)
            elif packet_type == constants.WORK_COMPLETE:
                handle, _, data = body.partition(b"\0")
                self._answered(outbox, packet_type, handle, data)
            else:
                self._other_answer(connection, outbox, packet_type, body)

    @staticmethod
    def _route(outbox: _Outbox, batch: Batch, handle: bytes) -> None:
        copy = Copy(batch, batch.created, handle, outbox.routes)
        copies = outbox.routes.get(handle)
        if copies is None:
            outbox.routes[handle] = deque((copy,))
        else:
            copies.append(copy)
        batch.listener.copy_created(copy)

    def _part_answered(self, connection: Connection, outbox: _Outbox, batch: Batch) -> None:
        if batch.created == len(batch.queues) and not batch.cancelled:
            batch.listener.batch_created(batch)
        if not outbox.next_batch():
            if outbox.full:
                self._adapt(outbox, connection.loop.time() - outbox.sent_at)
            if outbox.lanes and not outbox.due:
                outbox.due = True
                connection.loop.call_soon(self._send_block, connection)

    @staticmethod
    def _adapt(outbox: _Outbox, elapsed: float) -> None:
        if elapsed <= BLOCK_FAST_S:
            outbox.size = min(BLOCK_MAX, outbox.size * 2)
        else:
            outbox.size = max(BLOCK_MIN, outbox.size // 2)

    def _other_answer(
        self,
        connection: Connection,
        outbox: _Outbox,
        packet_type: int,
        body: bytes,
    ) -> None:
        kind = packet_type & ~framing.OVERSIZE
        if kind in (
            constants.WORK_COMPLETE,
            constants.WORK_FAIL,
            constants.WORK_EXCEPTION,
            constants.WORK_DATA,
        ):
            handle, _, data = body.partition(b"\0")
            self._answered(outbox, packet_type, handle, data)
        elif kind == constants.ERROR and outbox.batch is not None:
            # Replies come in the order of requests and the connection sends
            # nothing but submissions, so it is this copy's.
            batch = outbox.batch
            if not batch.cancelled:
                batch.listener.copy_refused(batch, batch.created)
            batch.created += 1
            if batch.created == outbox.stop:
                self._part_answered(connection, outbox, batch)
        elif kind not in (constants.WORK_STATUS, constants.WORK_WARNING):
            self.other_packet(connection, packet_type, body)

    @staticmethod
    def _answered(outbox: _Outbox, packet_type: int, handle: bytes, data: bytes) -> None:
        copies = outbox.routes.get(handle)
        if copies is None:
            return
        copy = copies[0]
        if packet_type & ~framing.OVERSIZE == constants.WORK_DATA:
            copies.rotate(-1)
        else:
            copies.popleft()
            if not copies:
                del outbox.routes[handle]
        copy.batch.listener.copy_answered(copy, packet_type, data)

    def _send_block(self, connection: Connection) -> None:
        outbox = self._outboxes.get(connection)
        if outbox is None:
            return
        outbox.due = False
        parts: list[bytes] = []
        self._fill(outbox, parts)
        if parts:
            connection.write(b"".join(parts))
            connection.flush()
            outbox.sent_at = connection.loop.time()
            outbox.next_batch()

    @staticmethod
    def _fill(outbox: _Outbox, parts: list[bytes]) -> None:
        """Take a block from the lanes, each in its turn."""
        lanes = outbox.lanes
        room = outbox.size
        bytes_room = BLOCK_MAX_BYTES
        while room > 0 and bytes_room > 0 and lanes:
            lane, batches = next(iter(lanes.items()))
            turn = room if len(lanes) == 1 else max(1, outbox.size // 2)
            turn = min(turn, room)
            while turn > 0 and bytes_room > 0 and batches:
                batch = batches[0]
                if batch.cancelled:
                    batches.popleft()
                    continue
                start = batch.written
                fits = max(1, bytes_room // batch.packet_bytes)
                stop = min(start + turn, start + fits, len(batch.queues))
                batch.pack(start, stop, parts)
                batch.written = stop
                outbox.block.append((batch, stop))
                turn -= stop - start
                room -= stop - start
                bytes_room -= (stop - start) * batch.packet_bytes
                if stop == len(batch.queues):
                    batches.popleft()
                    if batch.foreground:
                        batch.listener.batch_written(batch)
            del lanes[lane]
            if batches:
                lanes[lane] = batches
        outbox.full = room <= 0 or bytes_room <= 0

    def _onActiveConnection(self, conn: Connection) -> None:
        self._outboxes[conn] = _Outbox()

    def _lostConnection(self, conn: Connection) -> None:
        outbox = self._outboxes.pop(conn)
        # Insertion order keeps the order in which a lane was submitted: what
        # was in flight comes first. Each batch once, though a part of it is
        # in the block and the rest in its lane.
        batches = dict.fromkeys([outbox.batch] if outbox.batch is not None else [])
        batches.update(dict.fromkeys(batch for batch, _ in outbox.block))
        for lane in outbox.lanes.values():
            batches.update(dict.fromkeys(lane))
        copies = [copy for held in outbox.routes.values() for copy in held]
        for copy in copies:
            if not copy.batch.cancelled:
                copy.batch.listener.copy_lost(copy)
        for batch in batches:
            if not batch.cancelled:
                batch.listener.batch_lost(batch)
