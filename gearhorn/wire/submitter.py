# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The client: submits copies in blocks and matches replies in order.

A block, filled from many batches, is sent once the block before is answered.
(Rejected: free pipelining, or a block as soon as half of the last is answered,
with both of which others wait 0.4 s at the 99th percentile; one batch a block,
which gives 7,500 batches of one copy a second instead of 30,000.)

Batches of one lane, a topic, are written in order, each whole before the next.
Lanes take turns, with at most half a block each while others wait.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from gearhorn import clock
from gearhorn.wire import adapter, framing
from gearhorn.wire.address import Address
from gearhorn.wire.batch import AwaitedCopies, Batch, Copy, Listener
from gearhorn.wire.block import Block, BlockSize
from gearhorn.wire.connection import Connection, ConnectionSettings
from gearhorn.wire.pool import Pool
from gearhorn.wire.watch import Watch

# Without this option gearmand turns a receiver's WORK_EXCEPTION into a WORK_FAIL
# with a NUL behind the handle.
_OPTIONS = (b"exceptions",)


class _Outbox:
    """The copies that one connection has to send, and those in flight."""

    __slots__ = ("awaited", "block", "due", "lanes", "size")

    def __init__(self) -> None:
        self.lanes: dict[str, deque[Batch]] = {}
        """The batches that wait, by topic, in the order of turns."""
        self.size = BlockSize()
        self.block: Block | None = None
        """The block in flight."""
        self.due = False
        """True if the next block will be sent in this turn of the loop."""
        self.awaited = AwaitedCopies()


class Submitter(Pool):
    """A pool of connections on which batches are submitted.

    :param client_id: the name of its tasks.
    """

    def __init__(
        self, client_id: str, settings: ConnectionSettings, max_bytes: int, watch: Watch
    ) -> None:
        client = adapter.Client(client_id, _OPTIONS)
        super().__init__(client.greeting, settings, max_bytes, watch)
        self._outboxes: dict[Connection, _Outbox] = {}
        self.on_block: Callable[[Address, int, int], None] = lambda server, copies, size: None
        """Called with a server when a block is sent to it, its copies and their bytes."""
        self.servers: Mapping[Address, Connection] = self.connections
        """The servers that take copies now."""
        self.heard_at = clock.now()
        """When a server was last heard, or lost, on :func:`gearhorn.clock.now`. What that ends
        takes the time from here, so that it is read once for all."""

    def load(self, server: Address) -> tuple[int, int, int]:
        """Return the size of the next block, and the copies not sent and not answered.

        :returns: zeros for a server that is away.
        """
        connection = self.connections.get(server)
        if connection is None:
            return 0, 0, 0
        outbox = self._outboxes[connection]
        unsent = sum(
            batch.count - batch.written
            for lane in outbox.lanes.values()
            for batch in lane
            if not batch.cancelled
        )
        unanswered = 0 if outbox.block is None else outbox.block.unanswered
        return outbox.size.copies, unsent, unanswered

    def submit(self, connection: Connection, batch: Batch) -> None:
        """Send ``batch`` after those that its lane holds for that connection."""
        outbox = self._outboxes[connection]
        lane = outbox.lanes.get(batch.lane)
        if lane is None:
            lane = outbox.lanes[batch.lane] = deque()
        lane.append(batch)
        batch.tally = connection.tally
        self._send_soon(connection, outbox)

    def under_way(self, server: Address) -> tuple[list[Batch], int]:
        """Return the batches of which the server has not answered every copy, and the
        number of copies that were sent to it and are unanswered."""
        connection = self.connections.get(server)
        if connection is None:
            return [], 0
        outbox = self._outboxes[connection]
        batches = [batch for lane in outbox.lanes.values() for batch in lane]
        if outbox.block is None:
            return batches, 0
        # One can be in both.
        sent = dict.fromkeys(outbox.block.batches())
        return list(sent | dict.fromkeys(batches)), outbox.block.unanswered

    def packets_received(self, connection: Connection, packets: Sequence[framing.Packet]) -> None:
        outbox = self._outboxes.get(connection)
        if outbox is None:
            for packet_type, body, _ in packets:
                self.other_packet(connection, packet_type, body)
            return
        self.heard_at = clock.now()
        awaited = outbox.awaited
        block = outbox.block
        for packet_type, body, whole in packets:
            if packet_type == framing.JOB_CREATED:
                batch = None if block is None else block.batch
                if block is None or batch is None:
                    connection.abort("it created a job that was not asked for")
                    return
                if batch.foreground and not batch.cancelled:
                    copy = Copy(batch, batch.keys[batch.created], body, awaited)
                    awaited.add(copy)
                    batch.listener.copy_created(copy)
                block.count_answer()
            elif packet_type == framing.WORK_COMPLETE:
                handle, _, data = body.partition(b"\0")
                answered = awaited.last(handle)
                if answered is not None:
                    answered.batch.listener.copy_answered(answered, packet_type, data, whole)
            else:
                self._other_answer(connection, outbox, packet_type, body, whole)
        if block is not None and not block.unanswered:
            took = connection.loop.time() - block.sent_at
            outbox.size.note(block.counts_as, took)
            connection.tally.blocks.note(took)
            outbox.block = None
            self._send_soon(connection, outbox)

    def _other_answer(
        self,
        connection: Connection,
        outbox: _Outbox,
        packet_type: int,
        body: bytes,
        whole: bool,
    ) -> None:
        block = outbox.block
        if packet_type in framing.ANSWERS:
            handle, _, data = body.partition(b"\0")
            awaited = outbox.awaited
            is_part = packet_type == framing.WORK_DATA
            copy = awaited.part(handle) if is_part else awaited.last(handle)
            if copy is not None:
                copy.batch.listener.copy_answered(copy, packet_type, data, whole)
        elif packet_type == framing.ERROR and block is not None and block.batch is not None:
            # Replies come in the order of requests, and the connection sends only
            # submissions: the ERROR answers the next copy.
            batch = block.batch
            connection.tally.errors += 1
            if not batch.cancelled:
                full = framing.is_queue_full(body)
                batch.listener.copy_refused(batch, batch.created, full=full)
            # Not before: that may end the fan-out, which counts what is queued by then.
            batch.refused += 1
            block.count_answer()
        elif packet_type in (framing.WORK_STATUS, framing.WORK_WARNING):
            handle, _, data = body.partition(b"\0")
            copy = outbox.awaited.by_handle.get(handle)
            if copy is not None:
                copy.batch.listener.copy_told(copy, packet_type, data)
        else:
            self.other_packet(connection, packet_type, body)

    def _send_soon(self, connection: Connection, outbox: _Outbox) -> None:
        """Send a block at the end of this turn of the loop, unless one is unanswered.

        Batches that are submitted in the same turn go with it.
        """
        if outbox.lanes and not outbox.due and outbox.block is None:
            outbox.due = True
            connection.loop.call_soon(self._send_block, connection)

    def _send_block(self, connection: Connection) -> None:
        outbox = self._outboxes.get(connection)
        if outbox is None:
            return
        outbox.due = False
        block = _fill(outbox.lanes, outbox.size.copies)
        if block.unanswered:
            outbox.block = block
            packets = block.packets()
            connection.write(packets)
            connection.flush()
            self.on_block(connection.server, block.unanswered, len(packets))
            block.sent(connection.loop.time())

    def connection_ready(self, connection: Connection) -> None:
        self._outboxes[connection] = _Outbox()

    def connection_gone(self, connection: Connection) -> None:
        self.heard_at = clock.now()
        outbox = self._outboxes.pop(connection)
        # In the order in which each lane was submitted: what was in flight comes
        # first. Each batch once, even if a part of it is in the block and the rest
        # in its lane.
        batches = dict.fromkeys(outbox.block.batches() if outbox.block is not None else ())
        for lane in outbox.lanes.values():
            batches.update(dict.fromkeys(lane))
        lost: dict[Listener, list[Copy]] = {}
        for copy in outbox.awaited.all():
            if not copy.batch.cancelled:
                lost.setdefault(copy.batch.listener, []).append(copy)
        for listener, copies in lost.items():
            listener.copies_lost(copies)
        for batch in batches:
            if not batch.cancelled:
                batch.listener.batch_lost(batch)


def _fill(lanes: dict[str, deque[Batch]], size: int) -> Block:
    """Return a block of at most ``size`` copies, taken from the lanes in turn."""
    block = Block(size, alone=len(lanes) == 1)
    while lanes and not block.full:
        lane, batches = next(iter(lanes.items()))
        turn = block.turn(alone=len(lanes) == 1)
        while turn > 0 and batches and not block.full:
            batch = batches[0]
            if batch.cancelled:
                batches.popleft()
                continue
            if batch.foreground:
                turn = min(turn, block.allows(batch))
            added = block.add(batch, turn)
            if not added:
                # The lane stays first, and has the first turn of the next block.
                return block
            turn -= added
            if batch.written == batch.count:
                batches.popleft()
                if batch.foreground:
                    batch.listener.batch_written(batch)
        del lanes[lane]
        if batches:
            lanes[lane] = batches
    return block
