# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The jobs and bytes in all queues of one job server, which many small backlogs can fill.

Above a limit, until seven eighths of it, queues deeper than the limit divided by the
number of queues that are not empty count as full. No I/O and no clock.

A server tells no bytes. They are the jobs times their mean size: that of those which were
there at the look before and of those which were sent since, as if what has gone had been
like the rest.
"""

import math
from typing import NamedTuple

from gearhorn.daemon.depth import EIGHTH, STAYS_FULL, limit
from gearhorn.daemon.limits import LimitSettings


class Sent(NamedTuple):
    """Copies that this daemon has sent to a server, and the bytes of their packets."""

    copies: int
    bytes: int


class _Total:
    """One of the two numbers."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.is_over = False
        self.base = 0.0
        self.credit = most

    def seen(self, amount: float, base: float) -> None:
        self.base = base
        self.is_over = amount >= self.most * (STAYS_FULL if self.is_over else 1)
        self.credit = math.inf if self.is_over else max(self.most - amount, EIGHTH * self.most)


class Totals:
    """What is in one server, as far as it is known."""

    def __init__(self, settings: LimitSettings) -> None:
        self.sent = Sent(0, 0)
        self.half_full = False
        self._jobs = _Total(limit(settings.max_total))
        self._bytes = _Total(limit(settings.max_total_bytes))
        self._known = 0
        self._mean = 0.0
        self._queues = 1

    def count(self, copies: int, size: int) -> None:
        """Record that copies are on their way."""
        self.sent = Sent(self.sent.copies + copies, self.sent.bytes + size)

    def used(self, daemons: int) -> float:
        """Return which part of the credit is used."""
        return daemons * max(
            (self.sent.copies - self._jobs.base) / self._jobs.credit,
            (self.sent.bytes - self._bytes.base) / self._bytes.credit,
        )

    def seen(self, jobs: int, queues: int, asked: Sent, daemons: int) -> None:
        """Take what a look has shown.

        :param queues: the number of those that are not empty.
        :param asked: what the look can have seen of :attr:`sent`.
        """
        copies = daemons * (asked.copies - self._jobs.base)
        data = daemons * (asked.bytes - self._bytes.base)
        if copies + self._known > 0:
            self._mean = (self._known * self._mean + data) / (copies + self._known)
        # Of what was there before, nothing is known.
        self._known = jobs if self._mean else 0
        self._queues = max(1, queues)
        self._jobs.seen(jobs, asked.copies)
        self._bytes.seen(jobs * self._mean, asked.bytes)
        self.half_full = 2 * jobs > self._jobs.most or 2 * jobs * self._mean > self._bytes.most

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
