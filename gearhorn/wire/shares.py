# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Which of a worker's connections has which function.

For each grab gearmand walks through the functions of the connection until one has a job,
and through all of them if none has. So a worker with many deals them out to several
connections. A subscriber with 10,000 busy queues takes gearmand, for each message, 45 to
53 us of processor time with one connection, 29 to 33 with 4, 16 to 18 with 16, 11 to 15
with 32, and no less with 64.

A function keeps its share until it is forgotten: on two connections at once its jobs
would not stay in order.
"""

FULL = 500
"""The functions after which another share is begun. Below that, a second connection gains
less than can be measured."""
MOST = 32
"""The most shares, as a job server has to keep a file open for each connection. When all
are full they are filled further."""


class Shares:
    """The functions of a worker, dealt out in shares."""

    def __init__(self) -> None:
        self._share_of: dict[bytes, int] = {}
        self._sizes = [0]

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def largest(self) -> int:
        """The number of functions in the largest share."""
        return max(self._sizes)

    def add(self, function: bytes) -> int:
        """Return the share of a function, which is given one if it has none."""
        share = self._share_of.get(function)
        if share is None:
            share = self._share_of[function] = self._roomy()
            self._sizes[share] += 1
        return share

    def of(self, function: bytes) -> int:
        """Return the share of a function that has one."""
        return self._share_of[function]

    def remove(self, function: bytes) -> None:
        """Forget a function, if it has a share, and leave room there for another one."""
        share = self._share_of.pop(function, None)
        if share is not None:
            self._sizes[share] -= 1

    def _roomy(self) -> int:
        """Return the share that is to have the next function."""
        for share, size in enumerate(self._sizes):
            if size < FULL:
                return share
        if len(self._sizes) < MOST:
            self._sizes.append(0)
            return len(self._sizes) - 1
        return self._sizes.index(min(self._sizes))
