# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon: its parts put together, started, drained and stopped."""

import asyncio
import logging
import os
from collections.abc import Callable

from gearhorn import clock, errors, messages
from gearhorn.daemon import stores
from gearhorn.daemon.crowding import Crowding
from gearhorn.daemon.guard.endings import Endings
from gearhorn.daemon.guard.looks import guard_of
from gearhorn.daemon.guard.sampler import Sampler
from gearhorn.daemon.journal.in_force import InForce
from gearhorn.daemon.journal.parts import journals_of
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.matchmaking import Matchmaking
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.numbers.status import status_row
from gearhorn.daemon.numbers.survey import Survey
from gearhorn.daemon.open_fanouts import OpenBounds
from gearhorn.daemon.publishers import Publishers
from gearhorn.daemon.queries import Queries
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.registry import Registry
from gearhorn.daemon.retirement import drop_marks, retire
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.trust.agreement import Agreement
from gearhorn.daemon.trust.lookout import Lookout
from gearhorn.daemon.trust.memory import Memory
from gearhorn.daemon.trust.opening import Opening
from gearhorn.daemon.upkeep import Upkeep
from gearhorn.daemon.workers import WINDOW_MESSAGES, Workers, roles
from gearhorn.store.identity import Opened
from gearhorn.store.patience import Patience
from gearhorn.store.timing import OPERATIONS, time_calls
from gearhorn.tasks import end
from gearhorn.version import installed_version
from gearhorn.wire.address import Address
from gearhorn.wire.client_counter import ClientCounter
from gearhorn.wire.look import Look
from gearhorn.wire.marker import Marker
from gearhorn.wire.submitter import Submitter
from gearhorn.wire.watch import Watch

LOG = logging.getLogger(__name__)

QUERY_STORE_TIMEOUTS = 2
"""The timeouts of the store that a query waits: it may be queued behind other calls."""


def new_worker_id(name: str) -> str:
    """Return a new worker id: the name, the process id and a random part."""
    return f"{name}-{os.getpid()}-{os.urandom(4).hex()}"


def _bounds(settings: DaemonSettings) -> OpenBounds:
    return OpenBounds(
        fanouts=settings.max_open_fanouts,
        copies=settings.max_open_copies,
        waiting_bytes=WINDOW_MESSAGES * settings.max_message_bytes,
        out=settings.max_in_flight,
    )


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
        self.settings = settings
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
        self._counts = Counts()
        self._refusals = Refusals(self._counts, roles(settings, self.worker_id))
        self._agreement = Agreement(settings)
        self._reach_job_servers()
        self._reach_store()
        self._take_requests()
        self._connect_parts()
        self._look_at_parts()

    # Building.

    def _reach_job_servers(self) -> None:
        watch = Watch()
        settings = self.settings
        self._submitter = Submitter(
            self.worker_id, settings.wire, settings.max_message_bytes, watch
        )
        self._workers = Workers(self.worker_id, settings, watch, self._refusals)
        self._marker = Marker(self.worker_id, settings.wire, watch)
        self._client_counter = ClientCounter(settings.wire, watch)
        self._guard, self._looks = guard_of(settings, self._submitter, self._agreement)

    def _reach_store(self) -> None:
        """Make the store, the cached lists, and the parts that keep those true."""
        settings = self.settings
        self._patience = Patience()
        self._store = stores.subscriptions_of(settings, self.worker_id)
        time_calls(self._store, OPERATIONS, self._counts.calls.called)
        self._opening = Opening(
            self._store,
            self._patience,
            Lookout(settings),
            self._marker,
            Memory(settings),
            create=settings.create,
            reconnect_max=settings.wire.reconnect_max,
        )
        self._endings = Endings(self._store, settings)
        self._sampler = Sampler(
            settings, self._store, self._guard.seen, lambda: self._submitter.servers
        )
        self._lists = ListCache(
            self._store,
            self._patience,
            worker_id=self.worker_id,
            uncached_topic=settings.matchmaking_topic,
            cache_ttl=settings.leases.cache_ttl,
            max_topics=settings.max_cached_topics,
            counts=self._counts,
        )
        self._journals = journals_of(
            settings,
            self.worker_id,
            self._patience,
            self._lists,
            self._submitter,
            self._refusals,
            self._counts,
            self._guard.seen,
            self._looks.due,
            self._store,
        )
        self._matchmaking = Matchmaking(
            self._store,
            self._patience,
            self._lists,
            self._submitter,
            self._refusals,
            self._agreement,
            worker_id=self.worker_id,
            topic=settings.matchmaking_topic,
            leases=settings.leases,
            counts=self._counts,
        )
        self._in_force = InForce(
            self._store,
            self._patience,
            self._journals.patterns,
            identity=lambda: self._journals.identity,
            confirm=self._matchmaking.confirm,
        )
        self._upkeep = Upkeep(
            self._store,
            self._patience,
            self._matchmaking,
            leases=settings.leases,
            retire=self._retire,
            check_store=self._opening.check_store,
        )

    def _take_requests(self) -> None:
        """Make the parts that do the work of each function."""
        settings = self.settings
        self._publishers = Publishers(self._client_counter)
        self._fanouts = self._journals.make_fanouts(
            self._lists,
            self._submitter,
            self._refusals,
            order=settings.order,
            timeout=settings.fanout_timeout,
            generate_unique=settings.generate_unique,
            max_message_bytes=settings.max_message_bytes,
            admit=self._guard.admit,
            prepare=self._guard.prepare,
            max_timeout=settings.max_timeout,
            bounds=_bounds(settings),
            watch=self._publishers.watch,
            counts=self._counts,
        )
        self._registry = Registry(
            self._store,
            self._patience,
            self._matchmaking,
            self._refusals,
            matchmaking_topic=settings.matchmaking_topic,
            own_functions=vars(settings.functions).values(),
            counts=self._counts,
            journals=self._journals,
        )
        self._queries = Queries(
            self._store,
            self._refusals,
            self._agreement,
            timeout=QUERY_STORE_TIMEOUTS * settings.store_timeout,
            status=self._status,
            depth=self._guard.seen.depth,
            journals=self._journals,
        )

    async def _pause(self) -> None:
        self._lists.patterns = -1
        self._lists.drop_all()
        await self._workers.pause()

    def _resume(self, version: int) -> None:
        self._lists.patterns = version
        self._workers.resume()

    def _connect_parts(self) -> None:
        """Connect the parts: all callbacks are set here, as no part knows the others."""
        self._workers.serve(
            fanout=self._fanouts.take,
            query=self._queries.take,
            read=self._journals.take_read,
            register=self._registry.register,
            unregister=self._registry.unregister,
            notice=self._queries.beside(self._matchmaking.take),
        )
        self._crowding = Crowding(self._workers.fanouts, self._fanouts.whose)
        self._submitter.on_servers_changed = self._servers_changed
        self._submitter.on_block = self._guard.count_block
        self._guard.on_due = self._looks.due
        self._guard.on_work = self._looks.work
        self._looks.on_look = self._looked
        self._looks.interval = self._endings.look_interval
        self._endings.look_soon = self._sampler.look_soon = self._looks.due
        self._endings.confirm = self._matchmaking.confirm
        self._patience.on_replaced = self._opening.store_replaced
        self._opening.on_waiting = self._workers.take_queries
        self._opening.on_changed = self._store_changed
        self._lists.on_unknown = self._matchmaking.renew_soon
        self._store.on_went_back = self._matchmaking.store_went_back
        self._matchmaking.on_removed = self._upkeep.daemon_removed
        self._matchmaking.on_own_topic = self._in_force.look_soon
        self._lists.until_served = self._in_force.until_served
        self._in_force.on_paused = self._pause
        self._in_force.on_resumed = self._resume
        for part in (
            *self._workers.all,
            self._submitter,
            self._client_counter,
            self._marker,
            self._looks,
            self._endings,
            self._sampler,
            self._opening,
            self._matchmaking,
            self._upkeep,
            self._journals,
            self._in_force,
        ):
            part.on_failed = self._failed

    def _look_at_parts(self) -> None:
        self.survey = Survey(
            self.settings,
            self._counts,
            self._agreement,
            self._workers,
            self._submitter,
            self._marker,
            self._fanouts,
            self._lists,
            self._store,
            self._patience,
            self._opening,
            self._matchmaking,
            self._guard.seen,
            self._endings,
            self._journals,
            self._sampler,
        )

    @property
    def uptime(self) -> float:
        """The seconds since the start."""
        return clock.now() - self._created

    @property
    def journals_differ(self) -> errors.JournalsDiffer | None:
        """Why it takes no fan-outs, registrations and reads, if its patterns are others."""
        return self._in_force.fault

    @property
    def failed(self) -> bool:
        """True if a part that it cannot do without has ended."""
        return self._failure is not None

    def apply(self, settings: DaemonSettings) -> None:
        """Go by these settings, in which only what can change while it runs differs.

        What is in hand ends as it began, and no connection is dropped.
        """
        before, self.settings = self.settings, settings
        for part in (self._workers, self._endings, self._sampler, self._journals):
            part.apply(settings)
        for pool in (self._submitter, self._marker, self._client_counter, self._looks):
            pool.apply(settings.wire)
        self._opening.apply(settings.wire)
        self._store.set_timeout(settings.store_timeout)
        self._queries.set_timeout(QUERY_STORE_TIMEOUTS * settings.store_timeout)
        self._lists.set_max_topics(settings.max_cached_topics)
        if settings.limits != before.limits:
            self._guard.apply(settings.limits)
        self._guard.max_topics = settings.max_cached_topics
        self._fanouts.apply(
            timeout=settings.fanout_timeout,
            generate_unique=settings.generate_unique,
            max_timeout=settings.max_timeout,
            bounds=_bounds(settings),
        )
        if self._agreement.apply(settings.limits):
            self._matchmaking.renew_soon()
        self._look_at_parts()

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
        # The order matters: first the store is opened, and shown to others. Then notices
        # can be taken, then the entry is made, and only then lists are kept and jobs taken.
        self._marker.connect(self.settings.servers)
        await self._opening.open()
        await self._journals.open(self._opening.opened)
        # At once: a store that is lost before the entry is made is waited for likewise.
        self._opening.start()
        self._submitter.connect(self.settings.servers)
        self._client_counter.connect(self.settings.servers)
        await self._workers.take_notices()
        if self.settings.alone:
            await self._matchmaking.remove_all()
        await self._matchmaking.join()
        self._matchmaking.start()
        # Without those of the store it takes no jobs.
        await self._workers.pause()
        await self._in_force.start()
        self._upkeep.start()
        self._endings.start()
        self._sampler.start()
        self._journals.start()
        await self._looks.start()
        await self._workers.take_all()

    def _looked(self, server: Address, look: Look, asked: float) -> None:
        self._endings.looked(server, look, asked)
        self._sampler.looked()

    def _servers_changed(self) -> None:
        # Before fan-outs go on: queues have moved.
        self._guard.servers_changed()
        self._looks.servers_changed()
        self._fanouts.servers_changed()

    def _store_changed(self, opened: Opened) -> None:
        self._lists.keep_none()
        self._journals.store_changed(opened)
        # The entry is not in this store, so the daemon joins anew.
        self._matchmaking.renew_soon()

    async def _stop(self) -> None:
        self.draining = True
        LOG.info("daemon %s is stopping", self.worker_id)
        self._workers.stop_grabbing()
        self._on_stopping()
        self._warn_if_store_is_replaced()
        self._journals.drain()
        await self._workers.drain()
        await self._in_force.close()
        await self._workers.fanouts.close()
        await self._fanouts.close()
        self._crowding.close()
        self._publishers.close()
        await self._client_counter.close()
        await self._registry.close()
        await self._queries.close()
        await self._journals.close()
        await self._workers.reads.close()
        await self._workers.requests.close()
        await self._workers.queries.close()
        await self._looks.close()
        await self._upkeep.close()
        await self._endings.close()
        await self._sampler.close()
        await self._opening.close()
        await self._matchmaking.close()
        await self._lists.close()
        await self._matchmaking.leave()
        await self._workers.notices.close()
        connected = tuple(self._submitter.servers)
        await self._submitter.close()
        marks, shown_on = self._marker.shown, tuple(self._marker.connections)
        await self._marker.close()
        own_function = self._workers.notice_function(self.worker_id)
        await asyncio.gather(
            drop_marks(marks, shown_on, self.settings.wire),
            retire(own_function, connected, self.settings.wire),
        )
        await self._store.close()
        self._guard.close()
        self._refusals.close()
        LOG.info("daemon %s has stopped", self.worker_id)

    def _warn_if_store_is_replaced(self) -> None:
        held = self._workers.fanouts.held + self._workers.requests.held
        if held and self._opening.waits:
            LOG.warning(
                "told to stop while the store is not the one that it was: handing back %d jobs, "
                "of which the fan-outs may wait for it. Restore or accept the store before a "
                "daemon is started that does not know it",
                held,
            )

    async def _retire(self, worker_id: str) -> bool:
        function = self._workers.notice_function(worker_id)
        return await retire(function, self.settings.servers, self.settings.wire)

    def _status(self, fault: errors.StoreError | None) -> messages.StatusRow:
        return status_row(
            self.survey,
            fault,
            worker_id=self.worker_id,
            uptime=self.uptime,
            differs=self.journals_differ,
        )
