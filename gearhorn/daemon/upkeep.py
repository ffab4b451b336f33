# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The regular work of a daemon: expired subscriptions, and what dead daemons left."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from gearhorn import clock
from gearhorn.daemon.leases import Leases, forgotten_change
from gearhorn.daemon.matchmaking import Matchmaking
from gearhorn.store.base import Change, Store
from gearhorn.store.patience import Patience
from gearhorn.tasks import OnFailed, Tasks

LOG = logging.getLogger(__name__)

REAP_S = 1.0
"""Seconds between two looks for expired subscriptions."""
REAP_MOST = 1000
"""The most subscriptions that are reaped in one step of the store."""
RETIRE_ATTEMPTS = 20


class Upkeep:
    """The regular work that keeps the store and the job servers clean.

    :param retire: removes a departed daemon's function from all job servers, and
        returns false if it has to be tried again.
    """

    def __init__(
        self,
        store: Store,
        patience: Patience,
        matchmaking: Matchmaking,
        *,
        leases: Leases,
        retire: Callable[[str], Awaitable[bool]],
        check_store: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._patience = patience
        self._matchmaking = matchmaking
        self._leases = leases
        self._retire = retire
        self._check_store = check_store
        self._to_retire: dict[str, int] = {}
        """The daemons whose function may still be there, and the attempts left."""
        self._unconfirmed: set[Change] = set()
        """The changes that were unconfirmed at the last look."""
        self._vouched: float | None = None
        self.on_failed: OnFailed = lambda error: None
        """Called with an unexpected error that ends a task which must not end."""
        self._tasks = Tasks(lambda error: self.on_failed(error))

    def start(self) -> None:
        """Start the work, each kind at its interval."""
        for interval, work in (
            (REAP_S, self._reap_subscriptions),
            (REAP_S, self._vouch),
            (self._leases.renewal_interval, self._reap_daemons),
            (self._leases.renewal_interval, self._check_store),
            (self._leases.renewal_interval, self._look),
            # It grows when a daemon with longer leases comes.
            (self._forgotten_change, self._confirm_forgotten),
        ):
            self._tasks.keep(self._repeat(interval, work), f"the upkeep {work.__name__}")

    def _forgotten_change(self) -> float:
        return forgotten_change(self._matchmaking.longest_list)

    async def close(self) -> None:
        """Stop the work."""
        await self._tasks.cancel()

    async def _repeat(
        self, interval: float | Callable[[], float], work: Callable[[], Awaitable[None]]
    ) -> None:
        while True:
            await asyncio.sleep(interval() if callable(interval) else interval)
            try:
                await work()
            except Exception:
                # The loop goes on: nobody else would do this work.
                LOG.exception("unexpected error in the upkeep")

    def daemon_removed(self, worker_id: str) -> None:
        """Record that a daemon's entry was removed: its function is to go as well."""
        self._to_retire[worker_id] = RETIRE_ATTEMPTS

    async def _reap_subscriptions(self) -> None:
        changes = await self._patience.call(self._store.reap, REAP_MOST)
        if changes:
            LOG.info(
                "subscriptions expired in %d topics: %s",
                len(changes),
                ", ".join(repr(change.topic) for change in changes[:10]),
            )
            await self._confirm(changes)

    async def _confirm_forgotten(self) -> None:
        """Confirm the changes of daemons that died before they could."""
        changes = set(await self._patience.call(self._store.unconfirmed, REAP_MOST))
        before, self._unconfirmed = self._unconfirmed, changes
        await self._confirm(changes & before)

    async def _vouch(self) -> None:
        """Spare daemons that start later the wait for lists from an earlier process."""
        changed_at = self._store.run_changed_at
        certain_at = changed_at + self._matchmaking.longest_list
        if changed_at != self._vouched and certain_at < clock.now():
            await self._patience.call(self._store.vouch)
            self._vouched = changed_at

    async def _look(self) -> None:
        """See how the store runs: that can change under the connections."""
        await self._patience.call(self._store.look)

    async def _confirm(self, changes: Iterable[Change]) -> None:
        await asyncio.gather(*map(self._matchmaking.confirm, changes))

    async def _reap_daemons(self) -> None:
        await self._matchmaking.reap_daemons()
        for worker_id in list(self._to_retire):
            await self._try_to_retire(worker_id)

    async def _try_to_retire(self, worker_id: str) -> None:
        self._to_retire[worker_id] -= 1
        if (
            # The daemon was only frozen, and has joined again.
            self._matchmaking.is_known(worker_id)
            or await self._retire(worker_id)
            or not self._to_retire[worker_id]
        ):
            del self._to_retire[worker_id]
