# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The end of subscriptions that nobody serves, and of what ended ones left.

Both go by the rounds of ``unserved``. The store has since when each queue is not served;
whoever sees it served deletes that. Nothing ends in the round that finds it due: looks
are asked for, and it ends in the round that they make, if nobody serves it there either.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from gearhorn import clock, errors
from gearhorn.daemon.guard.discarding import Discarding
from gearhorn.daemon.guard.looks import SELDOM_S
from gearhorn.daemon.guard.unserved import Unserved
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.store.base import Change, Store
from gearhorn.tasks import OnFailed, Tasks, in_turns
from gearhorn.wire.address import Address
from gearhorn.wire.look import Look

LOG = logging.getLogger(__name__)

OFTEN_S = 3.0
"""About the seconds between two looks where anything may end."""

MOST = 1000
"""The most subscriptions that end, and queues that are emptied, in one round."""

REST = 10
"""How often a round may be done, as a part of the time that one takes: where a hundred
thousand queues are not served, the store is not to be busy with them all the time."""

LATE_S = 10.0
"""The seconds after which a round is not waited for any more, where a server is away."""

_NAMED = 10


class Endings:
    """Ends what nobody serves."""

    def __init__(self, store: Store, settings: DaemonSettings) -> None:
        self._store = store
        self._remove_idle = settings.limits.remove_idle
        self._discard_after = settings.limits.discard_after
        self._discarding = Discarding(
            store, settings.wire, length=settings.leases.cache_ttl, age=self._discard_after
        )
        self._servers = settings.servers
        self._unserved = Unserved(settings.servers)
        self._looked = asyncio.Event()
        self._since = clock.now()
        """When the round began that is under way."""
        self.ended_idle = 0
        """The subscriptions that ended here, as nobody served them."""
        self.discarded = 0
        """The copies that were discarded here."""
        self._acts = False
        """True in a round whose looks were asked for because something is to end."""
        self._may_end = bool(self._remove_idle or self._discard_after)
        self.look_soon: Callable[[Address, bool], None] = lambda server, urgent: None
        """Called when a look at a server is wanted; with false, as it may wait."""
        self.confirm: Callable[[Change], Awaitable[None]]
        """Makes every daemon honour a change."""
        self.on_failed: OnFailed = lambda error: None
        """Called with an unexpected error, after which nothing ends."""
        self._tasks = Tasks(lambda error: self.on_failed(error))
        self._emptying: asyncio.Task[None] | None = None

    def start(self) -> None:
        """End what nobody serves, from now on."""
        self._tasks.keep(self._work(), "the end of what nobody serves")

    def apply(self, settings: DaemonSettings) -> None:
        """Go by these settings from the next round on."""
        self._remove_idle = settings.limits.remove_idle
        self._discard_after = settings.limits.discard_after
        self._may_end = self._may_end or bool(self._remove_idle or self._discard_after)
        self._discarding.apply(settings.wire, self._discard_after)

    async def close(self) -> None:
        """End nothing more."""
        await self._tasks.cancel()

    def look_interval(self) -> float:
        """About the seconds between two looks that this needs."""
        return OFTEN_S if self._may_end else SELDOM_S

    def looked(self, server: Address, look: Look, asked: float) -> None:
        """Take a look that was asked for at ``asked``."""
        self._unserved.looked(server, look, asked)
        self._looked.set()

    async def _work(self) -> None:
        while True:
            self._looked.clear()
            await self._looked.wait()
            begun = clock.now()
            try:
                if self._unserved.is_complete(self._since):
                    await self._round()
                elif begun - self._since > LATE_S:
                    await self._give_up_round()
                else:
                    continue
            except errors.StoreError as error:
                # Whoever waits for the store has logged it.
                LOG.debug("nothing is ended: %s", error)
                self._acts = False
            except Exception:
                # The loop goes on: nobody else would do this work.
                LOG.exception("unexpected error in the end of what nobody serves")
                self._acts = False
            # Looks may be made much more often, where a queue is full. They count meanwhile.
            usual = 0 if self._acts else self.look_interval() / 2
            await asyncio.sleep(max(usual, (clock.now() - begun) * REST))

    async def _give_up_round(self) -> None:
        """Note only what was seen served, as not all servers tell."""
        self._acts = False
        served = list(_texts(self._unserved.served))
        self._begin(())
        await self._store.served(served)

    def _begin(self, watched: Collection[bytes]) -> None:
        self._since = clock.now()
        self._unserved.watch(watched)

    async def _round(self) -> None:
        found = await in_turns(self._unserved.found())
        # What looks show from here on counts for the next one.
        self._begin(found)
        unserved = _texts(found)
        idle = await self._store.idle()
        await self._store.served([queue for queue in idle if queue not in unserved])
        await self._store.unserved(list(unserved), self._remove_idle)
        due = [queue for queue in await self._store.looked(MOST) if queue in unserved]
        leftover = await self._leftover(unserved.keys() - set(idle))
        self._may_end = bool(self._remove_idle or self._discard_after or idle)
        acts, self._acts = self._acts, False
        if acts:
            await self._end(due)
            self._discard(leftover)
        elif due or leftover:
            self._acts = True
        if self._acts:
            for server in self._servers:
                self.look_soon(server, False)

    async def _leftover(self, queues: Collection[str]) -> Sequence[str]:
        """Return the queues that are to be emptied."""
        if not self._discard_after or (self._emptying and not self._emptying.done()):
            return ()
        return (await self._store.discardable(list(queues), self._discard_after))[:MOST]

    async def _end(self, due: Sequence[str]) -> None:
        ended = []
        for queue in due:
            changes = await self._store.end_idle(queue)
            if changes:
                ended.append(queue)
            for change in changes:
                self._tasks.start(self._confirmed(change))
        self.ended_idle += len(ended)
        if ended:
            LOG.warning(
                "subscriptions ended because nobody has served their queues for as long as "
                "remove_idle says: %d (%s)",
                len(ended),
                _named(ended),
            )

    async def _confirmed(self, change: Change) -> None:
        await self.confirm(change)

    def _discard(self, leftover: Sequence[str]) -> None:
        if leftover:
            # A round is done meanwhile: times are not to begin anew.
            held = [(queue, self._unserved.holding(queue.encode())) for queue in leftover]
            self._emptying = self._tasks.start(self._empty(held))

    async def _empty(self, queues: Sequence[tuple[str, Sequence[Address]]]) -> None:
        emptied: list[str] = []
        copies = 0
        self._discarding.is_blocked = False
        try:
            for queue, servers in queues:
                if self._discarding.is_blocked:
                    break
                discarded = await self._discarding.discard(queue, servers)
                copies += discarded
                self.discarded += discarded
                if discarded:
                    emptied.append(queue)
        except errors.StoreError as error:
            LOG.debug("stopped discarding: %s", error)
        finally:
            if emptied:
                LOG.info(
                    "discarded what ended subscriptions have left: copies %d, queues %d (%s)",
                    copies,
                    len(emptied),
                    _named(emptied),
                )


def _texts(queues: Collection[bytes]) -> dict[str, None]:
    """Return the names of queues as text; what is none is another program's."""
    found: dict[str, None] = {}
    for queue in queues:
        try:
            found[queue.decode()] = None
        except UnicodeDecodeError:
            pass
    return found


def _named(queues: Sequence[str]) -> str:
    return ", ".join(queues[:_NAMED]) + (", ..." if len(queues) > _NAMED else "")
