# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Which patterns are in force, and whether this daemon's are those.

Two daemons with different patterns would lose messages. So the patterns stand in the
subscriptions' store, with a version that comes with each list of subscribers:

====================  ===================  ================================================
the store has         the daemon has       the daemon
====================  ===================  ================================================
none                  none                 serves
none                  some                 writes them, and serves once that is confirmed
none, beside a        some                 serves as if it had none: the older one sends
daemon that knows                          copies without a number
of no journals
the same              the same             serves
others                others or none       takes no fan-outs, registrations and reads
====================  ===================  ================================================

Whoever finds another version than before gives back what is at hand, as it was taken by
other patterns: the jobs are done by whoever serves.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from gearhorn import errors
from gearhorn.daemon.journal.patterns import Patterns
from gearhorn.store.base import Store
from gearhorn.store.changes import Change
from gearhorn.store.patience import Patience
from gearhorn.store.patterns import Patterns as Shared
from gearhorn.tasks import OnFailed, Tasks, wait_until

LOG = logging.getLogger(__name__)

LOOK_S = 5.0
"""Seconds between two looks at the patterns of the store."""


class InForce:
    """This daemon's patterns, compared with those of the store.

    :param own: the patterns of the configuration, ``None`` if that has none.
    :param identity: returns the identity of the journals' store, ``""`` if the journals
        stand in that of the subscriptions.
    :param confirm: confirms a change of the matchmaking topic.
    """

    def __init__(
        self,
        store: Store,
        patience: Patience,
        own: Patterns | None,
        *,
        identity: Callable[[], str],
        confirm: Callable[[Change], Awaitable[None]],
    ) -> None:
        self._store = store
        self._patience = patience
        self._own = own
        self._texts = () if own is None else own.texts
        self._identity = identity
        self._confirm = confirm
        self._due = asyncio.Event()
        self._agreed = asyncio.Event()
        self._ignorant: Sequence[str] = ()
        self._tasks = Tasks(lambda error: self.on_failed(error))
        self.version = 0
        """The version of the patterns by which this daemon serves."""
        self.fault: errors.JournalsDiffer | None = None
        """Why it does not serve, if it does not for long."""
        self.on_paused: Callable[[], Awaitable[None]] = _nothing
        """Called when it is to give back what is at hand, and to take nothing more."""
        self.on_resumed: Callable[[int], None] = lambda version: None
        """Called with the version by which it serves from now on."""
        self.on_failed: OnFailed = lambda error: None
        """Called with an unexpected error, after which the patterns are not looked at."""
        if own is not None:
            own.in_force = own.agreed = False

    @property
    def serves(self) -> bool:
        """True while the patterns are those of the store."""
        return self._agreed.is_set()

    async def start(self) -> None:
        """Compare the patterns, and look at them from now on."""
        await self._look()
        self._tasks.keep(self._keep(), "the comparison of patterns")

    async def close(self) -> None:
        """Look no more."""
        await self._tasks.cancel()

    def look_soon(self) -> None:
        """Look at the patterns of the store now: they may have changed."""
        self._due.set()

    async def until_served(self, version: int) -> None:
        """Return once this daemon serves, after it has seen another version than its own."""
        if version != self.version and self._agreed.is_set():
            await self._pause()
        self._due.set()
        await self._agreed.wait()

    async def _keep(self) -> None:
        while True:
            await wait_until(self._due, LOOK_S)
            self._due.clear()
            try:
                await self._look()
            except Exception:
                LOG.exception("unexpected error while patterns were compared")

    async def _look(self) -> None:
        shared = await self._patience.call(self._store.patterns)
        if self._texts and (not shared.version or (not shared.in_force and self._is_own(shared))):
            written = await self._patience.call(
                self._store.offer_patterns, self._texts, self._identity()
            )
            self._say_ignorant(written.ignorant)
            if not written.ignorant:
                await asyncio.gather(*map(self._confirm, written.changes))
                shared = await self._patience.call(self._store.patterns)
        await self._compare(shared)

    def _is_own(self, shared: Shared) -> bool:
        return tuple(shared.patterns) == self._texts and (
            not self._texts or shared.journals == self._identity()
        )

    async def _compare(self, shared: Shared) -> None:
        if shared.version and not self._is_own(shared):
            await self._pause()
            self._differ(shared)
            return
        if shared.version and not shared.in_force:
            # Its turn comes when every daemon knows.
            await self._pause()
            return
        if self._agreed.is_set() and shared.version == self.version:
            return
        await self._pause()
        if self.fault is not None:
            LOG.info("the patterns of journals are those of the store: serving again")
        self.fault = None
        self.version = shared.version
        if self._own is not None:
            self._own.in_force = bool(shared.version)
            self._own.agreed = True
        self._agreed.set()
        self.on_resumed(shared.version)

    async def _pause(self) -> None:
        if self._agreed.is_set():
            self._agreed.clear()
            if self._own is not None:
                self._own.agreed = False
            await self.on_paused()

    def _differ(self, shared: Shared) -> None:
        if self.fault is not None:
            return
        theirs = ", ".join(shared.patterns) or "none"
        own = ", ".join(self._texts) or "none"
        if tuple(shared.patterns) == self._texts:
            theirs, own = f"{theirs} in another store", f"{own} in this one"
        self.fault = errors.JournalsDiffer(f"the store has {theirs}, this daemon {own}")
        LOG.error(
            "[journal] topics differ: %s. It takes no fan-outs, registrations and reads. Start it "
            "with those of the store, or write its own there: gearhorn-fanout --adopt-journals",
            self.fault,
        )

    def _say_ignorant(self, ignorant: Sequence[str]) -> None:
        if set(ignorant) != set(self._ignorant):
            self._ignorant = ignorant
            if ignorant:
                LOG.warning(
                    "no topic has a journal yet: daemons of an older release are there, which know "
                    "of none: %s. Stop them",
                    ", ".join(sorted(ignorant)),
                )


async def _nothing() -> None:
    """Nobody is to be told."""
