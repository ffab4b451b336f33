# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Several daemons that share a store, each of which can be asked for by itself.

Each has function names of its own, while the store and the matchmaking topic are the same: so
a test says which daemon takes a request, and which one fans out.
"""

from __future__ import annotations

import asyncio
import functools
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from gearhorn.store.redis import RedisStore
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.peer import Outcome, Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, Redis

T = TypeVar("T")

MATCHMAKING = "__matchmaking"
NOBODY_GOES_BY_TIME: dict[str, Any] = {"matchmaking.cache_ttl": 60, "matchmaking.daemon_ttl": 300}
"""With a lease this long, only the word of the other daemons can make a test pass."""
SHORT: dict[str, Any] = {"matchmaking.cache_ttl": 0.4, "matchmaking.daemon_ttl": 1.2}
QUICK: dict[str, Any] = {**SHORT, "gearman.reconnect_max": 0.2}
"""A job server that is back is soon found."""
WATCHFUL: dict[str, Any] = {
    **QUICK,
    "gearman.connect_timeout": 1,
    "gearman.liveness_interval": 0.3,
    "gearman.liveness_timeout": 1,
}
"""A job server that falls silent is soon taken for lost."""

SHARED: dict[str, Any] = {"functions.fanout": "fanout_one"}
"""The option that has a second daemon serve the fan-outs of ``one``, under that one's name."""


class Member:
    """A daemon that a test can address."""

    def __init__(self, fleet: Fleet, name: str, daemon: Daemon) -> None:
        self._fleet = fleet
        self.name = name
        self.daemon = daemon

    @property
    def worker_id(self) -> str:
        """The worker id that the daemon has had since its last start."""
        # The service manager hears of it before the log does.
        starts = eventually(lambda: re.findall(r"daemon (\S+) is ready", self.daemon.log))
        return str(starts[-1])

    def start(self, function: str, **request: object) -> bytes:
        """Submit a request to this daemon and return the handle of its job."""
        return self._fleet.client.start(f"{function}_{self.name}", request)

    def start_fanout(
        self, topic: str, payload: object = "hello", *, background: bool = True, **keys: Any
    ) -> bytes:
        """Begin a fan-out, in the background if nothing else is said."""
        return self.start("fanout", **message(topic, payload, background=background, **keys))

    def start_registration(self, topic: str, client_id: str, **keys: Any) -> bytes:
        return self.start("register", **subscription(topic, client_id, **keys))

    def finish(self, handle: bytes, timeout_s: float | None = None) -> Outcome:
        return self._fleet.client.finish(handle, timeout_s)

    def ask(self, function: str, timeout_s: float | None = None, **request: Any) -> Any:
        """Submit a request and return its report, which must be one of success."""
        outcome = self.finish(self.start(function, **request), timeout_s)
        assert outcome.completed, outcome
        return outcome.report

    def register(self, topic: str, client_id: str, **keys: Any) -> Any:
        return self.ask("register", **subscription(topic, client_id, **keys))

    def register_all(self, topic: str, client_ids: Iterable[str], **keys: Any) -> list[str]:
        """Register subscribers, all at once, and return the names of their queues."""
        names = list(client_ids)
        handles = [self.start_registration(topic, name, **keys) for name in names]
        for handle in handles:
            outcome = self.finish(handle)
            assert outcome.completed, outcome
        return [f"{topic}_{name}" for name in names]

    def unregister(self, topic: str, client_id: str) -> Any:
        return self.ask("unregister", **subscription(topic, client_id))

    def publish(self, topic: str, payload: object = "hello", **keys: Any) -> Any:
        """Fan out in the background."""
        return self.ask("fanout", **message(topic, payload, background=True, **keys))

    def reached(self, topic: str) -> int:
        """Fan out through this daemon and return the number of subscribers."""
        return int(self.publish(topic)["subscribers"])

    def counted(self, name: str) -> float:
        """What the daemon has counted under this name, with its labels."""
        own_function = f"{MATCHMAKING}_{self.worker_id}"
        report = self._fleet.client.submit(own_function, {"query": "status"}).report
        return float(report["rows"][0]["counters"].get(name, 0))

    def said(self, text: str, count: int = 1) -> bool:
        return self.daemon.log.count(text) >= count

    def until_it_says(self, text: str, count: int = 1) -> None:
        eventually(lambda: self.said(text, count))


class Fleet:
    """The daemons of a test, and what they share."""

    def __init__(self, fixture: Callable[[str], Any]) -> None:
        self.fixture = fixture
        self.topic = f"t{uuid.uuid4().hex[:12]}"
        self.redis: Redis | None = None
        """A Redis of the test's own, where it has one."""

    @property
    def gearmand(self) -> Gearmand:
        server: Gearmand = self.fixture("gearmand")
        return server

    @functools.cached_property
    def client(self) -> Peer:
        """The connection on which everything is asked for."""
        return self.new_client()

    def new_client(self) -> Peer:
        peer: NewPeer = self.fixture("peer")
        return peer(timeout_s=20)

    def add(self, name: str, *, registers_as: str | None = None, **options: Any) -> Member:
        """Start a daemon whose functions are called fanout_NAME and so on.

        :param registers_as: the name whose register function it serves.
        """
        names = {
            f"functions.{function}": f"{function}_{name}"
            for function in ("register", "subscribe", "unregister", "unsubscribe", "fanout")
        }
        names["functions.query"] = f"query_{name}"
        names["functions.read"] = f"read_{name}"
        if registers_as is not None:
            names["functions.register"] = f"register_{registers_as}"
        if self.redis is not None:
            options.setdefault("store_url", self.redis.url)
        new_daemon: NewDaemon = self.fixture("daemon")
        return Member(self, name, new_daemon(**{**names, "gearman.worker_id": name, **options}))

    def store(self, work: Callable[[RedisStore], Awaitable[T]]) -> T:
        """Do something in the store as another daemon could."""

        async def act() -> T:
            store = RedisStore(
                (self.redis or self.fixture("redis_server")).url,
                key_prefix=self.key_prefix,
                matchmaking_topic=MATCHMAKING,
                timeout=5,
            )
            try:
                await store.open()
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(act())

    @property
    def key_prefix(self) -> str:
        return str(self.fixture("key_prefix"))

    def entries(self) -> set[str]:
        """The worker ids of the daemons that have an entry."""
        return set(self.store(lambda store: store.daemons()))

    def unconfirmed(self) -> set[str]:
        """Topics with a change that no daemon has confirmed."""
        return {change.topic for change in self.store(lambda store: store.unconfirmed(1000))}

    def functions(self, worker_id: str) -> bool:
        """Return true if the job server lists the daemon's function."""
        return f"{MATCHMAKING}_{worker_id}" in self.gearmand.admin.status()
