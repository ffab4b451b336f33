# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The jobs and bytes in all queues of one job server, which many small backlogs can fill.

Above a limit, until seven eighths of it, queues deeper than the limit divided by the
number of queues that are not empty count as full. No I/O and no clock.

A server tells no bytes. They are the jobs times the mean size of the copies that this
daemon sent last, as many as it has of them there if the daemons send alike.
"""

import math
from typing import NamedTuple

from gearhorn.daemon.guard.depth import EIGHTH, STAYS_FULL, MeanSize, limit, whole
from gearhorn.daemon.guard.limits import LimitSettings


class Sent(NamedTuple):
    """Copies that were sent to a server, and the bytes of their packets."""

    copies: int
    bytes: int


class _Total:
    """One of the two numbers, and its credit until the next look."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.is_over = False
        self.is_half_full = False
        self.base = 0
        self.credit = most

    def seen(self, amount: float, base: int) -> None:
        self.base = base
        self.is_half_full = 2 * amount > self.most
        self.is_over = amount >= self.most * (STAYS_FULL if self.is_over else 1)
        self.credit = math.inf if self.is_over else max(self.most - amount, EIGHTH * self.most)

    def mark(self, part: float) -> int:
        """Return what is sent when that part of the credit is used."""
        return whole(self.base + part * self.credit)


class Totals:
    """What is in one server, as far as it is known."""

    def __init__(self, settings: LimitSettings) -> None:
        self.copies = 0
        self.bytes = 0
        self._jobs = _Total(limit(settings.max_total))
        self._bytes = _Total(limit(settings.max_total_bytes))
        self._copies_mark, self._bytes_mark = self._marks(0.5)
        self._daemons = 1
        self._mean = MeanSize()
        self._queues = 1

    def apply(self, settings: LimitSettings) -> None:
        """Go by these limits from the next look on."""
        self._jobs.most = limit(settings.max_total)
        self._bytes.most = limit(settings.max_total_bytes)

    @property
    def is_half_full(self) -> bool:
        return self._jobs.is_half_full or self._bytes.is_half_full

    @property
    def is_over(self) -> bool:
        """True if there are too many jobs or bytes."""
        return self._jobs.is_over or self._bytes.is_over

    def count(self, copies: int, size: int) -> bool:
        """Record that copies are on their way.

        :returns: true if half of the credit is used.
        """
        self.copies += copies
        self.bytes += size
        return self.copies >= self._copies_mark or self.bytes >= self._bytes_mark

    def _marks(self, part: float) -> tuple[int, int]:
        """Return the copies and bytes with which that part of the credit is used."""
        return self._jobs.mark(part), self._bytes.mark(part)

    @property
    def is_used_up(self) -> bool:
        """True if the credit is used up."""
        copies_mark, bytes_mark = self._marks(1 / self._daemons)
        return self.copies >= copies_mark or self.bytes >= bytes_mark

    def seen(self, jobs: int, queues: int, asked: Sent, daemons: int) -> None:
        """Take what a look has shown.

        :param queues: the number of those that are not empty.
        :param asked: what the look can have seen of what was counted.
        """
        mean = self._mean.of_last(jobs / daemons, asked.copies, asked.bytes)
        self._queues = max(1, queues)
        self._jobs.seen(jobs, asked.copies)
        self._bytes.seen(jobs * mean, asked.bytes)
        self._daemons = daemons
        self._copies_mark, self._bytes_mark = self._marks(0.5 / daemons)

    def most_of_queue(self, mean_bytes: float) -> float:
        """Return the jobs with which a queue counts as full; ``inf`` if there is room.

        :param mean_bytes: the mean size of the topic's messages.
        """
        most = math.inf
        if self._jobs.is_over:
            most = self._jobs.most / self._queues
        if self._bytes.is_over:
            most = min(most, self._bytes.most / self._queues / max(1.0, mean_bytes))
        return most
