# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The world that ``loop_machine`` drives: the real loop, on servers and a store it plays.

The parts of the package are those of a daemon, put together as it does: fan-outs, the cache of
lists, the submitter and the grabber, each with its real connections. Below them is nothing real: a
:class:`~gearhorn.tests.unit.model_servers.VirtualLoop`, whose time moves when the machine moves it,
two job servers that keep what they are sent until the machine has them answer, and a store whose
questions stay open as long.

A watcher is told what the servers see, at the moment when they see it: see ``loop_model``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import pytest

from gearhorn import clock
from gearhorn.daemon.attendance import Owner, Watched
from gearhorn.daemon.fanout import FanOuts, Order
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.open_fanouts import OpenBounds
from gearhorn.daemon.refusals import Refusals
from gearhorn.store.base import Members, Store
from gearhorn.store.patience import Patience
from gearhorn.tests.packets import Packet
from gearhorn.tests.unit.model_servers import FakeServer, FakeTransport, Submission, VirtualLoop
from gearhorn.wire import connection as wire_connection
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.grabber import Grabber, Job
from gearhorn.wire.submitter import Submitter
from gearhorn.wire.watch import Watch

WINDOW = 8
OUT = 3
"""The most foreground fan-outs of one topic that have copies out."""
CACHE_TTL = 10.0
TIMEOUT = 20.0
TOPICS = ("one", "two")


class Version:
    """The subscribers of a topic from one change to the next."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.client_ids = [f"{number}.{index}" for index in range(size)]
        """They tell the version apart."""
        self.until = math.inf
        """The time of the change that came next."""


class PlayedTopic:
    """A topic in the store that is played."""

    def __init__(self) -> None:
        self.versions = [Version(0, 2)]
        self.oldest = 0
        """No older version may serve a job that is taken from now on."""

    @property
    def newest(self) -> int:
        return len(self.versions) - 1

    def change(self, size: int, now: float) -> None:
        """Other subscribers than before, so many."""
        self.versions[-1].until = now
        self.versions.append(Version(len(self.versions), size))

    def notice(self) -> None:
        """Everybody has heard of all changes."""
        self.oldest = self.newest


class Read:
    """A question to the store that is not answered."""

    def __init__(self, topic: str, version: int, answer: asyncio.Future[Members]) -> None:
        self.topic = topic
        self.version = version
        self.answer = answer


class PlayedStore:
    """The store, as far as fan-outs ask it."""

    def __init__(self) -> None:
        self.topics = {name: PlayedTopic() for name in TOPICS}
        self.reads: list[Read] = []

    async def members(self, topic: str, reader: str) -> Members:
        answer: asyncio.Future[Members] = asyncio.get_running_loop().create_future()
        self.reads.append(Read(topic, self.topics[topic].newest, answer))
        return await answer

    async def lists(self, topics: Sequence[str], reader: str) -> Mapping[str, Members]:
        found = await asyncio.gather(*(self.members(topic, reader) for topic in topics))
        return dict(zip(topics, found, strict=True))

    def answer_all(self) -> None:
        """Answer each question with the subscribers that there are now."""
        for read in self.reads:
            newest = self.topics[read.topic].versions[-1]
            read.answer.set_result(Members(newest.client_ids, True))
        self.reads.clear()


class Watcher(Protocol):
    """A listener that is told what the servers see."""

    def submitted(self, copy: Submission) -> None: ...

    def answered(self, connection: FakeTransport, packet: Packet) -> None: ...

    def closed(self, connection: FakeTransport) -> None: ...


class World:
    """All that runs."""

    def __init__(
        self, loop: VirtualLoop, store: PlayedStore, order: Order, watcher: Watcher
    ) -> None:
        self.loop = loop
        self.store = store
        self.errors: list[dict[str, Any]] = []
        """The errors that nobody caught and the loop was told of."""
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.watched: list[Watched] = []
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(clock, "now", loop.time)
        self._patch.setattr(wire_connection, "open_socket", loop.open_socket)
        self.servers = [
            FakeServer(
                loop,
                port,
                on_submitted=watcher.submitted,
                on_answer=watcher.answered,
                on_closed=watcher.closed,
            )
            for port in (1, 2)
        ]
        loop.run_until_complete(self._start(order))
        loop.settle()

    async def _start(self, order: Order) -> None:
        settings = ConnectionSettings(
            liveness_interval=8.0, liveness_timeout=4.0, reconnect_max=2.0
        )
        watch = Watch()
        self.submitter = Submitter("client", settings, 1 << 20, watch)
        self.grabber = Grabber("worker", settings, 1 << 20, watch, WINDOW, 1 << 20)
        self.lists = ListCache(
            cast(Store, self.store),
            Patience(),
            worker_id="worker",
            uncached_topic="__matchmaking",
            cache_ttl=CACHE_TTL,
            max_topics=10,
        )
        self.lists.keep_until(math.inf)
        refusals = Refusals()
        self.fanouts = FanOuts(
            self.lists,
            self.submitter,
            refusals,
            order=order,
            timeout=TIMEOUT,
            generate_unique=True,
            max_message_bytes=1 << 20,
            bounds=OpenBounds(out=OUT),
            watch=self._watch,
        )
        self.submitter.on_servers_changed = self.fanouts.servers_changed
        self.grabber.add_function("fanout", refusals.guarded(self.fanouts.take))
        addresses = [Address("played", server.port) for server in self.servers]
        self.submitter.connect(addresses)
        self.grabber.connect(addresses)

    def _watch(self, job: Job, owner: Owner) -> Watched:
        watched = Watched(job.unique, owner)
        self.watched.append(watched)
        return watched

    @property
    def publishers(self) -> list[Watched]:
        """The publishers that the fan-outs ask for."""
        self.watched = [watched for watched in self.watched if watched.owner is not None]
        return self.watched

    @property
    def connections(self) -> list[FakeTransport]:
        """The open connections, of either server."""
        return [connection for server in self.servers for connection in server.connections]

    @property
    def grabbing(self) -> list[FakeTransport]:
        """Those on which a job is asked for."""
        return [c for c in self.connections if c.grabs and b"fanout" in c.functions]

    @property
    def submitting(self) -> list[FakeTransport]:
        """Those on which copies wait to be queued."""
        return [c for c in self.connections if c.submissions]

    def end(self) -> None:
        """End all that runs."""

        async def close() -> None:
            await self.fanouts.close()
            await self.grabber.close()
            await self.submitter.close()

        self.loop.run_until_complete(close())
        self.loop.settle()
        self.loop.close()
        self._patch.undo()
