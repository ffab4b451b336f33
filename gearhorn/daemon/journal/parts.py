# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The parts of a daemon that deal with journals, put together."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gearhorn import errors, messages
from gearhorn.daemon import stores
from gearhorn.daemon.fanout import FanOuts
from gearhorn.daemon.guard.seen import Seen
from gearhorn.daemon.journal.appends import Appends
from gearhorn.daemon.journal.fanouts import NumberedFanOuts
from gearhorn.daemon.journal.none import NoJournals
from gearhorn.daemon.journal.numbering import Numbering
from gearhorn.daemon.journal.patterns import Patterns
from gearhorn.daemon.journal.reads import Reads
from gearhorn.daemon.journal.replays import Replayed, Replays
from gearhorn.daemon.journal.room import Room
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.placement import server_of
from gearhorn.daemon.recipients import Recipients
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.workers import WINDOW_MESSAGES
from gearhorn.store.base import Store
from gearhorn.store.identity import Opened, Terms, tag_of
from gearhorn.store.journal import Head, JournalRow
from gearhorn.store.patience import Patience
from gearhorn.store.timing import JOURNAL_OPERATIONS, time_calls
from gearhorn.tasks import Tasks
from gearhorn.wire.address import Address
from gearhorn.wire.job import Job
from gearhorn.wire.submitter import Submitter

LOG = logging.getLogger(__name__)

UPKEEP_S = 60.0
"""Seconds between two rounds in which what is too old is ended."""
_PAGE = 1000
_MOST_NAMED = 5
"""The most topics that the log names of those whose journals cannot be looked after. A right that
is missing concerns all."""


def journals_of(
    settings: DaemonSettings,
    worker_id: str,
    patience: Patience,
    lists: ListCache,
    submitter: Submitter,
    refusals: Refusals,
    counts: Counts,
    seen: Seen,
    look: Callable[[Address, bool], None],
    store: Store,
) -> NoJournals:
    """Return the part of a daemon that deals with journals."""
    if not settings.journal.topics:
        return NoJournals(refusals)
    return JournalParts(
        settings, worker_id, patience, lists, submitter, refusals, counts, seen, look, store
    )


class JournalParts(NoJournals):
    """All that a daemon whose configuration has patterns needs.

    :param patience: that of the subscriptions' store.
    :param look: has a job server looked at soon.
    :param store: that of the subscriptions, in which the patterns stand.
    """

    patterns: Patterns

    def __init__(
        self,
        settings: DaemonSettings,
        worker_id: str,
        patience: Patience,
        lists: ListCache,
        submitter: Submitter,
        refusals: Refusals,
        counts: Counts,
        seen: Seen,
        look: Callable[[Address, bool], None],
        store: Store,
    ) -> None:
        super().__init__(refusals)
        self._store = store
        self._submitter = submitter
        self._seen = seen
        self._look = look
        own = settings.journal
        self._lists = lists
        self._settings = settings
        self.is_apart = own.url is not None
        self.patience = Patience() if self.is_apart else patience
        self.patterns = Patterns(own, settings.matchmaking_topic)
        self.journals = stores.journals_of(settings, worker_id)
        time_calls(self.journals, JOURNAL_OPERATIONS, counts.journal_calls.called)
        self.appends = Appends(
            self.journals, self.patience, counts, flush_interval=own.flush_interval
        )
        self.numbering = Numbering(
            self.patterns,
            self.appends,
            refusals,
            groups=lists.groups,
            max_message_bytes=own.max_message_bytes,
            max_aside_bytes=WINDOW_MESSAGES * settings.max_message_bytes,
        )
        self.reads = Reads(
            self.journals, self.patience, refusals, counts, covers=self.patterns.covers
        )
        self.replays = Replays(
            self.journals,
            self.patience,
            submitter,
            counts,
            is_subscribed=self._is_subscribed,
            room=self._room,
        )
        lists.on_read = self._may_skip
        self._opening = False
        self.bytes: int | None = None
        """The bytes that the messages of all journals had at the last upkeep."""
        self.memory: tuple[int, int | None] | None = None
        """The bytes that their store used then, and the most that it may use."""
        self._unusable: frozenset[str] = frozenset()
        """The topics whose journals could not be looked after at the last upkeep."""
        self._tasks = Tasks(lambda error: self.on_failed(error))

    def apply(self, settings: DaemonSettings) -> None:
        """Go by these settings; the patterns and the store stay."""
        self._settings = settings
        own = settings.journal
        self.journals.set_timeout(settings.store_timeout)
        self.journals.max_topics = own.max_topics
        self.journals.id_window = own.id_window
        self.patterns.apply(own)
        self.appends.set_flush_interval(own.flush_interval)
        self.numbering.set_max_message_bytes(own.max_message_bytes)

    def _may_skip(self, recipients: Recipients) -> None:
        """Have those who want it skipped where their queues are full: they can read a journal."""
        if not self.patterns.covers(recipients.topic):
            return
        limits = recipients.limits

        def skips(client_id: str) -> bool:
            its = limits.get(client_id, messages.NO_LIMITS)
            return (its.overflow or self._settings.limits.overflow) == messages.SKIP

        recipients.skipping = skips

    def make_fanouts(self, *args: Any, **options: Any) -> FanOuts:
        """Return the fan-outs of a daemon."""
        return NumberedFanOuts(self.numbering, *args, **options)

    # The store.

    async def open(self, subscriptions: Opened) -> None:
        """Open the store of the journals, after that of the subscriptions."""
        self._opening = True
        try:
            await self.patience.call(self._open, subscriptions)
        finally:
            self._opening = False
        if self.is_apart:
            self.patience.on_replaced = lambda: self._open_again(subscriptions)

    def _open_again(self, subscriptions: Opened) -> None:
        """Wait until the store of the journals is the one that it was, or another is adopted."""
        if not self._opening:
            self._opening = True
            self._tasks.start(self.open(subscriptions))

    async def _open(self, subscriptions: Opened) -> None:
        if not self.is_apart:
            await self.journals.open((subscriptions.tag,), Terms.TAKE)
            return
        # Which one it is stands in the subscriptions' store, beside the patterns.
        shared = await self._store.patterns()
        try:
            with stores.naming(stores.JOURNALS):
                if shared.journals:
                    opened = await self.journals.open((tag_of(shared.journals),), Terms.TAKE)
                else:
                    opened = await self.journals.open()
        except errors.StoreReplaced as error:
            fault = str(error)
        else:
            self.identity = opened.identity
            return
        raise errors.StoreReplaced(
            f"the store of the journals, [journal] url: {fault}; accept it as it is with "
            "gearhorn-fanout --adopt-journals"
        )

    def store_changed(self, subscriptions: Opened) -> None:
        """Go on with another store of the subscriptions."""
        self._tasks.start(self.open(subscriptions))

    def start(self) -> None:
        """Look after the journals from now on."""
        self._tasks.keep(self._keep(), "the upkeep of journals")

    async def _keep(self) -> None:
        while True:
            try:
                await self._look_after()
            except errors.StoreError as error:
                fault: Exception = error
                LOG.debug("no upkeep of journals: %s", fault)
            except Exception:
                LOG.exception("unexpected error in the upkeep of journals")
            await asyncio.sleep(UPKEEP_S)

    async def _look_after(self) -> None:
        self._say_unusable(await self.journals.upkeep(self.patterns.limits_kept))
        found = 0
        after = ""
        while True:
            rows = await self.journals.page(after, _PAGE)
            found += sum(row.bytes for row in rows)
            if len(rows) < _PAGE:
                break
            after = rows[-1].topic
        self.bytes = found
        memory = await self.journals.memory()
        self.memory = (memory.used, memory.limit)

    def _say_unusable(self, faults: Mapping[str, errors.StoreError]) -> None:
        new = [topic for topic in faults if topic not in self._unusable]
        for topic in new[:_MOST_NAMED]:
            LOG.warning("the journal of topic %r cannot be looked after: %s", topic, faults[topic])
        self._unusable = frozenset(faults)

    async def close(self) -> None:
        """Append, read and look after no more; what waits is not answered."""
        await self.appends.close()
        await self.reads.close()
        await self._tasks.cancel()
        await self.journals.close()

    # What others ask.

    @property
    def readers(self) -> int:  # type: ignore[override]
        """Readers that wait."""
        return self.reads.waiting

    @property
    def waiting(self) -> int:  # type: ignore[override]
        """Messages that are not appended yet."""
        return self.appends.waiting

    @property
    def replays_running(self) -> int:  # type: ignore[override]
        """Replays that run, or wait for their turn."""
        return self.replays.running

    @property
    def is_up(self) -> bool:  # type: ignore[override]
        """True if the store of the journals does what it is asked."""
        return self.fault is None

    def covers(self, topic: str) -> bool:
        """Return true if a topic has a journal."""
        return self.patterns.covers(topic)

    def take_read(self, job: Job) -> None:
        """Take a request to read."""
        self.reads.take(job)

    def drain(self) -> None:
        """Have nobody wait for messages any more."""
        self.reads.drain()

    async def _is_subscribed(self, topic: str, client_id: str) -> bool:
        recipients = self._lists.cached(topic) or (await self._lists.fetch(topic)).recipients
        return client_id in recipients.whole.client_ids

    async def replay(self, job: Job, request: messages.Register, head: Head) -> Replayed:
        """Put what comes after a registration's start into its queue, up to ``head``."""
        return await self.replays.run(job, request, head)

    def _room(self, queue: str, own_most: int | None) -> Room:
        def server() -> Address | None:
            servers = tuple(self._submitter.servers)
            return server_of(queue.encode(), servers) if servers else None

        return Room(
            queue, own_most, self._settings.limits, self._seen, server=server, look=self._look
        )

    def status(self, differs: errors.GearhornError | None) -> dict[str, Any]:
        """Return what the daemon's status has of journals.

        :param differs: why the daemon's patterns are not in force, if they are not.
        """
        used, limit = self.memory or (None, None)
        fault = differs or self.fault
        return {
            "journal_fault": None if fault is None else fault.code,
            "journal_bytes": self.bytes,
            "store_memory": used,
            "store_max_memory": limit,
        }

    @property
    def fault(self) -> errors.StoreError | None:  # type: ignore[override]
        """The error for which appends wait, if any do."""
        return self.patience.fault if self.is_apart or self.appends.failing else None

    async def head(self, topic: str) -> Head:
        """Return a topic's journal and its last sequence; wait while the store is away."""
        return await self.patience.call(self.journals.head, topic)

    async def rows(
        self, topics: Sequence[str] | None, after: str, limit: int
    ) -> Sequence[JournalRow]:
        """Return the journals of some topics, or a page of all.

        :raises JournalsDiffer: they stand in a store of their own, and this daemon's may be
            another.
        """
        if self.is_apart and not self.patterns.agreed:
            raise errors.JournalsDiffer("this daemon's store of the journals may be another")
        if topics is not None:
            return await self.journals.rows(list(dict.fromkeys(topics)))
        return await self.journals.page(after, limit)
