# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The opening of the store: is it the one that is known here, or a new one?

An empty store looks like a first start, and another's store like one's own; in both,
fan-outs that wait would end for 0 subscribers. So a daemon first looks at the job
servers, where each daemon shows a mark of its store, and into its memory. Then it opens
the store, in one step:

=============  =========================================  ==============================
the store has  known is                                   the daemon
=============  =========================================  ==============================
an identity    nothing, or it, or one that it follows     uses it
an identity    others only                                waits
none           something                                  waits
none           nothing                                    makes it
=============  =========================================  ==============================

While it waits it shows what it knows, with ``_waits`` behind it, so that the next daemon
sees it when the others are gone. The wait ends with the known store, or with one that an
operator has accepted in its place (:mod:`gearhorn.daemon.trust.acceptance`). A daemon whose
store is emptied or swapped while it runs waits likewise.

What is known is looked for until something is, and stays: a daemon that was started with
a wrong store must not learn it from others that were.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from gearhorn import clock, errors
from gearhorn.daemon import stores
from gearhorn.daemon.settings import Create
from gearhorn.daemon.trust.lookout import Lookout, Sight
from gearhorn.daemon.trust.memory import Memory
from gearhorn.messages import Mark
from gearhorn.store.base import Store
from gearhorn.store.identity import Opened, Terms
from gearhorn.store.patience import Patience
from gearhorn.tasks import OnFailed, Tasks
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.marker import Marker

LOG = logging.getLogger(__name__)

T = TypeVar("T")

QUIET_S = 15.0
"""Seconds in which no daemon must be seen before a store is made where fan-outs wait. After
a reboot these are listed at once, and the other daemons seconds later: it is longer than the
default of ``reconnect_max``, and with a longer one it is longer too."""
LOOK_S = 1.0
"""Seconds between two looks meanwhile."""


class Opening:
    """This daemon's store: which it is, and whether it still is.

    :param create: when an empty store is made a new one.
    :param reconnect_max: the longest pause, in seconds, after which a daemon finds a job
        server that is back.
    """

    def __init__(
        self,
        store: Store,
        patience: Patience,
        lookout: Lookout,
        marker: Marker,
        memory: Memory,
        *,
        create: Create,
        reconnect_max: float,
    ) -> None:
        self._store = store
        self._patience = patience
        self._lookout = lookout
        self._marker = marker
        self._marks = lookout.marks
        self._memory = memory
        self._create = create
        self._set_reconnect_max(reconnect_max)
        self._known: frozenset[str] = frozenset()
        self._number = 0
        """What the store has told, as it was remembered."""
        self._looked = False
        self._said_quiet = False
        self._waits_for: frozenset[str] | None = None
        """What was known when the wait at the start began; ``None`` before."""
        self._opened: Opened | None = None
        self._replaced = asyncio.Event()
        self._others: frozenset[str] = frozenset()
        """The stores of others that were complained about."""
        self._tasks = Tasks(lambda error: self.on_failed(error))
        self.on_failed: OnFailed = lambda error: None
        """Called with an unexpected error, after which the store is not watched."""
        self.on_waiting: Callable[[], None] = lambda: None
        """Called when the wait for a store begins."""
        self.on_changed: Callable[[Opened], None] = lambda opened: None
        """Called with another store that has been accepted in place of this one."""

    @property
    def waits(self) -> bool:
        """True while the store is not the one that it was, or that is known."""
        return self._replaced.is_set()

    @property
    def opened(self) -> Opened:
        """The store that is open."""
        assert self._opened is not None, "it is open"
        return self._opened

    def store_replaced(self) -> None:
        """Record that a call has found another store, or an empty one."""
        self._replaced.set()

    async def open(self) -> None:
        """Open the store, and show it; wait while it is not the one that is known.

        :raises StoreMisconfigured: the store cannot be used as configured.
        """
        # First, so that a store that is away or refuses is named though no job server
        # is there.
        await self._until_opened(self._touch)
        await self._marker.connected()
        recalled = await self._memory.recall()
        self._known, self._number = recalled
        opened = await self._until_opened(self._take_or_make)
        if recalled.tags == {opened.tag}:
            self._store.numbers.expect(recalled.number)
        await self._use(opened)

    def start(self) -> None:
        """Watch the store from now on."""
        self._tasks.keep(self._watch(), "the watch over the store's identity")

    async def remember(self) -> None:
        """Remember the store, and the highest number that it has told."""
        if self._opened is not None and not self.waits:
            number = self._store.numbers.highest
            await self._memory.remember([self._opened.identity], number)

    async def close(self) -> None:
        """Stop watching."""
        await self._tasks.cancel()
        await self.remember()

    async def _until_opened(self, attempt: Callable[[], Awaitable[T]]) -> T:
        async def attempt_once() -> T | errors.StoreMisconfigured:
            # Returned, and not waited for: the operator at the console has to act.
            try:
                return await attempt()
            except errors.StoreMisconfigured as error:
                return error

        result = await self._patience.call(attempt_once)
        if isinstance(result, errors.StoreMisconfigured):
            with stores.naming(stores.SUBSCRIPTIONS):
                raise result
        return result

    async def _touch(self) -> None:
        try:
            await self._store.open((), Terms.LOOK)
        except errors.StoreReplaced:
            # It is empty.
            pass

    async def _take_or_make(self) -> Opened:
        """Open the store once it is known, or once it is certain that nothing is known."""
        begun = clock.now()
        while True:
            # The order matters: with marks that are looked for after the store was found
            # empty, the second of two that start would miss what the first has made.
            sight = await self._look()
            may_be_made = self._create == "first" and not self._known
            is_quiet = not sight.waiting or clock.now() >= begun + self._quiet_s
            make = self._create == "always" or (may_be_made and is_quiet)
            try:
                opened = await self._store.open(self._known, Terms.MAKE if make else Terms.TAKE)
            except errors.StoreReplaced:
                if not may_be_made:
                    await self._begin_to_wait()
                    raise
            else:
                self._say(opened, sight)
                self._complain(opened, sight)
                return opened
            if not self._said_quiet:
                self._said_quiet = True
                LOG.info(
                    "the store is empty, and fan-outs wait (%s): looking for other daemons for "
                    "%g seconds before it is made",
                    _waiting(sight),
                    self._quiet_s,
                )
            await asyncio.sleep(LOOK_S)

    def apply(self, wire: ConnectionSettings) -> None:
        """Go by these settings with the next look at the job servers."""
        self._lookout.set_wire(wire)
        self._set_reconnect_max(wire.reconnect_max)

    def _set_reconnect_max(self, reconnect_max: float) -> None:
        """Give daemons the time to find a job server that is back."""
        self._quiet_s = QUIET_S * max(1.0, reconnect_max / ConnectionSettings.reconnect_max)

    async def _look(self) -> Sight:
        """Look at the job servers, and learn from them unless something is known."""
        sight = await self._lookout.look()
        while not sight.asked:
            await asyncio.sleep(LOOK_S)
            await self._marker.connected()
            sight = await self._lookout.look()
        if not self._looked:
            self._known |= sight.stores
            self._looked = bool(self._known)
        return sight

    async def _begin_to_wait(self) -> None:
        if self._waits_for == self._known:
            return
        self._waits_for = self._known
        await self._memory.remember(self._known, self._number)
        await self._show_waiting(self._known)
        self.on_waiting()

    async def _show_waiting(self, stores: Iterable[str]) -> None:
        await self._marker.show({self._marks.function(Mark(store, waits=True)) for store in stores})

    async def _use(self, opened: Opened) -> None:
        self._replaced.clear()
        self._opened = opened
        await self.remember()
        await self._marker.show([self._marks.function(Mark(opened.tag))])

    def _say(self, opened: Opened, sight: Sight) -> None:
        if opened.made:
            LOG.warning(
                "the store was empty: made a new one, %s. Known before: %s. Fan-outs waiting: "
                "%s. Not asked: %s",
                opened.tag,
                ", ".join(sorted(self._known)) or "none",
                _waiting(sight),
                ", ".join(map(str, sight.unasked)) or "none",
            )
        elif self._known and opened.tag not in self._known:
            self._say_accepted(opened)
        elif sight.waiting and not self._known:
            LOG.warning(
                "fan-outs wait (%s), and no daemon is there that knows the store %s: they go to "
                "those who are subscribed in it",
                _waiting(sight),
                opened.tag,
            )

    def _say_accepted(self, opened: Opened) -> None:
        LOG.warning(
            "going on with the store %s in place of %s",
            opened.tag,
            ", ".join(sorted(self._known)),
        )

    # While the daemon runs.

    async def _watch(self) -> None:
        while True:
            await self._replaced.wait()
            await self._wait_again()

    async def _wait_again(self) -> None:
        """Wait until the store is the one that it was, or another was accepted."""
        before = self._opened
        assert before is not None, "it is open"
        self._known = frozenset({before.tag})
        await self._show_waiting(self._known)
        self.on_waiting()
        terms = Terms.MAKE if self._create == "always" else Terms.TAKE
        opened = await self._patience.call(self._store.open, self._known, terms)
        if opened.identity != before.identity:
            # At once: no list from the store before may be used with this one.
            self.on_changed(opened)
            self._say_accepted(opened)
            if opened.made:
                self._say(opened, await self._lookout.look())
        await self._use(opened)

    async def check_store(self) -> None:
        """Remember the store, and complain about daemons that serve from another one."""
        await self.remember()
        if self._opened is None or self.waits:
            return
        self._complain(self._opened, await self._lookout.look())

    def _complain(self, opened: Opened, sight: Sight) -> None:
        others = sight.served - {opened.tag}
        for store in sorted(others - self._others):
            LOG.error(
                "another daemon serves the same fan-outs from the store %s, this one from %s: "
                "give all daemons the same [store] url and key_prefix, or messages miss "
                "subscribers",
                store,
                opened.tag,
            )
        self._others = others


def _waiting(sight: Sight) -> str:
    """Return how many fan-outs wait, and where."""
    return ", ".join(f"{count} on {server}" for server, count in sight.waiting.items()) or "none"
