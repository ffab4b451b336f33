# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Which queues nobody serves, by looks at all job servers; no I/O and no clock.

A *round* is done when each server was looked at since the last one. A queue is unserved
in it if something waits there, no server has a worker for it, and no look since the last
round has shown a worker, or fewer jobs than the look before.
"""

from collections.abc import Collection, Iterable

from gearhorn.tasks import Steps
from gearhorn.wire.address import Address
from gearhorn.wire.look import NOTHING, Look

MANY = 1000
"""The number of watched queues above which each look is not compared, but one a second."""

_SELDOM_S = 1.0
_PIECE = 5_000


class _Server:
    """What is known of a server."""

    def __init__(self) -> None:
        self.look = NOTHING
        self.asked = float("-inf")
        """When it was asked for."""


class Unserved:
    """The queues that nobody serves.

    :param servers: all servers in the configuration.
    """

    def __init__(self, servers: Iterable[Address]) -> None:
        self._servers = {server: _Server() for server in servers}
        self._watched: Collection[bytes] = ()
        self.served: set[bytes] = set()
        """Those of the watched queues that were seen served since the last round."""

    def looked(self, server: Address, look: Look, asked: float) -> None:
        """Take a look that was asked for at ``asked``."""
        known = self._servers[server]
        before = known.look.jobs
        if len(self._watched) > MANY and asked - known.asked < _SELDOM_S:
            return
        known.look, known.asked = look, asked
        for queue in self._watched:
            if queue in look.workers or look.jobs.get(queue, 0) < before.get(queue, 0):
                self.served.add(queue)

    def is_complete(self, since: float) -> bool:
        """Return true if each server was looked at since then."""
        return all(known.asked >= since for known in self._servers.values())

    def watch(self, queues: Collection[bytes]) -> None:
        """Begin the next round, with a watch on these queues."""
        self._watched = queues
        self.served = set()

    def holding(self, queue: bytes) -> list[Address]:
        """Return the servers on which something waits in a queue."""
        return [
            server
            for server, known in self._servers.items()
            if known.look.jobs.get(queue, 0) > known.look.running.get(queue, 0)
        ]

    def found(self) -> Steps[set[bytes]]:
        """Return the queues that nobody serves, in steps."""
        looks = [known.look for known in self._servers.values()]
        found: set[bytes] = set()
        done = 0
        for look in looks:
            running = look.running
            for queue, jobs in look.jobs.items():
                done += 1
                if not done % _PIECE:
                    yield
                if (
                    jobs > running.get(queue, 0)
                    and queue not in self.served
                    and not any(queue in other.workers for other in looks)
                ):
                    found.add(queue)
        return found
