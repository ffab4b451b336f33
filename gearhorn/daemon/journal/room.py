# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The room in the queues that replays fill, by the limits that fan-outs keep to.

The guard counts fan-outs by topic. A replay goes to one queue: its room is what the last look
at the job server has left of the queue's limit, less what was put there since that look was
asked for. When half of it is used another look is asked for.
"""

import asyncio
import math
from collections.abc import Callable, Sequence

from gearhorn import clock
from gearhorn.daemon.guard.depth import limit
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.guard.seen import Seen
from gearhorn.wire.address import Address

LOOK_S = 5.0
"""Seconds to wait for a look before a queue counts as full."""
PAUSE_S = 0.02
"""Seconds between two looks at whether it has come."""


class Room:
    """The room in one subscriber's queue.

    :param own_most: the jobs that its registration allows, ``None`` if that does not say.
    :param server: returns the job server that the queue is on, ``None`` while none is there.
    :param look: has a job server looked at soon.
    """

    def __init__(
        self,
        queue: str,
        own_most: int | None,
        settings: LimitSettings,
        seen: Seen,
        *,
        server: Callable[[], Address | None],
        look: Callable[[Address, bool], None],
    ) -> None:
        self._queue = queue.encode()
        self._most = min(limit(settings.max_waiting), own_most or math.inf)
        self._most_bytes = limit(settings.max_waiting_bytes)
        self._seen = seen
        self._server = server
        self._look = look
        self._sent: Sequence[tuple[float, int]] = ()
        """When messages were put into the queue, and how many."""

    async def left(self, size: int) -> float:
        """Return how many messages of about ``size`` bytes the queue takes now.

        Where the last look leaves none, another is waited for.
        """
        most = min(self._most, self._most_bytes / max(1, size))
        if most == math.inf:
            return most
        begun = clock.now()
        while True:
            server = self._server()
            if server is None:
                # It is waited for where the messages are sent.
                return 1
            known = self._seen.server(server)
            asked = -math.inf if known.asked is None else known.asked
            self._sent = [(when, count) for when, count in self._sent if when >= asked]
            left = most - known.look.jobs.get(self._queue, 0) - sum(n for _, n in self._sent)
            if self._queue in known.full:
                left = 0
            if left < most / 2:
                self._look(server, left <= 0)
            if left > 0 or asked >= begun or clock.now() >= begun + LOOK_S:
                return left
            await asyncio.sleep(PAUSE_S)

    def put(self, count: int) -> None:
        """Count messages that were put into the queue."""
        self._sent = [*self._sent, (clock.now(), count)]
