# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The daemon: all parts put together, started, drained and stopped."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import async_timeout

from gearhorn import clock, errors, messages, notify
from gearhorn.fanout import FanOuts, Order
from gearhorn.matchmaking import Matchmaking
from gearhorn.queries import Queries
from gearhorn.refusals import guarded
from gearhorn.registry import Registry
from gearhorn.store import open_store
from gearhorn.store.patience import Patience
from gearhorn.subscribers import Subscribers
from gearhorn.tasks import end
from gearhorn.upkeep import Upkeep
from gearhorn.version import installed_version
from gearhorn.wire import admin
from gearhorn.wire.grabber import Grabber
from gearhorn.wire.servers import Server, Settings, Watch
from gearhorn.wire.submitter import Submitter

LOG = logging.getLogger(__name__)

SMALL_WINDOW = 1000
"""How many registrations, and how many notices, are in hand at the most."""
SMALL_MESSAGE_BYTES = 64 * 1024
"""The largest registration, removal or notice."""
QUERY_STORE_TIMEOUTS = 2
"""How many timeouts of the store a query waits, behind other calls of it."""
SECOND_SIGNAL_S = 0.2
"""A signal within this many seconds of the first counts as the same."""
WINDOW_MESSAGES = 4
"""How many messages of the largest size the fan-outs in hand may hold."""


@dataclass(frozen=True)
class FunctionNames:
    """What the daemon's functions are called."""

    register: str = "register_fanout_subscriber"
    subscribe: str = "subscribe_fanout"
    unregister: str = "unregister_fanout_subscriber"
    unsubscribe: str = "unsubscribe_fanout"
    fanout: str = "fanout"
    query: str = "fanout_query"


@dataclass(frozen=True)
class DaemonSettings:
    """All that a daemon is told, as plain values. Times are in seconds."""

    servers: Sequence[Server]
    store_url: str
    worker_name: str = field(default_factory=socket.gethostname)
    wire: Settings = field(default_factory=Settings)
    functions: FunctionNames = field(default_factory=FunctionNames)
    key_prefix: str = "gearhorn:"
    store_timeout: float = 5.0
    fanout_timeout: float = 60.0
    order: Order = "receiver"
    max_in_flight: int = 1000
    max_message_bytes: int = 64 << 20
    generate_unique: bool = True
    matchmaking_topic: str = "__matchmaking"
    cache_ttl: float = 10.0
    daemon_ttl: float = 60.0
    max_cached_topics: int = 10_000
    drain_timeout: float = 30.0
    alone: bool = False
    """No other daemon shares the store: whoever has an entry is dead."""


def new_worker_id(name: str) -> str:
    """A worker id that shows where the daemon runs and is used once."""
    return f"{name}-{os.getpid()}-{os.urandom(4).hex()}"


class Daemon:
    """One daemon, from its start to its end.

    Three workers, so that one kind of work can never stop another, and a
    client that submits the copies.
    """

    def __init__(self, settings: DaemonSettings) -> None:
        self.settings = settings
        self.worker_id = new_worker_id(settings.worker_name)
        self.on_ready: Callable[[], None] = lambda: None
        """Called once the daemon serves."""
        self._created = clock.now()
        self._stopped_at = 0.0
        self._stopping = asyncio.Event()
        self._patience = Patience()
        self._store = open_store(
            settings.store_url,
            key_prefix=settings.key_prefix,
            matchmaking_topic=settings.matchmaking_topic,
            timeout=settings.store_timeout,
        )
        watch = Watch()
        self._submitter = Submitter(
            self.worker_id, settings.wire, settings.max_message_bytes, watch
        )
        self._fanout_worker = Grabber(
            self.worker_id,
            settings.wire,
            settings.max_message_bytes,
            watch,
            settings.max_in_flight,
            WINDOW_MESSAGES * settings.max_message_bytes,
        )
        self._registry_worker, self._matchmaking_worker = (
            Grabber(
                self.worker_id,
                settings.wire,
                SMALL_MESSAGE_BYTES,
                watch,
                SMALL_WINDOW,
                SMALL_WINDOW * SMALL_MESSAGE_BYTES,
            )
            for _ in range(2)
        )
        self._subscribers = Subscribers(
            self._store,
            self._patience,
            worker_id=self.worker_id,
            uncached_topic=settings.matchmaking_topic,
            cache_ttl=settings.cache_ttl,
            max_topics=settings.max_cached_topics,
        )
        self._matchmaking = Matchmaking(
            self._store,
            self._patience,
            self._subscribers,
            self._submitter,
            worker_id=self.worker_id,
            topic=settings.matchmaking_topic,
            cache_ttl=settings.cache_ttl,
            daemon_ttl=settings.daemon_ttl,
        )
        functions = settings.functions
        self._registry = Registry(
            self._store,
            self._patience,
            self._matchmaking,
            matchmaking_topic=settings.matchmaking_topic,
            own_functions=vars(functions).values(),
        )
        self._queries = Queries(
            self._store,
            timeout=QUERY_STORE_TIMEOUTS * settings.store_timeout,
            status=self._status,
        )
        self._fanouts = FanOuts(
            self._subscribers,
            self._submitter,
            order=settings.order,
            timeout=settings.fanout_timeout,
            generate_unique=settings.generate_unique,
            max_message_bytes=settings.max_message_bytes,
        )
        self._upkeep = Upkeep(
            self._store,
            self._patience,
            self._matchmaking,
            cache_ttl=settings.cache_ttl,
            daemon_ttl=settings.daemon_ttl,
            retire=self._retire,
        )
        # Of one connection's functions the last registered is served first: a
        # flood of questions does not hold up what changes something.
        self._fanout_worker.add_function(functions.fanout, guarded(self._fanouts.take))
        self._registry_worker.add_function(functions.query, guarded(self._queries.take))
        for name in (functions.register, functions.subscribe):
            self._registry_worker.add_function(name, guarded(self._registry.register))
        for name in (functions.unregister, functions.unsubscribe):
            self._registry_worker.add_function(name, guarded(self._registry.unregister))
        self._matchmaking_worker.add_function(
            self._own_function(self.worker_id), guarded(self._matchmaking.take)
        )

    def _own_function(self, worker_id: str) -> str:
        return messages.queue_name(self.settings.matchmaking_topic, worker_id)

    async def run(self) -> None:
        """Serve until a signal comes, then drain.

        :raises StoreMisconfigured: the store cannot be used as configured.
        """
        self._catch_signals()
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
                notify.ready(f"serving as {self.worker_id}")
                LOG.info("daemon %s is ready", self.worker_id)
                self.on_ready()
                await stopping
            notify.stopping()
        finally:
            await end((starting, stopping))
            await self._stop()

    async def _start(self) -> None:
        notify.start_watchdog(asyncio.get_running_loop())
        await self._open_store()
        servers = self.settings.servers
        # In this order: notices can be taken, the entry stands, and only then
        # are lists kept and jobs taken.
        self._submitter.connect(servers)
        self._matchmaking_worker.connect(servers)
        await self._matchmaking_worker.connected()
        if self.settings.alone:
            await self._matchmaking.remove_all()
        await self._matchmaking.join()
        self._matchmaking.start()
        self._upkeep.start()
        self._registry_worker.connect(servers)
        self._fanout_worker.connect(servers)
        await self._registry_worker.connected()
        await self._fanout_worker.connected()

    async def _open_store(self) -> None:
        async def attempt() -> errors.StoreMisconfigured | None:
            # Waiting would not help; an operator at the console is told.
            try:
                await self._store.open()
            except errors.StoreMisconfigured as error:
                return error
            return None

        error = await self._patience.call(attempt)
        if error is not None:
            raise error

    async def _stop(self) -> None:
        LOG.info("daemon %s is stopping", self.worker_id)
        await self._drain()
        await self._fanout_worker.close()
        await self._fanouts.close()
        await self._registry.close()
        await self._queries.close()
        await self._registry_worker.close()
        await self._upkeep.close()
        await self._matchmaking.close()
        await self._matchmaking.leave()
        await self._matchmaking_worker.close()
        connected = tuple(self._submitter.servers)
        await self._submitter.close()
        await self._retire(self.worker_id, connected)
        await self._store.close()
        LOG.info("daemon %s has stopped", self.worker_id)

    async def _drain(self) -> None:
        """Take no more jobs and finish those in hand, while there is time."""
        workers = (self._fanout_worker, self._registry_worker)
        for worker in workers:
            worker.stop_grabbing()
        if held := sum(worker.held for worker in workers):
            LOG.info(
                "waiting up to %g seconds for %d jobs in hand; a second signal ends it at once",
                self.settings.drain_timeout,
                held,
            )
        idle = asyncio.gather(*(worker.idle.wait() for worker in workers))
        try:
            async with async_timeout.timeout(self.settings.drain_timeout):
                await idle
            return
        except asyncio.TimeoutError:
            # Said below, out of the handler: oslo.log would add the exception.
            pass
        LOG.warning(
            "%d jobs were not finished in %g seconds: handing them back",
            sum(worker.held for worker in workers),
            self.settings.drain_timeout,
        )

    async def _retire(self, worker_id: str, servers: Sequence[Server] | None = None) -> bool:
        """Remove a departed daemon's function from job servers, all if not told which."""
        function = self._own_function(worker_id)
        if servers is None:
            servers = self.settings.servers
        return all(
            await asyncio.gather(*(self._retire_from(server, function) for server in servers))
        )

    async def _retire_from(self, server: Server, function: str) -> bool:
        try:
            await admin.discard_queued(server, self.settings.wire, function)
            return await admin.drop_function(server, self.settings.wire, function)
        except errors.ServerLost as error:
            LOG.debug("function %s was not removed: %s", function, error)
            return False

    def _status(self, fault: errors.StoreError | None) -> messages.StatusRow:
        settings = self.settings
        # The store may answer what is read while it refuses changes.
        fault = fault or self._patience.fault
        return messages.StatusRow(
            worker_id=self.worker_id,
            version=installed_version(),
            uptime=round(clock.now() - self._created, 3),
            store_fault=None if fault is None else fault.code,
            servers={str(s): s in self._submitter.servers for s in settings.servers},
            fanouts=self._fanout_worker.held,
            requests=self._registry_worker.held,
            cached_topics=self._subscribers.kept,
            functions=vars(settings.functions),
            matchmaking_topic=settings.matchmaking_topic,
            cache_ttl=settings.cache_ttl,
            daemon_ttl=settings.daemon_ttl,
        )

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # One that is detached from its terminal, or runs under nohup, ignores SIGHUP.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        now = clock.now()
        if not self._stopping.is_set():
            self._stopped_at = now
            LOG.info("%s: draining", signal.Signals(number).name)
            self._stopping.set()
        # A process and its group are often signalled both, as by timeout(1).
        elif now - self._stopped_at > SECOND_SIGNAL_S:
            LOG.warning("second signal: exiting at once")
            logging.shutdown()
            os._exit(128 + number)
