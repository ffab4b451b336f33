# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Blocks: the copies that go to a job server in one write.

gearmand serves all that one connection has sent before it looks at another, so
others wait for a whole block. Its size follows the server, between bounds.
"""

import math
from collections import deque
from collections.abc import Iterator

from gearhorn.wire.batch import Batch

FIRST = 32
LEAST = 8
MOST = 1000
MOST_FOREGROUND = 200
"""The most foreground copies: while gearmand takes a block, receivers get no job."""
AIM_S = 0.002
"""The seconds that a full block is to take, beside the way to the server and back."""
MOST_BYTES = 1 << 20


class BlockSize:
    """The size of the next block: the copies that a server takes in :data:`AIM_S`."""

    __slots__ = ("_least_s", "copies")

    def __init__(self) -> None:
        self.copies = FIRST
        self._least_s = math.inf
        """The seconds of the quickest block: the way to the server and back."""

    def note(self, copies: int, took_s: float) -> None:
        """Record that a block which counts as ``copies`` was answered in ``took_s`` seconds.

        A block that could have held more counts as none, since it tells nothing
        about a full one.
        """
        self._least_s = min(self._least_s, took_s)
        if copies:
            aim = int(copies * AIM_S / max(took_s - self._least_s, 1e-6))
            self.copies = max(LEAST, self.copies // 2, min(MOST, self.copies * 2, aim))


class Block:
    """Copies of several batches, to be sent in one write and answered in order.

    First it is filled, then its answers are counted.

    :param size: the most copies in it.
    :param alone: true if all copies come from one lane.
    """

    __slots__ = (
        "_bytes_left",
        "_foreground_left",
        "_foreground_share",
        "_left",
        "_packets",
        "_parts",
        "_share",
        "_size",
        "_stop",
        "batch",
        "counts_as",
        "full",
        "sent_at",
        "unanswered",
    )

    def __init__(self, size: int, *, alone: bool) -> None:
        self._size = self._left = size
        self._share = max(1, size // 2)
        self._bytes_left = MOST_BYTES
        self._foreground_left = MOST_FOREGROUND
        self._foreground_share = MOST_FOREGROUND if alone else MOST_FOREGROUND // 2
        self._packets: list[bytes] = []
        self._parts: deque[tuple[Batch, int]] = deque()
        """The parts in flight after that of ``batch``: for each its batch, and the
        index of the copy that follows it."""
        self._stop = 0
        """The index of the copy that follows the part of ``batch`` in flight."""
        self.full = False
        self.counts_as = 0
        """The copies that its time stands for; 0 if it could have held more."""
        self.batch: Batch | None = None
        """The batch whose copy the next answer is for."""
        self.unanswered = 0
        self.sent_at = 0.0

    # While the block is filled.

    def turn(self, *, alone: bool) -> int:
        """Return the number of copies that a lane may add in its turn."""
        return self._left if alone else min(self._share, self._left)

    def allows(self, batch: Batch) -> int:
        """Return the number of copies of the kind of ``batch`` that one turn may add."""
        if not batch.foreground:
            return self._left
        return min(self._foreground_left, self._foreground_share)

    def add(self, batch: Batch, most: int) -> int:
        """Take the next copies of ``batch``, at most ``most``.

        :returns: their number; 0 if the block is :attr:`full` without them.
        """
        packet_bytes = batch.packet_bytes
        fits = self._bytes_left // packet_bytes
        if not most:
            # The block is full of foreground copies, but not of others.
            self._close(self.unanswered)
            return 0
        if not fits and self._packets:
            self._close(self._size)
            return 0
        start = batch.written
        count = batch.count - start
        if count > most or count > fits:
            count = min(most, count, max(1, fits))
        batch.pack(start, start + count, self._packets)
        batch.written += count
        self._parts.append((batch, batch.written))
        self.unanswered += count
        self._left -= count
        self._bytes_left -= count * packet_bytes
        if batch.foreground:
            self._foreground_left -= count
        if self._left <= 0 or self._bytes_left <= 0:
            self._close(self._size)
        return count

    def _close(self, counts_as: int) -> None:
        self.full = True
        self.counts_as = counts_as

    # While the block is on its way.

    def packets(self) -> bytes:
        """Return the packets to send, and forget them."""
        data = b"".join(self._packets)
        self._packets.clear()
        return data

    def sent(self, now: float) -> None:
        """Record that the block was sent ``now``, on the loop's clock."""
        self.sent_at = now
        self._next_part()

    def count_answer(self) -> None:
        """Record that the server has answered the next copy of :attr:`batch`.

        The listener is told once the server has answered all copies of the batch.
        """
        batch = self.batch
        assert batch is not None
        self.unanswered -= 1
        batch.created += 1
        if batch.created == self._stop:
            self._next_part()
            if batch.created == batch.count:
                # Copies that wait for their answers know the batch.
                batch.drop_payload()
                if not batch.cancelled:
                    batch.listener.batch_created(batch)

    def batches(self) -> Iterator[Batch]:
        """Yield the batches with unanswered copies, in order."""
        if self.batch is not None:
            yield self.batch
        for batch, _ in self._parts:
            yield batch

    def _next_part(self) -> None:
        if self._parts:
            self.batch, self._stop = self._parts.popleft()
        else:
            self.batch = None
