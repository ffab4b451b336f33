# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The recipients of a fan-out: a topic's subscribers with queues, groups and servers."""

import zlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from msgspec import UNSET

from gearhorn import messages
from gearhorn.daemon.metrics import COPIES_BOUNDS
from gearhorn.daemon.placement import Share, divide_in_steps, without_in_steps
from gearhorn.tasks import Steps, at_once
from gearhorn.wire.address import Address

GROUP_COPIES = 500
"""About the most copies of one fan-out that share a unique.

gearmand looks a unique up in one table, by its hash alone. One unique for 50,000
copies takes quadratic time; one for each copy is slow on deep queues.
"""

_PIECE = 1_000
"""The subscribers that are taken into a list at a time: half a millisecond of work."""


_NO_LIMITS: Mapping[str, messages.Limits] = MappingProxyType({})
_NO_OWN_LIMITS: Mapping[bytes, int] = MappingProxyType({})


class Recipients:
    """A topic's subscribers, as they were when they were asked for.

    :param whole: their queues, group by group.
    :param group_count: the number of groups, a power of two.
    :param longest_queue: the bytes of the longest name of a queue.
    :param asked: the time at which they were asked for, on
        :func:`gearhorn.clock.now`.
    :param limits: what those subscribers brought that brought any limits, by client_id.
    """

    __slots__ = (
        "_placed",
        "_queued_report",
        "asked",
        "count",
        "group_count",
        "limits",
        "longest_queue",
        "own_limits",
        "refused",
        "refused_count",
        "size_class",
        "skipped_count",
        "skipping",
        "topic",
        "whole",
    )

    def __init__(
        self,
        topic: str,
        whole: Share,
        group_count: int,
        longest_queue: int,
        asked: float,
        limits: Mapping[str, messages.Limits] = _NO_LIMITS,
        own_limits: Mapping[bytes, int] = _NO_OWN_LIMITS,
    ) -> None:
        self.topic = topic
        self.whole = whole
        self.group_count = group_count
        self.asked = asked
        self.longest_queue = longest_queue
        self.count = len(whole.queues)
        """The number of copies, those that are not sent included."""
        self.size_class = bisect_left(COPIES_BOUNDS, self.count)
        """Its bucket, by the number of copies: once for the list, and not for each fan-out."""
        self.limits = limits
        self.own_limits = own_limits
        """The limits in jobs that subscribers brought, by queue."""
        self.refused: Mapping[str, str] = {}
        """The reasons of the first copies that are not sent, by client_id."""
        self.refused_count = 0
        """The number of copies that fail, and are not sent."""
        self.skipped_count = 0
        """The number of copies that are no failures, and are not sent."""
        self.skipping: Callable[[str], bool] | None = None
        """Returns true of a subscriber that finds in a journal what it is not sent; ``None``
        if none does."""
        self._placed: tuple[tuple[Address, ...], Mapping[Address, Share]] | None = None
        self._queued_report = b""

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(
        cls,
        topic: str,
        client_ids: Sequence[str],
        asked: float,
        limits: Mapping[str, messages.Limits] = _NO_LIMITS,
    ) -> "Recipients":
        """Return the recipients with these client_ids."""
        return at_once(cls.in_steps(topic, client_ids, asked, limits))

    @classmethod
    def in_steps(
        cls,
        topic: str,
        client_ids: Sequence[str],
        asked: float,
        limits: Mapping[str, messages.Limits] = _NO_LIMITS,
    ) -> Steps["Recipients"]:
        """Do the work of :meth:`of` in steps: other work need not wait for a long list."""
        # A power of two: if a fan-out is run a second time, and its topic has gained
        # or lost a few subscribers, each copy gets the same unique again.
        group_count = 1
        while group_count * GROUP_COPIES < len(client_ids):
            group_count *= 2
        mask = group_count - 1
        longest = 0
        prefix = messages.queue_name(topic, "").encode()
        own_limits: dict[bytes, int] = {}
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
                if limits and (its := limits.get(client_id)) and its.max_waiting is not None:
                    own_limits[queue] = its.max_waiting
        if group_count == 1:
            ((queues, names),) = grouped
            whole = Share(queues, names, None)
            return cls(topic, whole, group_count, longest, asked, limits, own_limits)
        yield
        queues = [queue for its_queues, _ in grouped for queue in its_queues]
        yield
        names = [name for _, its_client_ids in grouped for name in its_client_ids]
        yield
        groups = [number for number, (its_queues, _) in enumerate(grouped) for _ in its_queues]
        whole = Share(queues, names, groups)
        return cls(topic, whole, group_count, longest, asked, limits, own_limits)

    def without(self, full: Collection[bytes]) -> "Recipients":
        """Return the list whose copies for ``full`` queues fail, or are skipped, and not sent."""
        return at_once(self.without_in_steps(full))

    def without_in_steps(self, full: Collection[bytes]) -> Steps["Recipients"]:
        """Do the work of :meth:`without` in steps."""
        whole = self.whole
        kept, refused, skipped = yield from without_in_steps(whole, full, self.skipping)
        left = Recipients(
            self.topic,
            kept,
            self.group_count,
            self.longest_queue,
            self.asked,
            self.limits,
            self.own_limits,
        )
        left.count, left.size_class = self.count, self.size_class
        left.skipping = self.skipping
        left.skipped_count = skipped
        left.refused_count = len(whole.queues) - len(kept.queues) - skipped
        left.refused = dict.fromkeys(refused, messages.QUEUE_FULL)
        if self._placed is not None:
            servers, shares = self._placed
            left_shares: dict[Address, Share] = {}
            for server, share in shares.items():
                part = kept
                if share is not whole:
                    part, _, _ = yield from without_in_steps(share, full)
                if part.queues:
                    left_shares[server] = part
            left._placed = (servers, left_shares)
        return left

    def shares(self, servers: Sequence[Address]) -> Mapping[Address, Share]:
        """Return the share of each server; worked out once for the same servers."""
        key = tuple(servers)
        if self._placed is None or self._placed[0] != key:
            at_once(self.place_in_steps(key))
        assert self._placed is not None
        return self._placed[1]

    def place_in_steps(self, servers: Sequence[Address]) -> Steps[None]:
        """Do the work of :meth:`shares` beforehand, in steps."""
        if self._placed is not None and self._placed[0] == tuple(servers):
            return
        shares = yield from divide_in_steps(self.whole, sorted(servers, key=str))
        self._placed = (tuple(servers), shares)

    def queued_report(self) -> bytes:
        """Return the report of a background fan-out whose copies were all queued; made once."""
        if not self._queued_report:
            self._queued_report = messages.FanOutReport(
                topic=self.topic,
                subscribers=len(self),
                queued=len(self.whole.queues),
                failed=dict(self.refused),
                failed_count=self.refused_count or UNSET,
                skipped=self.skipped_count or UNSET,
            ).encode()
        return self._queued_report
