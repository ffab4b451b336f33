# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The recipients of a fan-out: a topic's subscribers with queues, groups and servers."""

import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from gearhorn import messages
from gearhorn.daemon.metrics import COPIES_BOUNDS
from gearhorn.daemon.placement import Share, divide_in_steps
from gearhorn.tasks import Steps, at_once
from gearhorn.wire.address import Address

GROUP_COPIES = 500
"""About the most copies of one fan-out that share a unique.

gearmand looks a unique up in one table, by its hash alone. One unique for 50,000
copies takes quadratic time; one for each copy is slow on deep queues.
"""

_PIECE = 1_000
"""The subscribers that are taken into a list at a time: half a millisecond of work."""


class Recipients:
    """A topic's subscribers, as they were when they were asked for.

    :param whole: their queues, group by group.
    :param group_count: the number of groups, a power of two.
    :param longest_queue: the bytes of the longest name of a queue.
    :param asked: the time at which they were asked for, on
        :func:`gearhorn.clock.now`.
    """

    __slots__ = (
        "_placed",
        "_queued_report",
        "asked",
        "count",
        "group_count",
        "longest_queue",
        "size_class",
        "topic",
        "whole",
    )

    def __init__(
        self, topic: str, whole: Share, group_count: int, longest_queue: int, asked: float
    ) -> None:
        self.topic = topic
        self.whole = whole
        self.group_count = group_count
        self.asked = asked
        self.longest_queue = longest_queue
        self.count = len(whole.queues)
        self.size_class = bisect_left(COPIES_BOUNDS, self.count)
        """Its bucket, by the number of copies: once for the list, and not for each fan-out."""
        self._placed: tuple[tuple[Address, ...], Mapping[Address, Share]] | None = None
        self._queued_report = b""

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, topic: str, client_ids: Sequence[str], asked: float) -> "Recipients":
        """Return the recipients with these client_ids."""
        return at_once(cls.in_steps(topic, client_ids, asked))

    @classmethod
    def in_steps(cls, topic: str, client_ids: Sequence[str], asked: float) -> Steps["Recipients"]:
        """Do the work of :meth:`of` in steps: other work need not wait for a long list."""
        # A power of two: if a fan-out is run a second time, and its topic has gained
        # or lost a few subscribers, each copy gets the same unique again.
        group_count = 1
        while group_count * GROUP_COPIES < len(client_ids):
            group_count *= 2
        mask = group_count - 1
        longest = 0
        prefix = messages.queue_name(topic, "").encode()
        # Group by group: gearmand walks through the jobs of one unique at each
        # submission, and so they stay in the processor's cache.
        grouped: list[tuple[list[bytes], list[str]]] = [([], []) for _ in range(group_count)]
        for start in range(0, len(client_ids), _PIECE):
            if start:
                yield
            for client_id in client_ids[start : start + _PIECE]:
                queue = prefix + client_id.encode()
                its_queues, its_client_ids = grouped[zlib.crc32(queue) & mask]
                its_queues.append(queue)
                its_client_ids.append(client_id)
                if len(queue) > longest:
                    longest = len(queue)
        if group_count == 1:
            ((queues, names),) = grouped
            return cls(topic, Share(queues, names, None), group_count, longest, asked)
        yield
        queues = [queue for its_queues, _ in grouped for queue in its_queues]
        yield
        names = [name for _, its_client_ids in grouped for name in its_client_ids]
        yield
        groups = [number for number, (its_queues, _) in enumerate(grouped) for _ in its_queues]
        return cls(topic, Share(queues, names, groups), group_count, longest, asked)

    def shares(self, servers: Sequence[Address]) -> Mapping[Address, Share]:
        """Return the share of each server; worked out once for the same servers."""
        key = tuple(servers)
        if self._placed is None or self._placed[0] != key:
            at_once(self.place_in_steps(key))
        assert self._placed is not None
        return self._placed[1]

    def place_in_steps(self, servers: Sequence[Address]) -> Steps[None]:
        """Do the work of :meth:`shares` beforehand, in steps."""
        shares = yield from divide_in_steps(self.whole, sorted(servers, key=str))
        self._placed = (tuple(servers), shares)

    def queued_report(self) -> bytes:
        """Return the report of a background fan-out without failures; made once."""
        if not self._queued_report:
            self._queued_report = messages.FanOutReport(
                topic=self.topic, subscribers=len(self), queued=len(self)
            ).encode()
        return self._queued_report
