# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The lists of subscribers that this daemon has read, each on a lease.

A list may be used for ``cache_ttl`` seconds from just before it was asked
for, by whoever looks at it then, and no longer: that is what lets another
daemon answer a registration without this one's word (Gray and Cheriton,
"Leases", 1989). It is kept only if nothing was said about its topic between
asking and receiving; one that is not kept serves only the fan-outs that were
taken before it was asked for.
"""

import asyncio
import math
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from gearhorn import clock, messages
from gearhorn.store.base import Store
from gearhorn.store.patience import Patience

GROUP_COPIES = 500
"""Copies of one fan-out that share a unique, at about the most.

gearmand looks a unique up in one table by its hash alone: one for 50,000
copies is quadratic, another for each copy is slow on deep queues.
"""

_PIECE = 1_000
"""How many subscribers are taken into a list at a time: half a millisecond of work."""


class MemberList:
    """A topic's subscribers, as they were when they were asked for.

    :param topic: the topic.
    :param client_ids: its subscribers.
    :param asked: when they were asked for, on :func:`gearhorn.clock.now`.
    """

    __slots__ = (
        "asked",
        "client_ids",
        "group_count",
        "groups",
        "longest_queue",
        "placement",
        "queued_report",
        "queues",
        "topic",
    )

    def __init__(self, topic: str, client_ids: Sequence[str], asked: float) -> None:
        self.topic = topic
        self.asked = asked
        self.placement: tuple[Any, Any] | None = None
        """Where :mod:`gearhorn.placement` keeps what it worked out."""
        self.queued_report = b""
        """The report of a background fan-out of which no copy failed."""
        for _ in self._fill(client_ids):
            pass

    @classmethod
    async def made(cls, topic: str, client_ids: Sequence[str], asked: float) -> "MemberList":
        """A list that is made piece by piece, so that nothing waits for a long one."""
        if len(client_ids) <= _PIECE:
            return cls(topic, client_ids, asked)
        members = cls(topic, (), asked)
        for _ in members._fill(client_ids):
            await asyncio.sleep(0)
        return members

    def _fill(self, client_ids: Sequence[str]) -> Iterator[None]:
        """Take the subscribers; yields after each piece of the work."""
        # A power of two, so that a second run of a fan-out whose topic gained
        # or lost a few subscribers gives each copy the same unique again.
        self.group_count = 1
        while self.group_count * GROUP_COPIES < len(client_ids):
            self.group_count *= 2
        mask = self.group_count - 1
        prefix = messages.queue_name(self.topic, "").encode()
        self.longest_queue = 0
        # Group by group: gearmand walks through the jobs of one unique at
        # each submission, and they stay in the processor's cache.
        groups: list[tuple[list[str], list[bytes]]] = [([], []) for _ in range(self.group_count)]
        for start in range(0, len(client_ids), _PIECE):
            for client_id in client_ids[start : start + _PIECE]:
                queue = prefix + client_id.encode()
                its_client_ids, its_queues = groups[zlib.crc32(queue) & mask]
                its_client_ids.append(client_id)
                its_queues.append(queue)
                if len(queue) > self.longest_queue:
                    self.longest_queue = len(queue)
            yield
        self.queues = [queue for _, its_queues in groups for queue in its_queues]
        yield
        self.client_ids = client_ids
        self.groups: list[int] | None = None
        if self.group_count > 1:
            self.client_ids = [one for its_client_ids, _ in groups for one in its_client_ids]
            yield
            self.groups = [
                n for n, (its_client_ids, _) in enumerate(groups) for _ in its_client_ids
            ]


class _Read:
    """A list that was asked for and has not come."""

    __slots__ = ("disturbed",)

    def __init__(self) -> None:
        self.disturbed = False
        """Its topic was named in a notice meanwhile, or all was dropped."""


class Fetched(NamedTuple):
    """A list that was read, and whether it is kept for others."""

    members: MemberList
    kept: bool


class Subscribers:
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
        self._lists: OrderedDict[str, MemberList] = OrderedDict()
        self._reads: dict[str, set[_Read]] = {}
        self.keep_until = -math.inf
        """No list is kept whose lease ends after this: the daemon's entry
        could be gone by then, and it would be told of no change."""
        self.on_unknown: Callable[[], None] = lambda: None
        """Called when the store does not know this daemon's entry."""

    @property
    def kept(self) -> int:
        """How many lists are kept, those too old to be used as well."""
        return len(self._lists)

    def cached(self, topic: str) -> MemberList | None:
        """The list of ``topic``, if there is one that may be used now."""
        members = self._lists.get(topic)
        if members is None:
            return None
        # At each use and not by a timer, which a stopped process does not run.
        if clock.now() >= members.asked + self._cache_ttl:
            del self._lists[topic]
            return None
        self._lists.move_to_end(topic)
        return members

    async def fetch(self, topic: str) -> Fetched:
        """The list of ``topic`` from the store, waiting for it if need be."""
        read = _Read()

        async def ask() -> tuple[MemberList, bool]:
            # Each attempt anew: what disturbed an earlier one is in this.
            read.disturbed = False
            asked = clock.now()
            client_ids, known = await self._store.members(topic, self._worker_id)
            return await MemberList.made(topic, client_ids, asked), known

        self._reads.setdefault(topic, set()).add(read)
        try:
            members, known = await self._patience.call(ask)
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
            and members.asked + self._cache_ttl <= self.keep_until
        )
        if kept:
            self._lists[topic] = members
            if len(self._lists) > self._max_topics:
                self._lists.popitem(last=False)
        return Fetched(members, kept)

    def drop(self, topic: str) -> None:
        """Use the list of ``topic`` no more."""
        self._lists.pop(topic, None)
        for read in self._reads.get(topic, ()):
            read.disturbed = True

    def drop_all(self) -> None:
        """Use no list any more that was asked for until now."""
        self._lists.clear()
        for reads in self._reads.values():
            for read in reads:
                read.disturbed = True
