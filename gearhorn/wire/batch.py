# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Batches, the copies in them that wait for answers, and listeners to their outcome."""

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from gearhorn.wire import framing
from gearhorn.wire.tally import Tally


class Listener:
    """A listener to the outcome of batches. Subclasses override what they need."""

    __slots__ = ()

    def batch_written(self, batch: "Batch") -> None:
        """Called when all copies of a foreground batch are on their way."""

    def batch_created(self, batch: "Batch") -> None:
        """Called when the server has answered each copy: it is queued, or refused."""

    def batch_lost(self, batch: "Batch") -> None:
        """Called when the server is gone.

        Copies from ``batch.created`` on are unanswered; the listener may submit
        them again.
        """

    def copy_created(self, copy: "Copy") -> None:
        """Called when the server has queued a foreground copy."""

    def copy_refused(self, batch: "Batch", index: int, *, full: bool) -> None:
        """Called when the server has answered a copy with an ERROR packet.

        :param full: true if its queue is full, by the server's own limit.
        """

    def copy_answered(self, copy: "Copy", packet_type: int, data: bytes, whole: bool) -> None:
        """Called with each part of a receiver's answer to a foreground copy.

        :param packet_type: WORK_DATA, or for the last part WORK_COMPLETE, WORK_FAIL
            or WORK_EXCEPTION.
        :param whole: false if ``data`` is only the head of a part that was too
            large.
        """

    def copy_told(self, copy: "Copy", packet_type: int, data: bytes) -> None:
        """Called when a receiver has sent WORK_STATUS or WORK_WARNING."""

    def copies_lost(self, copies: Sequence["Copy"]) -> None:
        """Called when the server is lost after taking copies, before their answers."""


class Batch:
    """Copies of one payload for queues on one server.

    :param lane: the lane in which it waits for its turn.
    :param queues: the names of the queues.
    :param keys: the listener's name for each copy.
    :param uniques: the unique of each group of queues.
    :param groups: the group of each queue; ``None`` if there is only one.
    :param longest_queue: the bytes of the longest name.
    """

    __slots__ = (
        "_middles",
        "cancelled",
        "count",
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
        "refused",
        "tally",
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
        self.count = len(queues)
        """The number of copies."""
        self.keys = keys
        self.groups = groups
        self.payload = payload
        self.longest_queue = longest_queue
        self.written = 0
        self.created = 0
        self.refused = 0
        """Of those that are created, the copies that the server has not queued."""
        self.tally: Tally | None = None
        """The counts of its server, once it is submitted."""
        self.cancelled = False
        self._middles = [b"\0" + unique + b"\0" for unique in uniques]

    @property
    def packet_bytes(self) -> int:
        """The size of the largest packet."""
        return (
            framing.HEADER_BYTES + self.longest_queue + len(self._middles[-1]) + len(self.payload)
        )

    def key(self, index: int) -> str:
        """Return the listener's name for a copy."""
        return self.keys[index]

    def credits(self, weight: Callable[[int], int]) -> int:
        """Return the sum of ``weight`` of the sizes of messages that are not all created."""
        return weight(len(self.payload))

    def drop_payload(self) -> None:
        """Forget the payload: every copy is queued or refused."""
        self.payload = b""

    def count_queued(self) -> None:
        """Add the copies that are queued to the counts of the server.

        The owner does so when the batch has been created, or is given up; what is no
        fan-out is not counted.
        """
        tally = self.tally
        if tally is not None:
            tally.queued[self.foreground] += self.created - self.refused

    def cancel(self) -> None:
        """Write no more copies, and tell the listener nothing more."""
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
            if stop - start == 1:
                queue = self.queues[start]
                parts += (header(packet_type, len(queue) + rest), queue, middle, payload)
                return
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


class Copy(msgspec.Struct, eq=False):
    """A foreground copy that a server has queued and nobody has answered."""

    batch: Batch
    key: str
    handle: bytes
    awaited: "AwaitedCopies"

    def forget(self) -> None:
        """Drop the answer, if it still comes."""
        self.awaited.remove(self)


class AwaitedCopies:
    """The copies whose answers are missing, by handle.

    Two copies that gearmand has coalesced by their unique have one handle, and
    each packet of the answer comes once for each: ``_twins`` holds such copies, in
    order.
    """

    __slots__ = ("_twins", "by_handle")

    def __init__(self) -> None:
        self.by_handle: dict[bytes, Copy] = {}
        self._twins: dict[bytes, deque[Copy]] = {}

    def add(self, copy: Copy) -> None:
        first = self.by_handle.setdefault(copy.handle, copy)
        if first is not copy:
            self._twins.setdefault(copy.handle, deque((first,))).append(copy)

    def remove(self, copy: Copy) -> None:
        """Forget ``copy``, if it is there."""
        twins = self._twins.get(copy.handle)
        if twins is not None and copy in twins:
            twins.remove(copy)
            self._settle(copy.handle, twins)
        elif self.by_handle.get(copy.handle) is copy:
            del self.by_handle[copy.handle]

    def part(self, handle: bytes) -> Copy | None:
        """Return the copy for a packet that is not the last of its answer."""
        twins = self._twins.get(handle)
        if twins is None:
            return self.by_handle.get(handle)
        twins.rotate(-1)
        return twins[-1]

    def last(self, handle: bytes) -> Copy | None:
        """Return the copy for the last packet of an answer, and forget it."""
        if not self._twins or handle not in self._twins:
            return self.by_handle.pop(handle, None)
        twins = self._twins[handle]
        copy = twins.popleft()
        self._settle(handle, twins)
        return copy

    def _settle(self, handle: bytes, twins: deque[Copy]) -> None:
        self.by_handle[handle] = twins[0]
        if len(twins) == 1:
            del self._twins[handle]

    def all(self) -> list[Copy]:
        """Return every copy whose answer is missing."""
        alone = [c for handle, c in self.by_handle.items() if handle not in self._twins]
        return alone + [copy for twins in self._twins.values() for copy in twins]
