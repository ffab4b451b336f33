# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Looks at the depths of all queues on each job server, when ``pace`` says so.

Each server has a task and a connection for nothing else, so that a look that hangs holds
nothing up. Fan-outs never wait for one.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence

import async_timeout

from gearhorn import clock, errors
from gearhorn.daemon.guard.guard import Guard, Outcome
from gearhorn.daemon.guard.pace import Pace
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.trust.agreement import Agreement
from gearhorn.tasks import OnFailed, Steps, Tasks, in_turns, wait_until
from gearhorn.wire import admin
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.look import Look, look
from gearhorn.wire.submitter import Submitter

LOG = logging.getLogger(__name__)

TIMEOUT_S = 10.0
"""Seconds after which a look that was not answered is given up."""

SELDOM_S = 60.0
"""About the seconds between two looks that nothing asks for."""

FIRST_S = 1.0
"""The longest wait for the first looks before jobs are taken."""

AGAIN_S = 1.0
"""About the seconds before a server that is away is tried again. They double each time."""


class _Watched:
    """A server that is looked at."""

    def __init__(self, interval: float) -> None:
        self.pace = Pace(interval)
        self.woken = asyncio.Event()
        self.looked = asyncio.Event()
        self.silent = False
        """True once the log has said that looks are not answered."""


class Looks:
    """Looks at the job servers."""

    def __init__(
        self,
        servers: Sequence[Address],
        settings: ConnectionSettings,
        guard: Guard,
        submitter: Submitter,
    ) -> None:
        self._settings = settings
        self._guard = guard
        self._submitter = submitter
        self._watched = {server: _Watched(SELDOM_S) for server in servers}
        self._connected: frozenset[Address] = frozenset()
        self.interval: Callable[[], float] = lambda: SELDOM_S
        """Returns about the seconds between two looks that nothing asks for."""
        self.on_look: Callable[[Address, Look, float], None] = lambda server, look, asked: None
        """Called with each look, and when it was asked for."""
        self.on_failed: OnFailed = lambda error: None
        """Called with an unexpected error, after which a server is not looked at again."""
        self._tasks = Tasks(lambda error: self.on_failed(error))

    async def start(self) -> None:
        """Look from now on; return when all servers were looked at, or in a second."""
        for server, watched in self._watched.items():
            self._tasks.keep(self._watch(server, watched), f"the looks at {server}")
        try:
            async with async_timeout.timeout(FIRST_S):
                await asyncio.gather(*(watched.looked.wait() for watched in self._watched.values()))
        except asyncio.TimeoutError:
            # They go on; until then nothing is known to wait there.
            pass

    def apply(self, settings: ConnectionSettings) -> None:
        """Go by these settings; look at all servers soon, as limits may be others too."""
        self._settings = settings
        for server in self._watched:
            self.due(server, False)

    async def close(self) -> None:
        """Look no more."""
        await self._tasks.cancel()

    def work(self, steps: Steps[None]) -> None:
        """Do long work of the guard, with other work in between."""
        self._tasks.start(in_turns(steps))

    def due(self, server: Address, urgent: bool) -> None:
        """Look as soon as the pace allows; more often if ``urgent``."""
        pace = self._watched[server].pace
        if not pace.wanted or (urgent and not pace.urgent):
            pace.wanted = True
            pace.urgent = pace.urgent or urgent
            self._watched[server].woken.set()

    def servers_changed(self) -> None:
        """Look at the servers that have come back."""
        connected = frozenset(self._submitter.servers)
        for server in connected - self._connected:
            self._watched[server].pace.wanted = True
            self._watched[server].woken.set()
        self._connected = connected

    async def _watch(self, server: Address, watched: _Watched) -> None:
        pause = AGAIN_S
        while True:
            # Before the attempt: a server that comes back meanwhile is tried again at once.
            watched.woken.clear()
            try:
                async with admin.connected(server, self._settings) as streams:
                    while True:
                        await self._wait(watched)
                        await self._look(server, watched, streams)
                        pause = AGAIN_S
            except errors.ServerLost as error:
                LOG.debug("no look at %s: %s", server, error)
            # One that is away holds nothing up.
            watched.looked.set()
            watched.pace.wanted = True
            await wait_until(watched.woken, random.uniform(0.5, 1.0) * pause)
            pause = min(2 * pause, self._settings.reconnect_max)

    async def _wait(self, watched: _Watched) -> None:
        """Return when a look is due."""
        while True:
            watched.woken.clear()
            now = clock.now()
            due = watched.pace.when(now, self._guard.daemons())
            if due <= now:
                return
            await wait_until(watched.woken, due - now)

    async def _look(
        self,
        server: Address,
        watched: _Watched,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        pace, guard = watched.pace, self._guard
        began = time.thread_time()
        asked = guard.asked(server, clock.now(), self._submitter.under_way(server))
        own = time.thread_time() - began
        pace.interval = self.interval()
        pace.asked(asked.when)
        try:
            found = await look(server, self._settings, streams, TIMEOUT_S)
        except errors.ServerLost:
            # One that is away is in the log already.
            if clock.now() - asked.when >= TIMEOUT_S and not watched.silent:
                watched.silent = True
                LOG.warning(
                    "job server %s does not tell how deep its queues are, in %g seconds; asking "
                    "again. Until then limits go by the last answer",
                    server,
                    TIMEOUT_S,
                )
            raise
        if watched.silent:
            watched.silent = False
            LOG.info("job server %s tells again how deep its queues are", server)
        known = guard.seen.server(server)
        known.looks += 1
        known.look_seconds += found.took
        # What is due by the new depths is said while they are taken.
        pace.wanted = pace.urgent = False
        outcome, its_own = await _timed(guard.take(server, found, asked))
        pace.leaves_out = bool(known.full)
        own += its_own + found.own
        pace.answered(clock.now(), found.took, own, fell=outcome.fell, half_full=outcome.half_full)
        self.on_look(server, found, asked.when)
        watched.looked.set()


def guard_of(
    settings: DaemonSettings, submitter: Submitter, agreement: Agreement
) -> tuple[Guard, Looks]:
    """Return the parts that keep the queues of a daemon within their limits."""
    guard = Guard(
        settings.limits,
        uncounted_topic=settings.matchmaking_topic,
        servers=lambda: submitter.servers,
        daemons=lambda: agreement.daemons,
        max_topics=settings.max_cached_topics,
    )
    return guard, Looks(settings.servers, settings.wire, guard, submitter)


async def _timed(steps: Steps[Outcome]) -> tuple[Outcome, float]:
    """Do ``steps`` with other work in between; return their result and processor time."""
    took = 0.0
    while True:
        began = time.thread_time()
        try:
            next(steps)
        except StopIteration as done:
            outcome: Outcome = done.value
            return outcome, took + time.thread_time() - began
        took += time.thread_time() - began
        await asyncio.sleep(0)
