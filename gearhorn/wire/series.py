# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A series: copies of several messages for the same queues, in one batch."""

from collections.abc import Callable, Sequence

from gearhorn.wire import framing
from gearhorn.wire.batch import Batch, Listener

UniqueOf = Callable[[int, int], bytes]
"""Returns the unique of a copy, given the index of its message and its group."""


class Series(Batch):
    """A background batch of copies of several payloads: all of one, then all of the next.

    :param first: the index of its first message among all that are sent.
    :param payloads: the messages, in their order.
    :param unique_of: returns the unique of a copy.
    """

    __slots__ = ("_largest", "_unique_of", "first", "payloads")

    def __init__(
        self,
        listener: Listener,
        lane: str,
        *,
        priority: str,
        queues: Sequence[bytes],
        keys: Sequence[str],
        groups: Sequence[int] | None,
        longest_queue: int,
        first: int,
        payloads: Sequence[bytes],
        unique_of: UniqueOf,
    ) -> None:
        super().__init__(
            listener,
            lane,
            priority=priority,
            foreground=False,
            queues=queues,
            keys=keys,
            uniques=(),
            groups=groups,
            payload=b"",
            longest_queue=longest_queue,
        )
        self.first = first
        self.payloads = payloads
        self.count = len(queues) * len(payloads)
        self._unique_of = unique_of
        last = unique_of(first + len(payloads) - 1, groups[-1] if groups else 0)
        self._largest = (
            framing.HEADER_BYTES + longest_queue + len(last) + 2 + max(map(len, payloads))
        )

    @property
    def packet_bytes(self) -> int:
        return self._largest

    def key(self, index: int) -> str:
        return self.keys[index % len(self.keys)]

    def message(self, index: int) -> int:
        """Return the index of the message of a copy, among all that are sent."""
        return self.first + index // len(self.queues)

    def left(self) -> Sequence[bytes]:
        """Return the messages that are not created for all queues."""
        return self.payloads[self.created // len(self.queues) :]

    def credits(self, weight: Callable[[int], int]) -> int:
        return sum(weight(len(payload)) for payload in self.left())

    def drop_payload(self) -> None:
        self.payloads = ()

    def pack(self, start: int, stop: int, parts: list[bytes]) -> None:
        queues, groups, unique_of = self.queues, self.groups, self._unique_of
        packet_type = self.packet_type
        header = framing.header
        message, place = self.message(start), start % len(queues)
        left = stop - start
        while left:
            payload = self.payloads[message - self.first]
            end = min(len(queues), place + left)
            middle = b"\0%s\0" % unique_of(message, groups[place] if groups else 0)
            for index in range(place, end):
                queue = queues[index]
                if groups and index > place and groups[index] != groups[index - 1]:
                    middle = b"\0%s\0" % unique_of(message, groups[index])
                parts += (
                    header(packet_type, len(queue) + len(middle) + len(payload)),
                    queue,
                    middle,
                    payload,
                )
            left -= end - place
            message, place = message + 1, 0
