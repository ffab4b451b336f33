# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The lists of recipients that this daemon has read, each on a lease.

A list may be used for ``cache_ttl`` seconds from just before it was asked for, and no
longer. So another daemon can answer a registration without this daemon's word. A
list is kept only if no notice about its topic came between asking and receiving. A
list that is not kept serves only the fan-outs that were taken before it was asked
for.
"""

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from gearhorn import clock
from gearhorn.daemon.metrics import ALL, CROWDED_OUT, NOTICED, OUTDATED, Counts
from gearhorn.daemon.recipients import Recipients
from gearhorn.daemon.rounds import Rounds
from gearhorn.store.base import Members, Store
from gearhorn.store.patience import Patience
from gearhorn.tasks import in_turns


async def _at_once(version: int) -> None:
    """Nobody else decides which patterns are in force."""


class _Read:
    """The reading of a list that has not come yet."""

    __slots__ = ("disturbed",)

    def __init__(self) -> None:
        self.disturbed = False
        """True if the list of the topic, or all lists, were dropped meanwhile."""


class Fetched(NamedTuple):
    """A list that was read. ``kept`` is true if later fan-outs may use it too."""

    recipients: Recipients
    kept: bool


class ListCache:
    """The lists that were read from the store, kept while their lease lasts.

    :param worker_id: the id of this daemon, in whose name lists are read.
    :param uncached_topic: the matchmaking topic, whose list is never kept.
    :param cache_ttl: the time for which a list may be used, in seconds.
    :param max_topics: the most lists that are kept; the last used ones stay.
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
        counts: Counts | None = None,
    ) -> None:
        self._rounds = Rounds(store, worker_id)
        self._counts = Counts() if counts is None else counts
        self._patience = patience
        self._uncached_topic = uncached_topic
        self._cache_ttl = cache_ttl
        self._max_topics = max_topics
        self._lists: OrderedDict[str, Recipients] = OrderedDict()
        self._groups: dict[str, int] = {}
        """The number of groups of each list that has several, also when it was dropped."""
        self.patterns = 0
        """The version of the patterns of journals by which lists may be used."""
        self.until_served: Callable[[int], Awaitable[None]] = _at_once
        """Called with another version that came with a list; returns when one may be used."""
        self._reads: dict[str, set[_Read]] = {}
        self._keep_until = -math.inf
        self.on_unknown: Callable[[], None] = lambda: None
        """Called when the store does not know this daemon's entry."""
        self.on_read: Callable[[Recipients], None] = lambda recipients: None
        """Called with each list that was read, before it is used."""

    @property
    def kept(self) -> int:
        """The number of lists that are kept, those too old to be used included."""
        return len(self._lists)

    @property
    def subscribers(self) -> int:
        """The number of subscribers in all lists that are kept."""
        return sum(map(len, self._lists.values()))

    @property
    def kept_until(self) -> float:
        """The time, on :func:`gearhorn.clock.now`, by which the lease of a kept list ends."""
        return self._keep_until

    def groups(self, topic: str) -> int:
        """Return the number of groups of the list that was read last, 1 if none is known."""
        return self._groups.get(topic, 1)

    def cached(self, topic: str) -> Recipients | None:
        """Return the list of ``topic``, if there is one that may be used now."""
        recipients = self._lists.get(topic)
        if recipients is None:
            return None
        # At each use, and not by a timer, which does not run in a stopped process.
        if clock.now() >= recipients.asked + self._cache_ttl:
            del self._lists[topic]
            self._counts.dropped[OUTDATED] += 1
            return None
        self._counts.hits += 1
        self._lists.move_to_end(topic)
        return recipients

    async def fetch(self, topic: str) -> Fetched:
        """Return the list of ``topic`` from the store; wait while the store is away.

        It waits as well while the patterns of journals are others than the daemon goes by.
        """
        read = _Read()

        async def ask() -> tuple[Recipients, Members]:
            # Reset for each attempt, which sees the changes that disturbed the last one.
            read.disturbed = False
            asked = clock.now()
            members = await self._rounds.members(topic)
            steps = Recipients.in_steps(topic, members.client_ids, asked, members.limits)
            return await in_turns(steps), members

        self._reads.setdefault(topic, set()).add(read)
        try:
            while True:
                recipients, members = await self._patience.call(ask)
                if members.patterns == self.patterns:
                    break
                await self.until_served(members.patterns)
        finally:
            reads = self._reads[topic]
            reads.remove(read)
            if not reads:
                del self._reads[topic]
        if not members.reader_known:
            self.on_unknown()
        self._note_groups(topic, recipients.group_count)
        self.on_read(recipients)
        kept = (
            members.reader_known
            and not read.disturbed
            and topic != self._uncached_topic
            and recipients.asked + self._cache_ttl <= self._keep_until
        )
        self._counts.reads[kept] += 1
        if kept:
            self._lists[topic] = recipients
            self._drop_crowded_out()
        return Fetched(recipients, kept)

    def set_max_topics(self, max_topics: int) -> None:
        """Keep at most so many lists from now on."""
        self._max_topics = max_topics
        self._drop_crowded_out()

    def _drop_crowded_out(self) -> None:
        while len(self._lists) > self._max_topics:
            self._lists.popitem(last=False)
            self._counts.dropped[CROWDED_OUT] += 1

    def _note_groups(self, topic: str, count: int) -> None:
        if count > 1:
            self._groups[topic] = count
            if len(self._groups) > self._max_topics:
                del self._groups[next(iter(self._groups))]
        elif self._groups:
            self._groups.pop(topic, None)

    async def close(self) -> None:
        """End what is read; nobody may wait for it any more."""
        await self._rounds.close()

    def keep_until(self, end: float) -> None:
        """Keep lists whose lease ends by ``end``, on :func:`gearhorn.clock.now`.

        After that the daemon's entry could be gone, and nobody would tell it of changes.
        """
        self._keep_until = end

    def keep_none(self) -> None:
        """Drop all lists, those being read too, and keep no more."""
        self._keep_until = -math.inf
        self.drop_all()

    def drop_all(self) -> None:
        """Drop all lists, those being read too."""
        self._counts.dropped[ALL] += len(self._lists)
        self._lists.clear()
        for reads in self._reads.values():
            for read in reads:
                read.disturbed = True

    def drop(self, topic: str) -> None:
        """Drop the list of ``topic``, also one being read."""
        if self._lists.pop(topic, None) is not None:
            self._counts.dropped[NOTICED] += 1
        for read in self._reads.get(topic, ()):
            read.disturbed = True
