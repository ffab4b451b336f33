# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Blocks of copies: what goes to a job server at one time.

gearmand serves all that one connection sent before it looks at another, so the
size of a block is how long others wait. It follows the server, between bounds.
"""

import math
from collections import deque
from collections.abc import Iterator

from gearhorn.wire.batch import Batch

FIRST = 32
LEAST = 8
MOST = 1000
MOST_FOREGROUND = 200
"""Of copies whose answers are waited for: receivers work while the rest is sent."""
AIM_S = 0.002
"""How long a full block is to take, beside the way to the server and back."""
MOST_BYTES = 1 << 20


class BlockSize:
    """How many copies the next block may hold: as many as a server takes in :data:`AIM_S`."""

    __slots__ = ("_least_s", "copies")

    def __init__(self) -> None:
        self.copies = FIRST
        self._least_s = math.inf
        """What the quickest block took: the way to the server and back."""

    def note(self, copies: int, took_s: float) -> None:
        """A block that counts as ``copies`` was answered in ``took_s`` seconds.

        One that could have held more, and counts as none, tells nothing about
        a full one.
        """
        self._least_s = min(self._least_s, took_s)
        if copies:
            aim = int(copies * AIM_S / max(took_s - self._least_s, 1e-6))
            self.copies = max(LEAST, self.copies // 2, min(MOST, self.copies * 2, aim))


class Block:
    """Copies of several batches, to be sent in one write and answered in order.

    First it is filled, then its answers are counted.

    :param size: how many copies it may hold.
    :param alone: it is filled from one lane, with which nobody takes turns.
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
        """What is in flight behind ``batch``: batches, each with where the part
        of it ends that was sent at one time."""
        self._stop = 0
        """Where the part of ``batch`` ends that is in flight."""
        self.full = False
        self.counts_as = 0
        """How many copies its time stands for; 0 if it could have held more."""
        self.batch: Batch | None = None
        """The batch whose copy the next answer is for."""
        self.unanswered = 0
        self.sent_at = 0.0

    # While it is filled.

    def turn(self, *, alone: bool) -> int:
        """How many copies a lane may add before the next has its turn."""
        return self._left if alone else min(self._share, self._left)

    def allows(self, batch: Batch) -> int:
        """How many copies of ``batch``'s kind one turn may add."""
        if not batch.foreground:
            return self._left
        return min(self._foreground_left, self._foreground_share)

    def add(self, batch: Batch, most: int) -> int:
        """Take the next copies of ``batch``, ``most`` at the most.

        :returns: how many; none if the block is :attr:`full` without them.
        """
        fits = self._bytes_left // batch.packet_bytes
        if not most:
            # No more foreground copies: it may well have held others.
            self._close(self.unanswered)
            return 0
        if not fits and self._packets:
            self._close(self._size)
            return 0
        start = batch.written
        count = min(most, max(1, fits), len(batch.queues) - start)
        batch.pack(start, start + count, self._packets)
        batch.written += count
        self._parts.append((batch, batch.written))
        self.unanswered += count
        self._left -= count
        self._bytes_left -= count * batch.packet_bytes
        if batch.foreground:
            self._foreground_left -= count
        if self._left <= 0 or self._bytes_left <= 0:
            self._close(self._size)
        return count

    def _close(self, counts_as: int) -> None:
        self.full = True
        self.counts_as = counts_as

    # While it is on its way.

    def packets(self) -> bytes:
        """What is to be sent; it is given out once."""
        data = b"".join(self._packets)
        self._packets.clear()
        return data

    def sent(self, now: float) -> None:
        """It was sent ``now``, on the loop's clock, and answers are to come."""
        self.sent_at = now
        self._next_part()

    def count_answer(self) -> None:
        """The server has answered the next copy of :attr:`batch`.

        Its listener is told once the server has answered all of a batch.
        """
        batch = self.batch
        assert batch is not None
        self.unanswered -= 1
        batch.created += 1
        if batch.created == self._stop:
            self._next_part()
            if batch.created == len(batch.queues) and not batch.cancelled:
                batch.listener.batch_created(batch)

    def batches(self) -> Iterator[Batch]:
        """The batches of which copies are unanswered, in order."""
        if self.batch is not None:
            yield self.batch
        for batch, _ in self._parts:
            yield batch

    def _next_part(self) -> None:
        if self._parts:
            self.batch, self._stop = self._parts.popleft()
        else:
            self.batch = None
