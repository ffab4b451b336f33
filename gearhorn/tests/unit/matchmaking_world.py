# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""One daemon's matchmaking, with a store that is played and a clock of the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from gearhorn.daemon.leases import Leases
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.matchmaking import Matchmaking
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.registry import Registry
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.trust.agreement import Agreement
from gearhorn.messages import Limits
from gearhorn.store.base import Change, DaemonEntry, Members
from gearhorn.store.patience import Patience

CACHE_TTL = 10.0
DAEMON_TTL = 60.0
SETTINGS = DaemonSettings((), "", leases=Leases(CACHE_TTL, DAEMON_TTL))


class Clock:
    """Stands still until it is put on; who sleeps wakes when it is."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._moved = asyncio.Event()

    def now(self) -> float:
        return self.time

    async def sleep_until(self, when: float) -> None:
        while self.time < when:
            await self._moved.wait()

    async def put_on(self, seconds: float) -> None:
        self.time += seconds
        self._moved.set()
        self._moved = asyncio.Event()
        await settle()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


class FakeStore:
    """Answers at once, or when a test says."""

    def __init__(self) -> None:
        self.run_changed_at = float("-inf")
        self.known = True
        self.entry = True
        self.entries: dict[str, DaemonEntry] = {}
        self.members_of: dict[str, Sequence[str]] = {}
        self.confirmed: list[Change] = []
        self.added: list[tuple[str, str]] = []
        self.removed: list[tuple[str, int]] = []
        self.joined = 0
        self.gate: asyncio.Event | None = None
        self.on_add: Callable[[], None] = lambda: None

    async def members(self, topic: str, reader: str) -> Members:
        found = Members(self.members_of.get(topic, []), self.known)
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def lists(self, topics: Sequence[str], reader: str) -> Mapping[str, Members]:
        return {topic: await self.members(topic, reader) for topic in topics}

    async def daemons(self) -> dict[str, DaemonEntry]:
        return dict(self.entries)

    async def confirm(self, change: Change) -> None:
        self.confirmed.append(change)

    async def add(
        self, topic: str, client_id: str, ttl: float | None, limits: Limits, despite: str
    ) -> Sequence[Change]:
        self.added.append((topic, client_id))
        self.on_add()
        return [Change(topic, len(self.added))]

    async def join(self, worker_id: str, settings: str, secret: str) -> None:
        self.joined += 1
        self.entry = self.known = True

    async def renew(self, worker_id: str, secret: str) -> bool:
        return self.entry

    async def remove_daemon(self, worker_id: str, renewal: int) -> bool:
        self.removed.append((worker_id, renewal))
        return self.entries.pop(worker_id, None) is not None


class World:
    """One daemon's matchmaking, with nobody to send notices to."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.counts = Counts()
        store: Any = self.store
        patience = Patience()
        self.lists = ListCache(
            store,
            patience,
            worker_id="me",
            uncached_topic="__matchmaking",
            cache_ttl=CACHE_TTL,
            max_topics=2,
            counts=self.counts,
        )
        submitter: Any = SimpleNamespace(servers={})
        self.agreement = Agreement(SETTINGS)
        self.matchmaking = Matchmaking(
            store,
            patience,
            self.lists,
            submitter,
            Refusals(),
            self.agreement,
            worker_id="me",
            topic="__matchmaking",
            leases=Leases(CACHE_TTL, DAEMON_TTL),
            counts=self.counts,
        )
        self.lists.on_unknown = self.matchmaking.renew_soon
        self.registry = Registry(
            store,
            patience,
            self.matchmaking,
            Refusals(),
            matchmaking_topic="__matchmaking",
            own_functions=(),
        )
        self.patience = patience


class Recorder:
    """A job that notes how it is answered."""

    oversize = False
    function = b""
    taken = 0.0

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.answers: list[str] = []

    def hold(self, on_abandoned: Callable[[], object]) -> None:
        self.on_abandoned = on_abandoned

    def complete(self, data: bytes) -> None:
        self.answers.append("complete")

    def fail(self, data: bytes) -> None:
        self.answers.append("fail")
