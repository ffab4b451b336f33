# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the last looks have shown of each job server."""

import heapq
from collections.abc import Collection, Sequence
from typing import NamedTuple

from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.guard.totals import Totals
from gearhorn.wire.address import Address
from gearhorn.wire.look import NOTHING, Look

DEEPEST = 10
"""The queues that a daemon's status names."""


class Depth(NamedTuple):
    """What is known of a queue.

    ``age`` is the age in seconds of the oldest look that the numbers are from, ``None``
    before any.
    """

    waiting: int
    running: int
    workers: int
    full: bool
    age: float | None


class ServerSeen:
    """What is known of a job server."""

    def __init__(self, settings: LimitSettings) -> None:
        self.look: Look = NOTHING
        self.asked: float | None = None
        """When the last look was asked for."""
        self.full: dict[bytes, float] = {}
        """The full queues, and the jobs below which each is open again."""
        self.totals = Totals(settings)
        self.looks = 0
        """The looks that it has answered."""
        self.look_seconds = 0.0
        """The seconds that it took for all of them."""


class Seen:
    """What is known of all job servers."""

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings
        self._servers: dict[Address, ServerSeen] = {}

    def apply(self, settings: LimitSettings, full: Collection[bytes]) -> None:
        """Go by these limits.

        :param full: the full queues that are to be assessed anew. Others count as open.
        """
        self._settings = settings
        for known in self._servers.values():
            known.full = {queue: below for queue, below in known.full.items() if queue in full}
            known.totals.apply(settings)

    def server(self, server: Address) -> ServerSeen:
        """Return what is known of a server."""
        known = self._servers.get(server)
        if known is None:
            known = self._servers[server] = ServerSeen(self._settings)
        return known

    @property
    def queues_full(self) -> int:
        """The number of queues that are full on any job server."""
        return len({queue for server in self._servers.values() for queue in server.full})

    def depth(self, name: str, now: float) -> Depth:
        """Return what is known of a queue, on all job servers together."""
        queue = name.encode()
        looks = [server.look for server in self._servers.values()]
        asked = [server.asked for server in self._servers.values() if server.asked is not None]
        running = sum(look.running.get(queue, 0) for look in looks)
        return Depth(
            waiting=sum(look.jobs.get(queue, 0) for look in looks) - running,
            running=running,
            workers=sum(look.workers.get(queue, 0) for look in looks),
            full=any(queue in server.full for server in self._servers.values()),
            age=round(now - min(asked), 3) if asked else None,
        )

    def deepest(self) -> Sequence[tuple[str, int, int]]:
        """Return the deepest queues at the last looks: name, jobs that wait, workers."""
        found = [
            (depth - look.running.get(queue, 0), queue, look.workers.get(queue, 0))
            for look in (server.look for server in self._servers.values())
            for queue, depth in look.jobs.items()
        ]
        return [
            (queue.decode("utf-8", "replace"), waiting, workers)
            for waiting, queue, workers in heapq.nlargest(DEEPEST, found)
            if waiting
        ]
