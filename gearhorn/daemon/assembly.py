# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The parts of a daemon, made and connected."""

from collections.abc import Callable

from gearhorn import errors, messages
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
from gearhorn.daemon.numbers.survey import Survey
from gearhorn.daemon.open_fanouts import OpenBounds
from gearhorn.daemon.publishers import Publishers
from gearhorn.daemon.queries import Queries
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.registry import Registry
from gearhorn.daemon.retirement import retire
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
from gearhorn.wire.address import Address
from gearhorn.wire.client_counter import ClientCounter
from gearhorn.wire.look import Look
from gearhorn.wire.marker import Marker
from gearhorn.wire.submitter import Submitter
from gearhorn.wire.watch import Watch

QUERY_STORE_TIMEOUTS = 2
"""The timeouts of the store that a query waits: it may be queued behind other calls."""


def _bounds(settings: DaemonSettings) -> OpenBounds:
    return OpenBounds(
        fanouts=settings.max_open_fanouts,
        copies=settings.max_open_copies,
        waiting_bytes=WINDOW_MESSAGES * settings.max_message_bytes,
        out=settings.max_in_flight,
    )


class Assembly:
    """The parts of one daemon. None knows more of the others than it is given here.

    :param on_failed: called with the error of a part that the daemon cannot do without.
    :param status: returns the daemon's row for a query, given a fault of the store or ``None``.
    """

    def __init__(
        self,
        settings: DaemonSettings,
        worker_id: str,
        *,
        on_failed: Callable[[BaseException], object],
        status: Callable[[errors.StoreError | None], messages.StatusRow],
    ) -> None:
        self.settings = settings
        self.worker_id = worker_id
        self._on_failed = on_failed
        self._status = status
        self.counts = Counts()
        self.refusals = Refusals(self.counts, roles(settings, worker_id))
        self.agreement = Agreement(settings)
        self._reach_job_servers()
        self._reach_store()
        self._take_requests()
        self._connect_parts()
        self._look_at_parts()

    def _reach_job_servers(self) -> None:
        watch = Watch()
        settings = self.settings
        self.submitter = Submitter(self.worker_id, settings.wire, settings.max_message_bytes, watch)
        self.workers = Workers(self.worker_id, settings, watch, self.refusals)
        self.marker = Marker(self.worker_id, settings.wire, watch)
        self.client_counter = ClientCounter(settings.wire, watch)
        self.guard, self.looks = guard_of(settings, self.submitter, self.agreement)

    def _reach_store(self) -> None:
        """Make the store, the cached lists, and the parts that keep those true."""
        settings = self.settings
        self.patience = Patience()
        self.store = stores.subscriptions_of(settings, self.worker_id)
        time_calls(self.store, OPERATIONS, self.counts.calls.called)
        self.opening = Opening(
            self.store,
            self.patience,
            Lookout(settings),
            self.marker,
            Memory(settings),
            create=settings.create,
            reconnect_max=settings.wire.reconnect_max,
        )
        self.endings = Endings(self.store, settings)
        self.sampler = Sampler(
            settings, self.store, self.guard.seen, lambda: self.submitter.servers
        )
        self.lists = ListCache(
            self.store,
            self.patience,
            worker_id=self.worker_id,
            uncached_topic=settings.matchmaking_topic,
            cache_ttl=settings.leases.cache_ttl,
            max_topics=settings.max_cached_topics,
            counts=self.counts,
        )
        self.journals = journals_of(
            settings,
            self.worker_id,
            self.patience,
            self.lists,
            self.submitter,
            self.refusals,
            self.counts,
            self.guard.seen,
            self.looks.due,
            self.store,
        )
        self.matchmaking = Matchmaking(
            self.store,
            self.patience,
            self.lists,
            self.submitter,
            self.refusals,
            self.agreement,
            worker_id=self.worker_id,
            topic=settings.matchmaking_topic,
            leases=settings.leases,
            counts=self.counts,
        )
        self.in_force = InForce(
            self.store,
            self.patience,
            self.journals.patterns,
            identity=lambda: self.journals.identity,
            confirm=self.matchmaking.confirm,
        )
        self.upkeep = Upkeep(
            self.store,
            self.patience,
            self.matchmaking,
            leases=settings.leases,
            retire=self._retire,
            check_store=self.opening.check_store,
        )

    def _take_requests(self) -> None:
        """Make the parts that do the work of each function."""
        settings = self.settings
        self.publishers = Publishers(self.client_counter)
        self.fanouts = self.journals.make_fanouts(
            self.lists,
            self.submitter,
            self.refusals,
            order=settings.order,
            timeout=settings.fanout_timeout,
            generate_unique=settings.generate_unique,
            max_message_bytes=settings.max_message_bytes,
            admit=self.guard.admit,
            prepare=self.guard.prepare,
            max_timeout=settings.max_timeout,
            bounds=_bounds(settings),
            watch=self.publishers.watch,
            counts=self.counts,
        )
        self.registry = Registry(
            self.store,
            self.patience,
            self.matchmaking,
            self.refusals,
            matchmaking_topic=settings.matchmaking_topic,
            own_functions=vars(settings.functions).values(),
            counts=self.counts,
            journals=self.journals,
        )
        self.queries = Queries(
            self.store,
            self.refusals,
            self.agreement,
            timeout=QUERY_STORE_TIMEOUTS * settings.store_timeout,
            status=self._status,
            depth=self.guard.seen.depth,
            journals=self.journals,
        )

    async def _pause(self) -> None:
        self.lists.patterns = -1
        self.lists.drop_all()
        await self.workers.pause()

    def _resume(self, version: int) -> None:
        self.lists.patterns = version
        self.workers.resume()

    def _connect_parts(self) -> None:
        """Connect the parts: all callbacks are set here, as no part knows the others."""
        self.workers.serve(
            fanout=self.fanouts.take,
            query=self.queries.take,
            read=self.journals.take_read,
            register=self.registry.register,
            unregister=self.registry.unregister,
            notice=self.queries.beside(self.matchmaking.take),
        )
        self.crowding = Crowding(self.workers.fanouts, self.fanouts.whose)
        self.submitter.on_servers_changed = self._servers_changed
        self.submitter.on_block = self.guard.count_block
        self.guard.on_due = self.looks.due
        self.guard.on_work = self.looks.work
        self.looks.on_look = self._looked
        self.looks.interval = self.endings.look_interval
        self.endings.look_soon = self.sampler.look_soon = self.looks.due
        self.endings.confirm = self.matchmaking.confirm
        self.patience.on_replaced = self.opening.store_replaced
        self.opening.on_waiting = self.workers.take_queries
        self.opening.on_changed = self._store_changed
        self.lists.on_unknown = self.matchmaking.renew_soon
        self.store.on_went_back = self.matchmaking.store_went_back
        self.matchmaking.on_removed = self.upkeep.daemon_removed
        self.matchmaking.on_own_topic = self.in_force.look_soon
        self.lists.until_served = self.in_force.until_served
        self.in_force.on_paused = self._pause
        self.in_force.on_resumed = self._resume
        for part in (
            *self.workers.all,
            self.submitter,
            self.client_counter,
            self.marker,
            self.looks,
            self.endings,
            self.sampler,
            self.opening,
            self.matchmaking,
            self.upkeep,
            self.journals,
            self.in_force,
        ):
            part.on_failed = self._on_failed

    def _look_at_parts(self) -> None:
        self.survey = Survey(
            self.settings,
            self.counts,
            self.agreement,
            self.workers,
            self.submitter,
            self.marker,
            self.fanouts,
            self.lists,
            self.store,
            self.patience,
            self.opening,
            self.matchmaking,
            self.guard.seen,
            self.endings,
            self.journals,
            self.sampler,
        )

    def apply(self, settings: DaemonSettings) -> None:
        """Go by these settings, in which only what can change while it runs differs.

        What is in hand ends as it began, and no connection is dropped.
        """
        before, self.settings = self.settings, settings
        for part in (self.workers, self.endings, self.sampler, self.journals):
            part.apply(settings)
        for pool in (self.submitter, self.marker, self.client_counter, self.looks):
            pool.apply(settings.wire)
        self.opening.apply(settings.wire)
        self.store.set_timeout(settings.store_timeout)
        self.queries.set_timeout(QUERY_STORE_TIMEOUTS * settings.store_timeout)
        self.lists.set_max_topics(settings.max_cached_topics)
        if settings.limits != before.limits:
            self.guard.apply(settings.limits)
        self.guard.max_topics = settings.max_cached_topics
        self.fanouts.apply(
            timeout=settings.fanout_timeout,
            generate_unique=settings.generate_unique,
            max_timeout=settings.max_timeout,
            bounds=_bounds(settings),
        )
        if self.agreement.apply(settings.limits):
            self.matchmaking.renew_soon()
        self._look_at_parts()

    def _looked(self, server: Address, look: Look, asked: float) -> None:
        self.endings.looked(server, look, asked)
        self.sampler.looked()

    def _servers_changed(self) -> None:
        # Before fan-outs go on: queues have moved.
        self.guard.servers_changed()
        self.looks.servers_changed()
        self.fanouts.servers_changed()

    def _store_changed(self, opened: Opened) -> None:
        self.lists.keep_none()
        self.journals.store_changed(opened)
        # The entry is not in this store, so the daemon joins anew.
        self.matchmaking.renew_soon()

    async def _retire(self, worker_id: str) -> bool:
        function = self.workers.notice_function(worker_id)
        return await retire(function, self.settings.servers, self.settings.wire)
