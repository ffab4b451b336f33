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

A block, filled from many batches, is sent once the one before is answered, or
half of it where half a block waits already: gearmand is then never idle, and no
more is in flight. It serves all that one connection sent before it looks at
another, so what is in flight is how long others wait; that follows the server,
between bounds. (Rejected: free pipelining, with which others wait 0.4 s at the
99th percentile; one batch a block, which gives 7,500 batches of one a second
instead of 30,000.)

Batches of one lane, a topic, are written in order, each whole before the next;
lanes take turns, at most half a block each while others wait.
"""

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
BLOCK_FAST_S = 0.005
"""A full block that is answered within this makes the next one larger."""
BLOCK_MAX_BYTES = 1 << 20


class _Outbox:
    """What one connection has to send and has in flight."""

    __slots__ = (
        "answered",
        "batch",
        "cut",
        "due",
        "lanes",
        "parts",
        "routes",
        "sent",
        "size",
        "stop",
        "timed",
        "waiting",
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
        self.sent = 0
        self.answered = 0
        self.size = BLOCK_FIRST
        """How many copies may be unanswered."""
        self.timed: deque[tuple[int, float]] = deque()
        """Of each full block in flight: ``sent`` behind it, and when."""
        self.waiting = 0
        """How many copies the lanes hold."""
        self.cut = False
        """The last block had no room for more bytes: the next waits for its end."""
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
        outbox.waiting += len(batch.queues)
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
        if outbox.timed and outbox.answered >= outbox.timed[0][0]:
            self._adapt(outbox, connection.loop.time())
        self._send_soon(connection, outbox)

    @staticmethod
    def _count_answer(outbox: _Outbox, batch: Batch) -> None:
        outbox.answered += 1
        batch.created += 1
        if batch.created == outbox.stop:
            outbox.next_part()
            if batch.created == len(batch.queues) and not batch.cancelled:
                batch.listener.batch_created(batch)

    @staticmethod
    def _adapt(outbox: _Outbox, now: float) -> None:
        while outbox.timed and outbox.answered >= outbox.timed[0][0]:
            _, sent_at = outbox.timed.popleft()
            if now - sent_at <= BLOCK_FAST_S:
                outbox.size = min(BLOCK_MAX, outbox.size * 2)
            else:
                outbox.size = max(BLOCK_MIN, outbox.size // 2)

    def _send_soon(self, connection: Connection, outbox: _Outbox) -> None:
        """Send a block if all is answered, or half of it and half one waits.

        Not at once: what else this turn of the loop submits goes with it.
        """
        unanswered = outbox.sent - outbox.answered
        half = outbox.size // 2
        if (
            outbox.waiting
            and not outbox.due
            and (not unanswered or (not outbox.cut and unanswered <= half <= outbox.waiting))
        ):
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
        full = self._fill(outbox, parts)
        if parts:
            connection.write(b"".join(parts))
            connection.flush()
            if full:
                outbox.timed.append((outbox.sent, connection.loop.time()))
            if outbox.batch is None:
                outbox.next_part()

    @staticmethod
    def _fill(outbox: _Outbox, parts: list[bytes]) -> bool:
        """Take a block from the lanes, each in its turn; whether it is full."""
        lanes = outbox.lanes
        room = outbox.size - (outbox.sent - outbox.answered)
        share = max(1, room // 2)
        bytes_room = BLOCK_MAX_BYTES
        while room > 0 and bytes_room > 0 and lanes:
            lane, batches = next(iter(lanes.items()))
            turn = room if len(lanes) == 1 else min(share, room)
            while turn > 0 and bytes_room > 0 and batches:
                batch = batches[0]
                if batch.cancelled:
                    batches.popleft()
                    outbox.waiting -= len(batch.queues) - batch.written
                    continue
                start = batch.written
                fits = bytes_room // batch.packet_bytes
                if not fits and parts:
                    # Its lane has the first turn of the next block.
                    outbox.cut = True
                    return True
                stop = min(start + turn, start + max(1, fits), len(batch.queues))
                batch.pack(start, stop, parts)
                batch.written = stop
                outbox.parts.append((batch, stop))
                outbox.sent += stop - start
                outbox.waiting -= stop - start
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
        outbox.cut = bytes_room <= 0
        return room <= 0 or outbox.cut

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
