# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The sampler: counts all queues by topic, every so often, in the daemon that is told to.

It asks the guard for looks, which come within their pace, and the store for the topics to
which the queues with jobs or workers belong. (Rejected: reading all lists of subscribers. Of a
hundred thousand subscriptions a few have something waiting.)
"""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable, Collection, Sequence

import async_timeout

from gearhorn import clock, errors, messages
from gearhorn.daemon.guard.sample import Queue, Sample, Samples, names
from gearhorn.daemon.guard.seen import Seen
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.store.base import Store
from gearhorn.tasks import OnFailed, Tasks, in_turns
from gearhorn.wire.address import Address

LOG = logging.getLogger(__name__)

LATE_S = 60.0
"""The longest wait for looks at the servers that are there. Where there are many queues and
daemons, the pace lets one come only after a while."""

PAGE = 250
"""The queues and the topics that the store is asked for at a time, and the queues that are
counted in one piece: a millisecond or two of work."""


class Sampler:
    """Samples the queues.

    :param servers: returns the job servers that take copies now.
    """

    def __init__(
        self,
        settings: DaemonSettings,
        store: Store,
        seen: Seen,
        servers: Callable[[], Collection[Address]],
    ) -> None:
        self.interval = settings.queue_interval
        """The seconds between two samples, ``None`` for none."""
        self._settings = settings
        self._store = store
        self._seen = seen
        self._servers_now = servers
        self._samples = Samples(settings.top_topics)
        self._own = frozenset(vars(settings.functions).values())
        self._prefix = messages.queue_name(settings.matchmaking_topic, "")
        self.last: Sample | None = None
        """The last sample, ``None`` before the first."""
        self.taken_at = 0.0
        """When it was taken, in seconds since 1970."""
        self.took = 0.0
        """The seconds that it took, with the wait for looks."""
        self.complete = False
        """True if the last attempt made a sample of all job servers."""
        self.look_soon: Callable[[Address, bool], None] = lambda server, urgent: None
        """Called when a look at a server is wanted; with false, as it may wait."""
        self.on_failed: OnFailed = lambda error: None
        """Called with an unexpected error, after which nothing is sampled."""
        self._looked = asyncio.Event()
        self._tasks = Tasks(lambda error: self.on_failed(error))
        self._working: asyncio.Task[None] | None = None
        self._started = False

    def start(self) -> None:
        """Sample from now on, if that is asked for."""
        self._started = True
        if self.interval is not None:
            self._working = self._tasks.keep(self._work(self.interval), "the sampling of queues")

    def apply(self, settings: DaemonSettings) -> None:
        """Sample as these settings say from now on."""
        before, self._settings = self._settings, settings
        if settings.top_topics != before.top_topics:
            self._samples.show(settings.top_topics)
        if settings.queue_interval == before.queue_interval:
            return
        self.interval = settings.queue_interval
        if self._working is not None:
            self._working.cancel()
            self._working = self.last = None
            self.complete = False
        if self._started:
            self.start()

    async def close(self) -> None:
        """Sample no more."""
        self._started = False
        await self._tasks.cancel()

    def looked(self) -> None:
        """Note that there was a look at a server."""
        self._looked.set()

    async def _work(self, interval: float) -> None:
        while True:
            begun = clock.now()
            try:
                self.last = await self._sample(begun)
                self.complete = self.last.complete
                self.taken_at, self.took = time.time(), clock.now() - begun
            except errors.StoreError as error:
                # Whoever waits for the store has logged it.
                LOG.debug("no sample of the queues: %s", error)
                self.complete = False
            except Exception:
                # The loop goes on: nobody else would do this work.
                LOG.exception("unexpected error in the sampling of queues")
                self.complete = False
            took = clock.now() - begun
            # At least half of the time nothing is done for it.
            await asyncio.sleep(max(interval - took, took))

    async def _sample(self, now: float) -> Sample:
        await self._wait_for_looks(now)
        complete = self._seen_since(self._settings.servers, now)
        looks = [self._seen.server(server).look for server in self._settings.servers]
        sizes = await self._sizes()
        count = self._samples.begin(now)
        queues = names(looks)
        while page := list(itertools.islice(queues, PAGE)):
            texts = self._theirs(page)
            holders = await self._store.holders(list(texts))
            seen = {text: Queue.seen(name, looks) for text, name in texts.items()}
            nobodys = [
                text
                for text, queue in seen.items()
                if text not in holders and queue.waiting and not queue.workers
            ]
            left = await self._left(nobodys, sizes)
            for text, queue in seen.items():
                if text in holders or text in left:
                    count.add(texts[text], queue, holders.get(text))
        return await in_turns(self._samples.end(count, now, sizes, complete=complete))

    async def _wait_for_looks(self, now: float) -> None:
        """Return once all servers that are there were looked at since ``now``, or it is late."""
        for server in self._settings.servers:
            self.look_soon(server, False)
        try:
            async with async_timeout.timeout(LATE_S):
                while not self._seen_since(self._servers_now(), now):
                    self._looked.clear()
                    await self._looked.wait()
        except asyncio.TimeoutError:
            # The looks before are as good as any.
            pass

    def _seen_since(self, servers: Collection[Address], now: float) -> bool:
        asked = (self._seen.server(server).asked for server in servers)
        return all((-math.inf if when is None else when) >= now for when in asked)

    async def _sizes(self) -> dict[str, int]:
        """Return the number of subscriptions of each topic, but for that of the daemons."""
        sizes: dict[str, int] = {}
        after = ""
        while rows := await self._store.topics(after, PAGE):
            sizes.update(rows)
            after = rows[-1].topic
        sizes.pop(self._settings.matchmaking_topic, None)
        return sizes

    def _theirs(self, page: Sequence[bytes]) -> dict[str, bytes]:
        """Return the queues that may be a subscription's, by their names as text."""
        texts: dict[str, bytes] = {}
        for name in page:
            try:
                text = name.decode()
            except UnicodeDecodeError:
                # Another program's.
                continue
            if text not in self._own and not text.startswith(self._prefix):
                texts[text] = name
        return texts

    async def _left(self, queues: Sequence[str], sizes: Collection[str]) -> set[str]:
        """Return those of nobody's queues that were a subscription's, by all that is known.

        Another application's functions wait for their workers too.
        """
        named = {
            queue for queue in queues if any(topic in sizes for topic in messages.topics_of(queue))
        }
        unnamed = [queue for queue in queues if queue not in named]
        return named.union(await self._store.discardable(unnamed, 0) if unnamed else ())
