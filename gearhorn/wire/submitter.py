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

A block, filled from many batches, is sent once the one before is answered.
gearmand serves all that one connection sent before it looks at another, so the
size of a block is how long others wait; it follows the server, between bounds.
(Rejected: free pipelining, or a next block when half of the last is answered,
with which others wait 0.4 s at the 99th percentile; one batch a block, which
gives 7,500 batches of one a second instead of 30,000.)

Batches of one lane, a topic, are written in order, each whole before the next;
lanes take turns, at most half a block each while others wait.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence

import gear
from gear import constants

from gearhorn.wire import framing
from gearhorn.wire.batch import Batch, Copy, Routes
from gearhorn.wire.client import Connection, LoopClient
from gearhorn.wire.servers import Server, Settings, Watch

BLOCK_FIRST = 32
BLOCK_MIN = 8
BLOCK_MAX = 1000
BLOCK_MAX_FOREGROUND = 200
"""Of copies whose answers are waited for: receivers work while the rest is sent."""
BLOCK_AIM_S = 0.002
"""How long a full block is to take, beside the way to the server and back: the
next holds more or fewer copies for it."""
BLOCK_MAX_BYTES = 1 << 20


class _Outbox:
    """What one connection has to send and has in flight."""

    __slots__ = (
        "batch",
        "due",
        "full",
        "lanes",
        "least_s",
        "parts",
        "routes",
        "sent_at",
        "size",
        "stop",
        "unanswered",
    )

    def __init__(self) -> None:
        self.lanes: dict[str, deque[Batch]] = {}
        self.parts: deque[tuple[Batch, int]] = deque()
        """What is in flight behind ``batch``: batches, each with where the
        part of it that was sent at one time ends."""
        self.batch: Batch | None = None
        """The batch whose copy the next answer is for."""
        self.stop = 0
        """Where the part of it ends that is in flight."""
        self.size = BLOCK_FIRST
        """How many copies the next block may hold."""
        self.unanswered = 0
        """How many are in flight."""
        self.sent_at: float | None = None
        """When the block in flight was sent; ``None`` while there is none."""
        self.full = 0
        """How many copies its time stands for; 0 if it could have held more."""
        self.least_s = math.inf
        """What the quickest block took: the way to the server and back."""
        self.due = False
        self.routes = Routes()

    def next_part(self) -> None:
        """Turn to the next part in flight, if there is one."""
        if self.parts:
            self.batch, self.stop = self.parts.popleft()
        else:
            self.batch = None


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
        self._send_soon(connection, outbox)

    def packets_received(
        self, connection: Connection, packets: Sequence[tuple[int, bytes]]
    ) -> None:
        outbox = self._outboxes.get(connection)
        if outbox is None:
            for packet_type, body in packets:
                self.other_packet(connection, packet_type, body)
            return
        routes = outbox.routes
        for packet_type, body in packets:
            if packet_type == constants.JOB_CREATED:
                batch = outbox.batch
                if batch is None:
                    connection.abort("it created a job that was not asked for")
                    return
                if batch.foreground and not batch.cancelled:
                    copy = Copy(batch, batch.keys[batch.created], body, routes)
                    routes.add(copy)
                    batch.listener.copy_created(copy)
                self._count_answer(outbox, batch)
            elif packet_type == constants.WORK_COMPLETE:
                handle, _, data = body.partition(b"\0")
                answered = routes.last(handle)
                if answered is not None:
                    answered.batch.listener.copy_answered(answered, packet_type, data)
            else:
                self._other_answer(connection, outbox, packet_type, body)
        if outbox.sent_at is not None and not outbox.unanswered:
            self._adapt(outbox, connection.loop.time() - outbox.sent_at)
            outbox.sent_at = None
            self._send_soon(connection, outbox)

    @staticmethod
    def _count_answer(outbox: _Outbox, batch: Batch) -> None:
        outbox.unanswered -= 1
        batch.created += 1
        if batch.created == outbox.stop:
            outbox.next_part()
            if batch.created == len(batch.queues) and not batch.cancelled:
                batch.listener.batch_created(batch)

    @staticmethod
    def _adapt(outbox: _Outbox, took_s: float) -> None:
        outbox.least_s = min(outbox.least_s, took_s)
        if outbox.full:
            aim = int(outbox.full * BLOCK_AIM_S / max(took_s - outbox.least_s, 1e-6))
            size = outbox.size
            outbox.size = max(BLOCK_MIN, size // 2, min(BLOCK_MAX, size * 2, aim))

    def _send_soon(self, connection: Connection, outbox: _Outbox) -> None:
        """Send a block, unless one is unanswered.

        Not at once: what else this turn of the loop submits goes with it.
        """
        if outbox.lanes and not outbox.due and not outbox.unanswered:
            outbox.due = True
            connection.loop.call_soon(self._send_block, connection)

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
            routes = outbox.routes
            copy = routes.part(handle) if kind == constants.WORK_DATA else routes.last(handle)
            if copy is not None:
                copy.batch.listener.copy_answered(copy, packet_type, data)
        elif kind == constants.ERROR and outbox.batch is not None:
            # Replies come in the order of requests and the connection sends
            # nothing but submissions, so it is this copy's.
            batch = outbox.batch
            if not batch.cancelled:
                batch.listener.copy_refused(batch, batch.created)
            self._count_answer(outbox, batch)
        elif kind in (constants.WORK_STATUS, constants.WORK_WARNING):
            handle, _, data = body.partition(b"\0")
            copy = outbox.routes.by_handle.get(handle)
            if copy is not None:
                self.copy_told(copy, packet_type, data)
        else:
            self.other_packet(connection, packet_type, body)

    def copy_told(self, copy: Copy, packet_type: int, data: bytes) -> None:
        """A receiver sent WORK_STATUS or WORK_WARNING; the daemon passes over it."""

    def _send_block(self, connection: Connection) -> None:
        outbox = self._outboxes.get(connection)
        if outbox is None:
            return
        outbox.due = False
        parts: list[bytes] = []
        outbox.full = self._fill(outbox, parts)
        if parts:
            connection.write(b"".join(parts))
            connection.flush()
            outbox.sent_at = connection.loop.time()
            outbox.next_part()

    @staticmethod
    def _fill(outbox: _Outbox, parts: list[bytes]) -> int:
        """Take a block from the lanes, each in its turn.

        :returns: how many copies the block counts as when it is timed: 0 if it
            is not full, and its whole size if it is full of bytes.
        """
        lanes = outbox.lanes
        room = outbox.size
        share = max(1, room // 2)
        foreground_room = BLOCK_MAX_FOREGROUND
        foreground_share = foreground_room if len(lanes) == 1 else foreground_room // 2
        bytes_room = BLOCK_MAX_BYTES
        while room > 0 and bytes_room > 0 and lanes:
            lane, batches = next(iter(lanes.items()))
            turn = room if len(lanes) == 1 else min(share, room)
            while turn > 0 and bytes_room > 0 and batches:
                batch = batches[0]
                if batch.cancelled:
                    batches.popleft()
                    continue
                if batch.foreground:
                    if not foreground_room:
                        return outbox.unanswered
                    turn = min(turn, foreground_room, foreground_share)
                start = batch.written
                fits = bytes_room // batch.packet_bytes
                if not fits and parts:
                    # Its lane has the first turn of the next block.
                    return outbox.size
                count = min(turn, max(1, fits), len(batch.queues) - start)
                batch.pack(start, start + count, parts)
                batch.written += count
                outbox.parts.append((batch, batch.written))
                outbox.unanswered += count
                turn -= count
                room -= count
                bytes_room -= count * batch.packet_bytes
                if batch.foreground:
                    foreground_room -= count
                if batch.written == len(batch.queues):
                    batches.popleft()
                    if batch.foreground:
                        batch.listener.batch_written(batch)
            del lanes[lane]
            if batches:
                lanes[lane] = batches
        return outbox.size if room <= 0 or bytes_room <= 0 else 0

    def _onActiveConnection(self, conn: Connection) -> None:
        self._outboxes[conn] = _Outbox()

    def _lostConnection(self, conn: Connection) -> None:
        outbox = self._outboxes.pop(conn)
        # Insertion order keeps the order in which a lane was submitted: what
        # was in flight comes first. Each batch once, though a part of it is
        # in the block and the rest in its lane.
        batches = dict.fromkeys([outbox.batch] if outbox.batch is not None else [])
        batches.update(dict.fromkeys(batch for batch, _ in outbox.parts))
        for lane in outbox.lanes.values():
            batches.update(dict.fromkeys(lane))
        for copy in outbox.routes.all():
            if not copy.batch.cancelled:
                copy.batch.listener.copy_lost(copy)
        for batch in batches:
            if not batch.cancelled:
                batch.listener.batch_lost(batch)
