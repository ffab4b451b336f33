# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The pace of looks at one job server: when the next is due, and what it may cost.

While a server makes its answer it serves nobody else: 2 to 5 ms for 10,000 functions,
38 for 100,000. So looks may take a hundredth of the time, shared by the daemons that
live, and a tenth for each daemon while a queue is about to pass its limit unseen. No I/O
and no clock: times are given, in seconds.
"""

import math
import random
from collections import deque

SHARE = 0.01
"""The part of the time that the looks of all daemons may cost."""

URGENT_SHARE = 0.1
"""The part that those of each daemon may cost while a credit is used up and a queue was
above half of its limit."""

URGENT_S = 10.0
"""The seconds for which a queue above half of its limit counts."""

LEAST_S = 0.02
"""The least seconds between two looks."""

LONGEST_PAUSE_S = 1.0
"""The longest pause between looks while queues are full and none falls."""

SAVED_LOOKS = 5
"""The looks for which unused time is saved."""

ANSWERS = 10
"""The last answers of which the quickest counts: the others waited for something else."""


class Pace:
    """The pace of the looks at one server.

    :param interval: seconds between two looks at random moments, a half to one and a
        half of that: nothing that comes and goes in step with them stays unseen.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._took: deque[float] = deque(maxlen=ANSWERS)
        self._own: deque[float] = deque(maxlen=ANSWERS)
        self._saved = math.inf
        self._share = SHARE
        self._counted_until = -math.inf
        self._asked_at = -math.inf
        self._some_time = -math.inf
        self._pause = 0.0
        self._urgent_until = -math.inf
        self.wanted = True
        """True if half of a credit is used."""
        self.urgent = False
        """True if a credit is used up."""
        self.leaves_out = False
        """True while full queues are left out."""

    @property
    def cost(self) -> float:
        """The seconds that a look costs: the server's, or this daemon's if that is more."""
        return max(min(self._took, default=0.0), min(self._own, default=0.0))

    def when(self, now: float, daemons: int) -> float:
        """Return the time of the next look, if nothing changes until then.

        :param daemons: the number of daemons that live.
        """
        cost = self.cost
        if now > self._counted_until > -math.inf:
            self._saved += (now - self._counted_until) * self._share
        self._counted_until = now
        if self._took:
            self._saved = min(self._saved, SAVED_LOOKS * cost)
        is_urgent = self.urgent and now < self._urgent_until
        self._share = URGENT_SHARE if is_urgent else SHARE / daemons
        due = self._some_time
        if self.wanted or self.urgent:
            due = now
        elif self.leaves_out:
            due = min(due, self._asked_at + self._pause)
        due = max(due, self._asked_at + LEAST_S)
        if self._saved < cost:
            due = max(due, now + (cost - self._saved) / self._share)
        return due

    def asked(self, now: float) -> None:
        """Record that a look was asked for."""
        self._asked_at = now
        self._some_time = now + random.uniform(0.5, 1.5) * self.interval
        self._saved -= self.cost
        self.wanted = self.urgent = False

    def answered(self, now: float, took: float, own: float, *, fell: bool, half_full: bool) -> None:
        """Record the answer.

        :param took: the seconds of the server for it.
        :param own: those of this daemon.
        :param fell: true if a full queue has fallen.
        :param half_full: true if a queue is above half of its limit.
        """
        self._took.append(took)
        self._own.append(own)
        self._pause = 0.0 if fell else min(LONGEST_PAUSE_S, max(LEAST_S, 2 * self._pause))
        if half_full:
            self._urgent_until = now + URGENT_S
