# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Counts of what goes to a job server, and the histogram that all counts are made of.

They are plain integers, which only rise while the process runs, and are added to once for
a block, a batch or an event, never for a copy: a copy costs 1.5 us. What ends many copies,
as a timeout, is one event. (Rejected: the counters of a metrics library, of which one costs
half as much as that.)
"""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts of values by size.

    :param bounds: the upper bound of each bucket but the last, in rising order.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        """The values in each bucket; the last has those above all bounds."""
        self.total: float = 0
        """The sum of all values."""

    def note(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


BLOCK_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.02, 0.1, 0.5, 2.5)


class Tally:
    """The counts of one pool at one job server."""

    __slots__ = ("blocks", "connects", "errors", "losses", "queued", "resubmitted")

    def __init__(self) -> None:
        self.connects = 0
        self.losses = 0
        """The connections that were lost after they had been ready."""
        self.errors = 0
        """The ERROR packets that the server has sent."""
        self.queued = [0, 0]
        """The copies of fan-outs that it has queued, in the background and the foreground."""
        self.resubmitted = 0
        """The copies that it had not queued when it was lost, and that were sent elsewhere."""
        self.blocks = Histogram(BLOCK_BOUNDS_S)
        """The seconds that it took for each block."""
