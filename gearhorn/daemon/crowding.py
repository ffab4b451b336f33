# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The log of a window that is full, with who fills it.

While it is full no fan-out is taken, of any topic, and that is not to happen in silence.
Under a heavy load the window is full for moments, with ever other jobs. So it counts as full
where jobs that filled it are still there a second later.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from gearhorn.wire.grabber import Grabber
from gearhorn.wire.job import Job

LOG = logging.getLogger(__name__)

FULL_S = 1.0
"""Seconds for which the window has to be full."""
QUIET_S = 60.0
"""The least time between two warnings, in seconds."""
_TOPICS = 3
"""The topics that are named."""


class Crowding:
    """The watch over a window.

    :param grabber: the grabber that the window belongs to.
    :param whose: returns the topic of a job, and what that waits for.
    """

    def __init__(self, grabber: Grabber, whose: Callable[[Job], tuple[str, str]]) -> None:
        self._grabber = grabber
        self._whose = whose
        self._timer: asyncio.TimerHandle | None = None
        self._oldest: Job | None = None
        self._warned = False
        self._warned_at = float("-inf")
        grabber.on_crowded = self._crowded

    def close(self) -> None:
        """Watch no more."""
        self._grabber.on_crowded = lambda: None
        if self._timer is not None:
            self._timer.cancel()

    def _crowded(self) -> None:
        if self._timer is None:
            self._oldest = next(self._grabber.in_window(), None)
            self._timer = asyncio.get_running_loop().call_later(FULL_S, self._look)

    def _look(self) -> None:
        self._timer = None
        oldest, crowded = self._oldest, self._grabber.crowded
        self._oldest = None
        now = asyncio.get_running_loop().time()
        if crowded and any(job is oldest for job in self._grabber.in_window()):
            if not self._warned and now >= self._warned_at + QUIET_S:
                self._warned = True
                self._warned_at = now
                self._warn()
        elif self._warned:
            self._warned = False
            LOG.info("fan-outs are taken again")
        if crowded or self._warned:
            self._crowded()

    def _warn(self) -> None:
        jobs = [self._whose(job) for job in self._grabber.in_window()]
        topics = Counter(topic for topic, _ in jobs).most_common(_TOPICS)
        reasons = Counter(reason for _, reason in jobs).most_common()
        LOG.warning(
            "no further fan-outs are taken, as the %d that are on their way fill [fanout] "
            "max_in_flight, or its bytes, for more than a second; by topic: %s; they wait for: %s",
            len(jobs),
            ", ".join(f"{topic!r} {count}" for topic, count in topics),
            ", ".join(f"{reason} {count}" for reason, count in reasons),
        )
