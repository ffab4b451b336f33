# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Replays: a registration that begins earlier gets what a journal holds in its queue.

It runs after the registration was confirmed, up to the sequence that the answer names: what
comes after is sent live. Live copies may come before or between what is replayed; order, and
each message once, are the business of the subscriber's position. A copy that waits in the
queue already is not queued twice, as it has the same unique.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from gearhorn import messages
from gearhorn.daemon.journal.numbered import Numbered
from gearhorn.daemon.journal.room import Room
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.placement import server_of
from gearhorn.messages import (
    FIRST,
    LAST,
    QUEUE_STOPPED,
    REPLACED,
    UNSUBSCRIBED,
    Register,
    Start,
    start_of,
)
from gearhorn.store.journal import Head, JournalMessage, Journals
from gearhorn.store.patience import Patience
from gearhorn.tasks import end
from gearhorn.wire.batch import Batch, Listener
from gearhorn.wire.job import Job
from gearhorn.wire.submitter import Submitter

MOST_REPLAYS = 16
"""The most replays that run at a time."""
STATUS_S = 1.0
"""Seconds between two words to whoever waits for the answer."""
SERVER_S = 0.2
"""Seconds between two looks for a job server while none is connected."""
PAGE = 100
PAGE_BYTES = 1 << 20


class Replayed(NamedTuple):
    """What became of a replay: messages, where it came to, and why it stopped early."""

    replayed: int
    after: int
    stopped: str | None = None
    reset: bool = False


class Replays:
    """The replays of a daemon.

    :param is_subscribed: returns whether a subscriber of a topic still is one.
    :param room: returns the room in a queue, given its name and the jobs that its registration
        allows.
    """

    def __init__(
        self,
        journals: Journals,
        patience: Patience,
        submitter: Submitter,
        counts: Counts,
        *,
        is_subscribed: Callable[[str, str], Awaitable[bool]],
        room: Callable[[str, int | None], Room],
    ) -> None:
        self._journals = journals
        self._patience = patience
        self._submitter = submitter
        self._counts = counts
        self._is_subscribed = is_subscribed
        self._room = room
        self._places = asyncio.Semaphore(MOST_REPLAYS)
        self.running = 0
        """The replays that run, or wait for a place."""

    async def run(self, job: Job, request: Register, head: Head) -> Replayed:
        """Put what comes after a registration's start into its queue, up to ``head``.

        :param job: the registration, which is told of progress.
        """
        journal, last = head
        after, reset = _begin(head, start_of(request.start))
        if journal is None or after >= last:
            return Replayed(0, last, reset=reset)
        # It may take long, and is to keep no registration waiting.
        job.set_aside()
        replay = _Replay(self, request, journal, after, last)
        telling = asyncio.ensure_future(_tell(job, replay))
        self.running += 1
        try:
            async with self._places:
                stopped = await replay.run()
        finally:
            self.running -= 1
            await end((telling,))
        return Replayed(replay.replayed, replay.after, stopped, reset)


def _begin(head: Head, start: Start) -> tuple[int, bool]:
    """Return the sequence after which a replay begins, and whether it is another journal's."""
    if start.word == FIRST:
        return 0, False
    if start.word == LAST:
        return max(0, head.sequence - 1), False
    if start.word:
        return head.sequence, False
    reset = start.journal != head.journal
    return 0 if reset else start.after, reset


async def _tell(job: Job, replay: "_Replay") -> None:
    while True:
        await asyncio.sleep(STATUS_S)
        done, total = replay.progress()
        job.progress(done, total)


class _Page(Listener):
    """The copies of a page that are on their way to a job server.

    A page that a server was lost with is sent again as a whole: what was queued already is
    joined by its unique.
    """

    def __init__(self, batches: int) -> None:
        self._left = batches
        self.lost = False
        self.refused: int | None = None
        """The sequence of the first copy that the server refused."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def batch_created(self, batch: Batch) -> None:
        batch.count_queued()
        self._one_less()

    def batch_lost(self, batch: Batch) -> None:
        batch.count_queued()
        self.lost = True
        self._one_less()

    def copy_refused(self, batch: Batch, index: int, *, full: bool) -> None:
        if self.refused is None:
            self.refused = int(batch.keys[0])

    def _one_less(self) -> None:
        self._left -= 1
        if not self._left and not self.done.done():
            self.done.set_result(None)


class _Replay:
    """One replay."""

    def __init__(
        self, every: Replays, request: Register, journal: str, after: int, last: int
    ) -> None:
        self._all = every
        self._topic = request.topic
        self._client_id = request.client_id
        self._journal = journal
        self._queue = messages.queue_name(request.topic, request.client_id)
        self._room = every._room(self._queue, request.max_waiting)
        self._begin = after
        self._last = last
        self.after = after
        self.replayed = 0

    def progress(self) -> tuple[int, int]:
        """Return how far it is, and of how much."""
        return self.after - self._begin, max(1, self._last - self._begin)

    async def run(self) -> str | None:
        """Replay, and return why it stopped before its end."""
        every = self._all
        while self.after < self._last:
            if not await every._is_subscribed(self._topic, self._client_id):
                return UNSUBSCRIBED
            reading = await every._patience.call(
                every._journals.read, self._topic, self.after, self._journal, PAGE, PAGE_BYTES
            )
            if reading.reset or reading.journal != self._journal:
                return REPLACED
            page = [found for found in reading.messages if found.sequence <= self._last]
            if not page:
                # The rest was trimmed meanwhile.
                self.after = self._last
                break
            size = sum(len(found.payload) for found in page) // len(page)
            left = await self._room.left(size)
            if left < 1 or not await self._send(page[: int(min(left, PAGE))]):
                return QUEUE_STOPPED
        return None

    async def _send(self, page: Sequence[JournalMessage]) -> bool:
        """Queue a page; return false if the job server refused one of it."""
        while True:
            sending = await self._submit(page)
            await sending.done
            if not sending.lost:
                break
        if sending.refused is not None:
            page = [found for found in page if found.sequence < sending.refused]
        self.replayed += len(page)
        self._all._counts.journal_replayed += len(page)
        if page:
            self.after = page[-1].sequence
            self._room.put(len(page))
        return sending.refused is None

    async def _submit(self, page: Sequence[JournalMessage]) -> _Page:
        submitter = self._all._submitter
        while True:
            servers = tuple(submitter.servers)
            if servers:
                break
            await asyncio.sleep(SERVER_S)
        queue = self._queue.encode()
        connection = submitter.servers[server_of(queue, servers)]
        sending = _Page(len(page))
        for found in page:
            number = Numbered(journal=self._journal, sequence=found.sequence, groups=found.groups)
            group = zlib.crc32(queue) & (found.groups - 1)
            submitter.submit(
                connection,
                Batch(
                    sending,
                    # A lane of its own: the topic's fan-outs take turns with it.
                    f"{self._topic}\0{self._client_id}",
                    priority="normal",
                    foreground=False,
                    queues=(queue,),
                    keys=(str(found.sequence),),
                    uniques=(number.unique(0, group),),
                    groups=None,
                    payload=found.payload,
                    longest_queue=len(queue),
                ),
            )
        return sending
