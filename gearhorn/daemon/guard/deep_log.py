# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The log of deep queues.

A queue is named once when it passes ``warn_waiting``, once when it passes its limit, and
again only after it was well below. Of many in a short time the first are named, and the
rest become one line with a count and the deepest.
"""

import logging
import math
from collections.abc import Mapping
from typing import NamedTuple

from gearhorn.tasks import Steps
from gearhorn.wire.address import Address

LOG = logging.getLogger(__name__)

LINES = 3
"""The lines of each kind in a period; further queues are counted."""

PERIOD_S = 60.0
"""The length of a period, in seconds. It begins with its first line."""

_PIECE = 1_000


class _Found(NamedTuple):
    depth: int
    queue: bytes
    workers: int


class _Kind:
    """The queues of a period that have passed one of the limits."""

    def __init__(self, line: str, more: str) -> None:
        self.line = line
        self.more = more
        self.began = -math.inf
        self.count = 0
        self.deepest: _Found | None = None


class DeepLog:
    """Names queues that pass a limit."""

    def __init__(self) -> None:
        self._named: dict[Address, dict[bytes, tuple[int, bool]]] = {}
        """By server and queue, the jobs below which it is well below what it was named for,
        and whether that was its limit."""
        self._kinds = {
            False: _Kind(
                "queue %s has %d jobs and %d workers: messages come faster than they are taken",
                "%d more queues grew long in the last %g seconds; the deepest, %s, has %d jobs "
                "and %d workers",
            ),
            True: _Kind(
                "queue %s is full with %d jobs and %d workers: it gets no messages until it is "
                "shorter",
                "%d more queues were full in the last %g seconds; the deepest, %s, has %d jobs "
                "and %d workers",
            ),
        }

    def found(
        self,
        server: Address,
        queue: bytes,
        depth: int,
        workers: int,
        now: float,
        *,
        is_full: bool,
    ) -> None:
        """Name a queue, unless it was named for the same.

        :param now: the time of the look, in seconds.
        """
        named = self._named.setdefault(server, {})
        below, was_full = named.get(queue, (0, False))
        if below and (was_full or not is_full):
            return
        named[queue] = below or max(1, depth // 2), is_full
        kind = self._kinds[is_full]
        if not kind.count:
            kind.began = now
        kind.count += 1
        found = _Found(depth, queue, workers)
        if kind.count <= LINES:
            LOG.warning(kind.line, _shown(queue), depth, workers)
        elif kind.deepest is None or found > kind.deepest:
            kind.deepest = found

    def looked(self, server: Address, jobs: Mapping[bytes, int], now: float) -> Steps[None]:
        """Take the depths of a look: a queue that is well below may be named again."""
        for kind in self._kinds.values():
            if now >= kind.began + PERIOD_S:
                self._end_period(kind)
        named = self._named.get(server, {})
        for done, queue in enumerate(list(named), 1):
            if not done % _PIECE:
                yield
            if queue in named and jobs.get(queue, 0) < named[queue][0]:
                del named[queue]

    def _end_period(self, kind: _Kind) -> None:
        deepest = kind.deepest
        if deepest is not None:
            more = kind.count - LINES
            depth, queue, workers = deepest
            LOG.warning(kind.more, more, PERIOD_S, _shown(queue), depth, workers)
        kind.count = 0
        kind.deepest = None

    def close(self) -> None:
        """Write the counts of the periods that have not ended."""
        for kind in self._kinds.values():
            self._end_period(kind)


def _shown(queue: bytes) -> str:
    return queue.decode("utf-8", "replace")
