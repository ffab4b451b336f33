# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The lists of recipients that this daemon has read, each on a lease.

A list may be used for ``cache_ttl`` seconds from just before it was asked
for, by whoever looks at it then, and no longer: that is what lets another
daemon answer a registration without this one's word. It is kept only if
nothing was said about its topic between asking and receiving; one that is not
kept serves only the fan-outs that were taken before it was asked for.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from gearhorn import clock
from gearhorn.daemon.recipients import Recipients
from gearhorn.store.base import Store
from gearhorn.store.patience import Patience
from gearhorn.tasks import in_turns


class _Read:
    """A list that was asked for and has not come."""

    __slots__ = ("disturbed",)

    def __init__(self) -> None:
        self.disturbed = False
        """Its topic was named in a notice meanwhile, or all was dropped."""


class Fetched(NamedTuple):
    """A list that was read, and whether it is kept for others."""

    recipients: Recipients
    kept: bool


class ListCache:
    """Reads lists from the store and keeps them while their lease lasts.

    :param worker_id: in whose name lists are read.
    :param uncached_topic: the matchmaking topic, whose list is always read.
    :param cache_ttl: how long a list may be used, in seconds.
    :param max_topics: how many lists are kept, the last used ones.
    """

    def __init__(
        self,
        store: Store,
        patience: Patience,
        *,
        worker_id: str,
        uncached_topic: str,
        cache_ttl: float,
        max_topics: int,
    ) -> None:
        self._store = store
        self._patience = patience
        self._worker_id = worker_id
        self._uncached_topic = uncached_topic
        self._cache_ttl = cache_ttl
        self._max_topics = max_topics
        self._lists: OrderedDict[str, Recipients] = OrderedDict()
        self._reads: dict[str, set[_Read]] = {}
        self._keep_until = -math.inf
        self.on_unknown: Callable[[], None] = lambda: None
        """Called when the store does not know this daemon's entry."""

    @property
    def kept(self) -> int:
        """How many lists are kept, those too old to be used as well."""
        return len(self._lists)

    def cached(self, topic: str) -> Recipients | None:
        """The list of ``topic``, if there is one that may be used now."""
        recipients = self._lists.get(topic)
        if recipients is None:
            return None
        # At each use and not by a timer, which a stopped process does not run.
        if clock.now() >= recipients.asked + self._cache_ttl:
            del self._lists[topic]
            return None
        self._lists.move_to_end(topic)
        return recipients

    async def fetch(self, topic: str) -> Fetched:
        """The list of ``topic`` from the store, waiting for it if need be."""
        read = _Read()

        async def ask() -> tuple[Recipients, bool]:
            # Each attempt anew: what disturbed an earlier one is in this.
            read.disturbed = False
            asked = clock.now()
            client_ids, known = await self._store.members(topic, self._worker_id)
            return await in_turns(Recipients.in_steps(topic, client_ids, asked)), known

        self._reads.setdefault(topic, set()).add(read)
        try:
            recipients, known = await self._patience.call(ask)
        finally:
            reads = self._reads[topic]
            reads.remove(read)
            if not reads:
                del self._reads[topic]
        if not known:
            self.on_unknown()
        kept = (
            known
            and not read.disturbed
            and topic != self._uncached_topic
            and recipients.asked + self._cache_ttl <= self._keep_until
        )
        if kept:
            self._lists[topic] = recipients
            if len(self._lists) > self._max_topics:
                self._lists.popitem(last=False)
        return Fetched(recipients, kept)

    def keep_until(self, end: float) -> None:
        """Keep lists whose lease ends by then, on :func:`gearhorn.clock.now`.

        Later the daemon's entry could be gone, and it would be told of no change.
        """
        self._keep_until = end

    def keep_none(self) -> None:
        """Use no list any more that was asked for until now, and keep no other."""
        self._keep_until = -math.inf
        self._lists.clear()
        for reads in self._reads.values():
            for read in reads:
                read.disturbed = True

    def drop(self, topic: str) -> None:
        """Use the list of ``topic`` no more."""
        self._lists.pop(topic, None)
        for read in self._reads.get(topic, ()):
            read.disturbed = True
