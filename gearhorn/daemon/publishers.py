# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Publishers that have left: nobody waits any longer for the end of their fan-outs.

gearmand tells a worker nothing when the client of a job that it holds has gone. So the
daemon asks, on a connection of its own, how many clients each job has.
"""

import asyncio
import logging

from gearhorn.daemon.attendance import Attendance, Owner, Watched
from gearhorn.wire.address import Address
from gearhorn.wire.client_counter import ClientCounter, Counts
from gearhorn.wire.job import Job

LOG = logging.getLogger(__name__)

ANSWER_S = 10.0
"""Seconds after which a server counts as one that does not answer."""


class _Server:
    """The publishers of one job server, and the timer of the next questions to it."""

    __slots__ = ("attendance", "silent", "timer", "timer_at")

    def __init__(self) -> None:
        self.attendance = Attendance()
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at = 0.0
        self.silent = False
        """True since questions were not answered in time."""


class Publishers:
    """The publishers that wait for reports, as far as their jobs can be asked for."""

    def __init__(self, counter: ClientCounter) -> None:
        self._counter = counter
        self._servers: dict[Address, _Server] = {}
        counter.on_counts = self._answered
        counter.on_ready = self._connected
        counter.on_gone = self._lost

    def watch(self, job: Job, owner: Owner) -> Watched | None:
        """Ask for the publisher of ``job``, until it is :meth:`~Watched.done`.

        :returns: ``None`` if it cannot be asked for: the job has no unique.
        """
        # With "-" jobs coalesce on their data, and the question finds none.
        if not job.unique or job.unique == b"-":
            return None
        address = job.connection.server
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = _Server()
        watched = Watched(job.unique, owner)
        server.attendance.add(watched, job.connection.loop.time())
        if server.timer is None or watched.due < server.timer_at:
            self._plan(address, server)
        return watched

    def close(self) -> None:
        """Ask no more."""
        for server in self._servers.values():
            _cancel(server)
        self._servers.clear()

    def _plan(self, address: Address, server: _Server) -> None:
        """Have the next questions asked when it is time."""
        # The timer is that of the answers while they are waited for.
        if server.attendance.waits or server.silent or address not in self._counter.connections:
            return
        _cancel(server)
        at = server.attendance.next_at()
        if at is not None:
            loop = asyncio.get_running_loop()
            server.timer_at = at
            server.timer = loop.call_at(at, self._ask, address, server)

    def _ask(self, address: Address, server: _Server) -> None:
        server.timer = None
        loop = asyncio.get_running_loop()
        asked = server.attendance.take(loop.time())
        if asked:
            self._counter.ask(address, [watched.unique for watched in asked])
            server.timer = loop.call_later(ANSWER_S, self._late, address, server)
            server.timer_at = 0.0
        else:
            self._plan(address, server)

    def _answered(self, address: Address, counts: Counts, cost: float) -> None:
        server = self._servers.get(address)
        if server is None:
            return
        _cancel(server)
        if server.silent:
            # What it was asked has been forgotten.
            server.silent = False
            LOG.info("job server %s: says again which publishers have left", address)
        else:
            now = asyncio.get_running_loop().time()
            for owner in server.attendance.answered(counts, cost, now):
                owner.publisher_left()
            unasked = server.attendance.unasked
            LOG.debug("%s told of %d publishers; %d are new", address, len(counts), unasked)
        self._plan(address, server)

    def _late(self, address: Address, server: _Server) -> None:
        server.timer = None
        server.silent = True
        LOG.warning(
            "job server %s: does not say which publishers have left, for %g seconds; fan-outs "
            "go on until their time is up",
            address,
            ANSWER_S,
        )
        server.attendance.lost(asyncio.get_running_loop().time())

    def _connected(self, address: Address) -> None:
        server = self._servers.get(address)
        if server is not None:
            self._plan(address, server)

    def _lost(self, address: Address) -> None:
        server = self._servers.get(address)
        if server is not None:
            _cancel(server)
            server.silent = False
            server.attendance.lost(asyncio.get_running_loop().time())


def _cancel(server: _Server) -> None:
    if server.timer is not None:
        server.timer.cancel()
        server.timer = None
