# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon: its parts are started in an order that matters, drained and stopped."""

import asyncio
import logging
import os
from collections.abc import Callable

from gearhorn import clock, errors, messages
from gearhorn.daemon.assembly import Assembly
from gearhorn.daemon.numbers.status import status_row
from gearhorn.daemon.numbers.survey import Survey
from gearhorn.daemon.retirement import drop_marks, retire
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.tasks import end
from gearhorn.version import installed_version

LOG = logging.getLogger(__name__)


def new_worker_id(name: str) -> str:
    """Return a new worker id: the name, the process id and a random part."""
    return f"{name}-{os.getpid()}-{os.urandom(4).hex()}"


class Daemon:
    """One daemon, from its start to its end.

    :param on_ready: called once the daemon serves.
    :param on_stopping: called when the daemon begins to stop.
    """

    def __init__(
        self,
        settings: DaemonSettings,
        *,
        on_ready: Callable[[], None] = lambda: None,
        on_stopping: Callable[[], None] = lambda: None,
    ) -> None:
        self.worker_id = new_worker_id(settings.worker_name)
        self._on_ready = on_ready
        self._on_stopping = on_stopping
        self._created = clock.now()
        self.started = False
        """True from the moment at which it serves."""
        self.draining = False
        """True from the moment at which it begins to stop."""
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._parts = Assembly(
            settings, self.worker_id, on_failed=self._failed, status=self._status
        )

    @property
    def settings(self) -> DaemonSettings:
        """The settings of the moment."""
        return self._parts.settings

    @property
    def survey(self) -> Survey:
        """What can be seen of the daemon by these settings."""
        return self._parts.survey

    @property
    def uptime(self) -> float:
        """The seconds since the start."""
        return clock.now() - self._created

    @property
    def journals_differ(self) -> errors.JournalsDiffer | None:
        """Why it takes no fan-outs, registrations and reads, if its patterns are others."""
        return self._parts.in_force.fault

    @property
    def failed(self) -> bool:
        """True if a part that it cannot do without has ended."""
        return self._failure is not None

    def apply(self, settings: DaemonSettings) -> None:
        """Go by these settings, in which only what can change while it runs differs.

        What is in hand ends as it began, and no connection is dropped.
        """
        self._parts.apply(settings)

    # Running.

    def stop(self) -> None:
        """Make :meth:`run` drain and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until :meth:`stop`, then drain.

        :raises StoreMisconfigured: the store cannot be used as configured.
        :raises Exception: a part that it cannot do without has failed.
        """
        LOG.info(
            "gearhorn %s: job servers %s, store %s://",
            installed_version(),
            ", ".join(map(str, self.settings.servers)),
            self.settings.store_url.partition(":")[0],
        )
        starting = asyncio.ensure_future(self._start())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self.started = True
                LOG.info("daemon %s is ready", self.worker_id)
                self._on_ready()
                await stopping
        finally:
            await end((starting, stopping))
            await self._stop()
        if self._failure is not None:
            raise self._failure

    def _failed(self, error: BaseException) -> None:
        """Stop, as half a daemon would keep jobs that another could do."""
        self._failure = self._failure or error
        self.stop()

    async def _start(self) -> None:
        parts = self._parts
        # The order matters: first the store is opened, and shown to others. Then notices
        # can be taken, then the entry is made, and only then lists are kept and jobs taken.
        parts.marker.connect(parts.settings.servers)
        await parts.opening.open()
        await parts.journals.open(parts.opening.opened)
        # At once: a store that is lost before the entry is made is waited for likewise.
        parts.opening.start()
        parts.submitter.connect(parts.settings.servers)
        parts.client_counter.connect(parts.settings.servers)
        await parts.workers.take_notices()
        if parts.settings.alone:
            await parts.matchmaking.remove_all()
        await parts.matchmaking.join()
        parts.matchmaking.start()
        # Without those of the store it takes no jobs.
        await parts.workers.pause()
        await parts.in_force.start()
        parts.upkeep.start()
        parts.endings.start()
        parts.sampler.start()
        parts.journals.start()
        await parts.looks.start()
        await parts.workers.take_all()

    async def _stop(self) -> None:
        parts = self._parts
        self.draining = True
        LOG.info("daemon %s is stopping", self.worker_id)
        parts.workers.stop_grabbing()
        self._on_stopping()
        self._warn_if_store_is_replaced()
        parts.journals.drain()
        await parts.workers.drain()
        await parts.in_force.close()
        await parts.workers.fanouts.close()
        await parts.fanouts.close()
        parts.crowding.close()
        parts.publishers.close()
        await parts.client_counter.close()
        await parts.registry.close()
        await parts.queries.close()
        await parts.journals.close()
        await parts.workers.reads.close()
        await parts.workers.requests.close()
        await parts.workers.queries.close()
        await parts.looks.close()
        await parts.upkeep.close()
        await parts.endings.close()
        await parts.sampler.close()
        await parts.opening.close()
        await parts.matchmaking.close()
        await parts.lists.close()
        await parts.matchmaking.leave()
        await parts.workers.notices.close()
        connected = tuple(parts.submitter.servers)
        await parts.submitter.close()
        marks, shown_on = parts.marker.shown, tuple(parts.marker.connections)
        await parts.marker.close()
        own_function = parts.workers.notice_function(self.worker_id)
        await asyncio.gather(
            drop_marks(marks, shown_on, parts.settings.wire),
            retire(own_function, connected, parts.settings.wire),
        )
        await parts.store.close()
        parts.guard.close()
        parts.refusals.close()
        LOG.info("daemon %s has stopped", self.worker_id)

    def _warn_if_store_is_replaced(self) -> None:
        held = self._parts.workers.fanouts.held + self._parts.workers.requests.held
        if held and self._parts.opening.waits:
            LOG.warning(
                "told to stop while the store is not the one that it was: handing back %d jobs, "
                "of which the fan-outs may wait for it. Restore or accept the store before a "
                "daemon is started that does not know it",
                held,
            )

    def _status(self, fault: errors.StoreError | None) -> messages.StatusRow:
        return status_row(
            self.survey,
            fault,
            worker_id=self.worker_id,
            uptime=self.uptime,
            differs=self.journals_differ,
        )
