# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon's five workers. No kind of work can stop another."""

import asyncio
import logging
from collections.abc import Callable, Mapping

import async_timeout

from gearhorn import messages
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.wire.grabber import Grabber, Job
from gearhorn.wire.watch import Watch

LOG = logging.getLogger(__name__)

SMALL_WINDOW = 1000
"""The most registrations and removals in hand, the most queries, the most notices, and the
most readers that do not wait."""
SMALL_MESSAGE_BYTES = 64 * 1024
"""The largest request but for fan-outs."""
WINDOW_MESSAGES = 4
"""The messages of the largest size that the fan-outs in the window may hold."""

Take = Callable[[Job], None]


FANOUT = "fanout"
REGISTER = "register"
UNREGISTER = "unregister"
QUERY = "query"
READ = "read"
NOTICE = "notice"
ROLES = (FANOUT, REGISTER, UNREGISTER, QUERY, READ, NOTICE)
"""The roles of the daemon's functions, whatever their names are."""


def roles(settings: DaemonSettings, worker_id: str) -> Mapping[bytes, str]:
    """Return the role of each function of a daemon."""
    functions = settings.functions
    role_of = {
        functions.fanout: FANOUT,
        functions.query: QUERY,
        functions.read: READ,
        functions.register: REGISTER,
        functions.subscribe: REGISTER,
        functions.unregister: UNREGISTER,
        functions.unsubscribe: UNREGISTER,
        messages.queue_name(settings.matchmaking_topic, worker_id): NOTICE,
    }
    return {function.encode(): role for function, role in role_of.items()}


class Workers:
    """The grabbers of all the daemon's functions.

    :param worker_id: the name that servers show for the workers.
    """

    def __init__(
        self, worker_id: str, settings: DaemonSettings, watch: Watch, refusals: Refusals
    ) -> None:
        self._refusals = refusals
        self._settings = settings
        self.fanouts = Grabber(
            worker_id,
            settings.wire,
            settings.max_message_bytes,
            watch,
            settings.max_in_flight,
            WINDOW_MESSAGES * settings.max_message_bytes,
        )
        self.requests, self.queries, self.notices, self.reads = (
            Grabber(
                worker_id,
                settings.wire,
                SMALL_MESSAGE_BYTES,
                watch,
                SMALL_WINDOW,
                SMALL_WINDOW * SMALL_MESSAGE_BYTES,
            )
            for _ in range(4)
        )
        self.all = (self.fanouts, self.requests, self.queries, self.notices, self.reads)
        self._drained = (self.requests, self.reads, self.queries, self.fanouts)
        self._served = (self.requests, self.reads, self.fanouts)
        self._worker_id = worker_id
        self._answers_queries = False

    def serve(
        self,
        *,
        fanout: Take,
        query: Take,
        read: Take,
        register: Take,
        unregister: Take,
        notice: Take,
    ) -> None:
        """Set the takers of each function's jobs. Call this before anything connects."""
        functions = self._settings.functions
        # From 2.0.0 on gearmand gives the jobs of high priority in all functions of a
        # connection first. So queries have one of their own: of high priority they would
        # hold up registrations, and so would all that are in hand.
        for worker, take, names in (
            (self.fanouts, fanout, (functions.fanout,)),
            (self.queries, query, (functions.query,)),
            (self.reads, read, (functions.read,)),
            (self.requests, register, (functions.register, functions.subscribe)),
            (self.requests, unregister, (functions.unregister, functions.unsubscribe)),
            (self.notices, notice, (self.notice_function(self._worker_id),)),
        ):
            for name in names:
                worker.add_function(name, self._refusals.guarded(take))

    def notice_function(self, worker_id: str) -> str:
        """Return the function in which a daemon takes notices."""
        return messages.queue_name(self._settings.matchmaking_topic, worker_id)

    async def take_notices(self) -> None:
        """Connect, and return once notices can be taken on one server."""
        self.notices.connect(self._settings.servers)
        await self.notices.connected()

    def apply(self, settings: DaemonSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings
        for worker in self.all:
            worker.apply(settings.wire)
        self.fanouts.set_window(settings.max_in_flight)

    def take_queries(self) -> None:
        """Take queries and nothing else until :meth:`take_all`."""
        if not self._answers_queries:
            self._answers_queries = True
            self.queries.connect(self._settings.servers)

    async def take_all(self) -> None:
        """Connect, and return once all other jobs can be taken on one server."""
        self.take_queries()
        for worker in self._served:
            worker.connect(self._settings.servers)
        for worker in self._drained:
            await worker.connected()

    async def pause(self) -> None:
        """Give back fan-outs, registrations and reads, and take none."""
        await asyncio.gather(*(worker.pause() for worker in self._served))

    def resume(self) -> None:
        """Take these again."""
        for worker in self._served:
            worker.resume()

    def stop_grabbing(self) -> None:
        """Take no more jobs except notices."""
        for worker in self._drained:
            worker.stop_grabbing()

    async def drain(self) -> None:
        """Wait until the jobs in hand are done, or ``drain_timeout`` has passed."""
        timeout = self._settings.drain_timeout
        drained = self._drained
        if held := sum(worker.held for worker in drained):
            LOG.info(
                "waiting up to %g seconds for %d jobs in hand; a second signal ends it at once",
                timeout,
                held,
            )
        idle = asyncio.gather(*(worker.idle.wait() for worker in drained))
        try:
            async with async_timeout.timeout(timeout):
                await idle
            return
        except asyncio.TimeoutError:
            # Logged below, not in the handler: oslo.log would add the exception.
            pass
        LOG.warning(
            "%d jobs were not finished in %g seconds: handing them back",
            sum(worker.held for worker in drained),
            timeout,
        )
