# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Discarding what an ended subscription left in its queue.

A subscription may be registered again at any moment, and no copy that is sent after the
answer may be discarded, whoever freezes or is cut off. So:

* The record of the subscription is taken first, with a lease, and nobody is added while
  it is held.
* Of each page that was taken from the queue, the lease is asked for anew, and the page
  is answered only if it is granted, and sooner than a third of it after. What is in the
  page was sent before that.
* Whoever registers waits until the lease is given back, or until the same lease was seen
  for its length.
* A page that comes too late is not answered: the connection is closed, and the job
  server has it again.
"""

import logging
import math
import secrets
from collections.abc import Collection, Iterable, Sequence

from gearhorn import clock, errors
from gearhorn.store.base import Store
from gearhorn.wire import admin, discard
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings

LOG = logging.getLogger(__name__)

CERTAIN = 1 / 3
"""The part of a lease, from when it was asked for, in which a page may be answered."""


class _Lease:
    """A lease on the record of one queue."""

    def __init__(self, store: Store, queue: str, length: float, age: float) -> None:
        self._store = store
        self._queue = queue
        self._length = length
        self._age = age
        self._token = ""
        self._asked = -math.inf
        self.ignorant: Sequence[str] = ()

    async def hold(self) -> bool:
        """Take the lease, or hold it for longer; return false if it is not granted in time."""
        asked = clock.now()
        token = secrets.token_hex(8)
        taken = await self._store.take(
            self._queue, token, length=self._length, age=self._age, held=self._token
        )
        self.ignorant = taken.ignorant
        self._token, self._asked = (token, asked) if taken.held else ("", -math.inf)
        return self.is_certain

    @property
    def is_certain(self) -> bool:
        """True if nobody can be added yet who has this queue."""
        return clock.now() - self._asked < self._length * CERTAIN

    async def give_back(self) -> None:
        if self._token:
            await self._store.release(self._queue, self._token)


class Discarding:
    """Discards what ended subscriptions left.

    :param length: the seconds of a lease.
    :param age: the seconds after the end of a subscription from which on what is in its
        queue is discarded.
    """

    def __init__(
        self, store: Store, settings: ConnectionSettings, *, length: float, age: float
    ) -> None:
        self._store = store
        self._settings = settings
        self._length = length
        self._age = age
        self._named: Collection[str] = frozenset()
        self.is_blocked = False
        """True once a daemon was found that keeps everything from being discarded."""

    def apply(self, settings: ConnectionSettings, age: float) -> None:
        """Go by these settings with the next queue."""
        self._settings = settings
        self._age = age

    async def discard(self, queue: str, servers: Iterable[Address]) -> int:
        """Discard what waits in a queue on these servers; return the number of copies.

        :raises StoreError: the store failed.
        """
        lease = _Lease(self._store, queue, self._length, self._age)
        discarded = 0
        try:
            if await lease.hold():
                self._named = frozenset()
                for server in servers:
                    discarded += await self._empty(server, queue, lease)
        finally:
            await lease.give_back()
        self._name(lease.ignorant)
        return discarded

    async def _empty(self, server: Address, queue: str, lease: _Lease) -> int:
        discarded = 0
        try:
            async with discard.pages(server, self._settings, queue) as pages:
                # If this was frozen, what waits may be new: it would lose its place.
                while lease.is_certain or await lease.hold():
                    page = await admin.in_time(pages.take(), server, self._settings, self._length)
                    if not page:
                        await admin.in_time(pages.end(), server, self._settings)
                        break
                    if not await lease.hold():
                        break
                    pages.fail()
                    discarded += page
        except errors.ServerLost as error:
            LOG.debug("stopped discarding from %s: %s", queue, error)
        return discarded

    def _name(self, ignorant: Sequence[str]) -> None:
        """Log each daemon that keeps everything from being discarded, once."""
        if not ignorant:
            return
        self.is_blocked = True
        for worker_id in ignorant:
            if worker_id not in self._named:
                LOG.error(
                    "nothing that ended subscriptions left is discarded while daemon %s runs: it "
                    "is of an older release, which knows of no records of them. Upgrade it",
                    worker_id,
                )
        self._named = frozenset(ignorant)
