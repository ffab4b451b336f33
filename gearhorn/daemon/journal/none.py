# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A daemon without journals: what others ask of one that has some, and what they are told."""

from collections.abc import Sequence
from typing import Any

from gearhorn import errors, messages
from gearhorn.daemon.fanout import FanOuts
from gearhorn.daemon.journal.patterns import Patterns
from gearhorn.daemon.journal.reads import no_journal
from gearhorn.daemon.journal.replays import Replayed
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.store.identity import Opened
from gearhorn.store.journal import Head, JournalRow
from gearhorn.tasks import OnFailed
from gearhorn.wire.job import Job

_decode = messages.RequestDecoder(messages.Read)


class NoJournals:
    """The part of a daemon whose configuration has no patterns of topics with a journal."""

    patterns: Patterns | None = None
    identity = ""
    """The identity of the journals' store, ``""`` if it is that of the subscriptions."""
    readers = 0
    """Readers that wait."""
    replays_running = 0
    is_apart = False
    """True if the journals have a store of their own."""
    waiting = 0
    """Messages that are not appended yet."""
    fault: errors.StoreError | None = None
    """The error for which appends wait, if any do."""
    is_up = True
    """True if the store of the journals does what it is asked."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self.on_failed: OnFailed = lambda error: None
        """Called with an unexpected error, after which journals are not looked after."""

    def apply(self, settings: DaemonSettings) -> None:
        """Go by these settings from now on, but for the patterns of journals and their store."""

    def make_fanouts(self, *args: Any, **options: Any) -> FanOuts:
        """Return the fan-outs of a daemon."""
        return FanOuts(*args, **options)

    async def open(self, subscriptions: Opened) -> None:
        """Open the store of the journals, after that of the subscriptions."""

    def start(self) -> None:
        """Look after the journals from now on."""

    def drain(self) -> None:
        """Have nobody wait for messages any more."""

    async def close(self) -> None:
        """Append, read and look after no more; what waits is not answered."""

    def covers(self, topic: str) -> bool:
        """Return true if a topic has a journal."""
        return False

    def take_read(self, job: Job) -> None:
        """Take a request to read."""
        request = self._refusals.decoded(job, _decode)
        if request is not None:
            self._refusals.refuse(job, no_journal(request.topic))

    async def head(self, topic: str) -> Head:
        """Return a topic's journal and its last sequence; wait while the store is away."""
        raise no_journal(topic)

    async def replay(self, job: Job, request: messages.Register, head: Head) -> Replayed:
        """Put what comes after a registration's start into its queue, up to ``head``."""
        raise no_journal(request.topic)

    async def rows(
        self, topics: Sequence[str] | None, after: str, limit: int
    ) -> Sequence[JournalRow]:
        """Return the journals of some topics, or a page of all."""
        return ()

    def store_changed(self, subscriptions: Opened) -> None:
        """Go on with another store of the subscriptions."""

    def status(self, differs: errors.GearhornError | None) -> dict[str, Any]:
        """Return what the daemon's status has of journals.

        :param differs: why the daemon's patterns are not in force, if they are not.
        """
        return {"journal_fault": None if differs is None else differs.code}
