# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The processes of a run, and the network between them.

.. code-block:: none

    publishers, registrar, subscribers ──net-client-N──▶ gearmand-N ◀──net-daemon-N── daemons
                                                           redis ◀──net-store-M── daemon-M

Each arrow is a proxy. All daemons reach a job server under the same name, as they must.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gearhorn.tests.daemons import Daemon
from gearhorn.tests.ledger.actor import Actor, PublisherPart, RegistrarPart, SubscriberPart
from gearhorn.tests.ledger.schedule import Fault
from gearhorn.tests.processes import Process
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand, Redis

KEY_PREFIX = "ledger:"
DAEMON_OPTIONS: Mapping[str, object] = {
    # Short, so that a freeze outlasts them and a run has many of all cases.
    "matchmaking.cache_ttl": 2,
    "matchmaking.daemon_ttl": 6,
    "gearman.liveness_interval": 2,
    "gearman.liveness_timeout": 2,
    "gearman.reconnect_max": 1,
    "store.timeout": 1,
    "fanout.timeout": 10,
    "service.drain_timeout": 3,
}


class LedgerProxy(Proxy):
    """A proxy that can forget what it was told."""

    def heal(self) -> None:
        """Let everything flow, and arm nothing any more."""
        self._budget = None
        self._request_budget = None
        self.delay_s = 0.0
        self.mend()

    def begin(self, fault: Fault) -> None:
        if fault.kind == "cut":
            self.cut()
        elif fault.kind == "reset":
            self.reset()
        elif fault.kind in ("stall", "stall and cut"):
            self.stall()
        elif fault.kind == "delay":
            self.delay_s = 0.2
        elif fault.kind == "truncate":
            self.truncate(fault.after_bytes)
        else:
            self.stall_after(fault.after_bytes)

    def end(self, fault: Fault) -> None:
        if fault.kind == "stall and cut":
            self.cut()
        self.heal()


def queue_arguments(queue: str, file: Path) -> tuple[str, ...]:
    """The arguments of a gearmand that keeps its queue in memory or in SQLite."""
    if queue == "builtin":
        return ()
    return ("--queue-type=libsqlite3", f"--libsqlite3-db={file}")


def scratch() -> Path:
    """A directory in memory, if there is one.

    SIGKILL takes nothing from a process that it has given to the kernel, and a disk that is
    shared with others writes so slowly that it would be the subject.
    """
    memory = Path("/dev/shm")
    parent = str(memory) if memory.is_dir() else None
    return Path(tempfile.mkdtemp(prefix="gearhorn-ledger-", dir=parent))


class Scene:
    """All that runs.

    :param record: the directory that everybody appends to, and that takes the logs.
    :param passing: how many subscribers come and go in a topic, for each that stays.
    :param at_once: how many of these there are at a time in a topic, about.
    :param pause: between two messages of a publisher to a topic, in seconds.
    :param queue: ``libsqlite3`` or ``builtin``.
    :param posters: how many publish with background jobs of ``fanout``.
    :param ttl: of every other subscriber that comes and goes, in seconds.
    :param renew: after so many seconds the others are registered again.
    :param foreground: the share of messages whose publishers wait for the receivers.
    :param timeout: the time that those have, in seconds, if it is another than by default.
    :param batches: the share of turns of publishers in which they publish many messages at once.
    :param retries: how often a publisher sends a message again that has no answer.
    """

    def __init__(
        self,
        record: Path,
        *,
        topics: int = 3,
        daemons: int = 3,
        publishers: int = 2,
        subscribers: int = 3,
        passing: int = 25,
        at_once: int = 4,
        pause: float = 0.15,
        queue: str = "libsqlite3",
        daemon_options: Mapping[str, object] = DAEMON_OPTIONS,
        posters: int = 0,
        ttl: float | None = 6.0,
        renew: float | None = None,
        foreground: float = 0.2,
        timeout: float | None = None,
        batches: float = 0.1,
        retries: int = 0,
    ) -> None:
        self.record = record
        self.topics = [f"topic{number}" for number in range(topics)]
        self.publishers = [f"publisher-{number}" for number in range(publishers)]
        self.posters = [f"poster-{number}" for number in range(posters)]
        self.standing = [f"s{number}" for number in range(subscribers)]
        self.readers: list[str] = []
        """The programs that read journals."""
        self.processes: dict[str, Process] = {}
        self.proxies: dict[str, LedgerProxy] = {}
        self._stack = contextlib.ExitStack()
        self._scratch = scratch()
        self._stack.callback(shutil.rmtree, self._scratch, ignore_errors=True)
        self._daemon_options = daemon_options
        self._foreground = foreground
        self._timeout = timeout
        self._batches = batches
        self._retries = retries
        try:
            self._add_servers(queue)
            for number in range(daemons):
                self._add_daemon(number)
            for number, name in enumerate(self.publishers):
                self._add_publisher(name, pause * (number + 1))
            for number, name in enumerate(self.posters):
                self._add_publisher(name, pause * (number + 1))
            for number in range(subscribers):
                self._add_subscriber(number, passing)
            self._add_registrar(passing, at_once, pause, ttl, renew)
        except BaseException:
            self.close()
            raise

    @property
    def gearmands(self) -> list[Gearmand]:
        return [p for p in self.processes.values() if isinstance(p, Gearmand)]

    key_prefix = KEY_PREFIX
    """The beginning of every key, as it stands in the store."""

    @property
    def redis(self) -> Redis:
        """The server that has the keys."""
        redis = self.processes["redis"]
        assert isinstance(redis, Redis)
        return redis

    @property
    def targets(self) -> dict[str, float]:
        """The targets of faults, each with the weight of its share."""
        weights = {"daemon": 2.0, "gearmand": 1.5, "redis": 3.0, "publisher": 0.5, "poster": 0.5}
        return {
            name: weights.get(name.partition("-")[0], 1.0)
            for name in (*self.processes, *self.proxies)
            # It knows what it was answered, and is the one to judge by.
            if name != "registrar"
        }

    def close(self) -> None:
        """End everything; the logs stay in the record."""
        for name, process in self.processes.items():
            if process.log:
                (self.record / f"{name}.log").write_text(process.log)
        self._stack.close()

    # Faults.

    def begin(self, fault: Fault) -> None:
        if fault.target in self.proxies:
            self.proxies[fault.target].begin(fault)
            return
        process = self.processes[fault.target]
        if process.exit_code is not None:
            return
        if fault.kind == "kill":
            process.kill()
        elif fault.kind in ("freeze", "freeze and kill"):
            process.pause()
        else:
            process.terminate()

    def hindrance(self, fault: Fault) -> str:
        """Return why the fault cannot end yet: a process that was asked to end still runs."""
        if fault.kind == "restart" and self.processes[fault.target].exit_code is None:
            return "it still runs"
        return ""

    def end(self, fault: Fault) -> None:
        if fault.target in self.proxies:
            self.proxies[fault.target].end(fault)
            return
        process = self.processes[fault.target]
        if fault.kind == "freeze" and process.exit_code is None:
            process.resume()
            return
        if process.exit_code is None:
            process.kill()
        self.start(process)

    def start(self, process: Process) -> None:
        """Start it, and wait for no more than itself."""
        if isinstance(process, Daemon):
            process.start(wait_ready=False)
        else:
            process.start()

    # Making it.

    def _add(self, name: str, process: Process) -> None:
        self._stack.callback(process.close)
        self.processes[name] = process
        self.start(process)

    def _between(self, name: str, port: int) -> str:
        """The address of a new proxy."""
        proxy = LedgerProxy(port)
        self._stack.callback(proxy.close)
        self.proxies[name] = proxy
        return proxy.address

    def _new_redis(self) -> Redis:
        return Redis(appendonly="yes", appendfsync="always")

    def _add_store(self) -> None:
        self._add("redis", self._new_redis())

    def _store_url(self, number: int) -> str:
        return f"redis://{self._between(f'net-store-{number}', self.redis.port)}/0"

    def _add_servers(self, queue: str) -> None:
        self._add_store()
        self._for_clients, self._for_daemons = [], []
        for number in range(2):
            file = self._scratch / f"queue-{number}.db"
            server = Gearmand(*queue_arguments(queue, file))
            self._add(f"gearmand-{number}", server)
            self._for_clients.append(self._between(f"net-client-{number}", server.port))
            self._for_daemons.append(self._between(f"net-daemon-{number}", server.port))

    def _add_daemon(self, number: int) -> None:
        options: dict[str, object] = {
            "gearman.worker_id": f"daemon-{number}",
            "gearman.servers": self._for_daemons,
            "store.url": self._store_url(number),
            "store.key_prefix": KEY_PREFIX,
            **self._daemon_options,
            **self._own_options(number),
        }
        self._add(f"daemon-{number}", Daemon(options))

    def _own_options(self, number: int) -> Mapping[str, object]:
        """The options of one daemon alone."""
        return {}

    def _part(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "record": str(self.record / f"{name}.jsonl"),
            "servers": self._for_clients,
            "topics": self.topics,
        }

    def _add_publisher(self, name: str, pause: float) -> None:
        part = PublisherPart(
            **self._part(name),
            pause=pause,
            foreground=self._foreground,
            patience=10.0,
            timeout=self._timeout,
            batches=self._batches,
            retries=self._retries,
        )
        self._add(name, Actor(name.partition("-")[0], part))

    def _add_subscriber(self, number: int, passing: int) -> None:
        name = f"subscriber-{number}"
        names = [self.standing[number], *self._passing(self.standing[number], passing)]
        self._add(name, Actor("subscriber", SubscriberPart(**self._part(name), client_ids=names)))

    def _add_registrar(
        self, passing: int, at_once: int, pause: float, ttl: float | None, renew: float | None
    ) -> None:
        name = "registrar"
        names = [one for who in self.standing for one in self._passing(who, passing)]
        part = RegistrarPart(
            **self._part(name),
            standing=self.standing,
            passing=names,
            at_once=at_once,
            ttl=ttl,
            renew=renew,
            pause=2 * pause,
            # Where a store is lost until somebody mends it, requests wait for that.
            patience=10.0 if renew is None else 30.0,
        )
        self._add(name, Actor("registrar", part))

    @staticmethod
    def _passing(standing: str, count: int) -> Iterator[str]:
        return (f"{standing}-{number}" for number in range(count))
