# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What can be seen of a daemon at any time, by looking at its parts."""

from collections.abc import Mapping
from dataclasses import dataclass

from gearhorn import clock, errors
from gearhorn.daemon import workers
from gearhorn.daemon.fanout import FanOuts
from gearhorn.daemon.guard.endings import Endings
from gearhorn.daemon.guard.sampler import Sampler
from gearhorn.daemon.guard.seen import Seen
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.matchmaking import Matchmaking
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.daemon.trust.agreement import Agreement
from gearhorn.daemon.trust.opening import Opening
from gearhorn.daemon.workers import Workers
from gearhorn.store.base import DaemonEntry, Store
from gearhorn.store.patience import Patience
from gearhorn.wire.marker import Marker
from gearhorn.wire.pool import Pool
from gearhorn.wire.submitter import Submitter

MODES = ("background", "foreground")
STATES = ("live", "late", "barred", "unknown")
REQUEST = "request"
"""The role of the connections on which registrations and removals come."""
COPIES = "copies"
"""The role of the connections on which copies are submitted."""
MARK = "mark"
"""The role of the connections that show which store is used."""


@dataclass(frozen=True)
class Survey:
    """The parts of a daemon that are looked at."""

    settings: DaemonSettings
    counts: Counts
    agreement: Agreement
    workers: Workers
    submitter: Submitter
    marker: Marker
    fanouts: FanOuts
    lists: ListCache
    store: Store
    patience: Patience
    opening: Opening
    matchmaking: Matchmaking
    seen: Seen
    endings: Endings
    sampler: Sampler

    # What is asked by others too.

    def pools(self) -> Mapping[str, Pool]:
        """Return the connections to job servers, by role."""
        every = self.workers
        return {
            workers.FANOUT: every.fanouts,
            REQUEST: every.requests,
            workers.QUERY: every.queries,
            workers.NOTICE: every.notices,
            COPIES: self.submitter,
            MARK: self.marker,
        }

    def fault(self) -> errors.StoreError | None:
        """Return the error for which calls of the store wait."""
        return self.patience.fault

    def store_is_up(self) -> bool:
        """Return true if the store does what it is asked, and is the one that it was."""
        return self.fault() is None and not self.opening.waits

    def oldest_s(self) -> float:
        """Return the age of the oldest fan-out in hand, in seconds; 0 if there is none."""
        oldest = self.workers.fanouts.oldest
        return 0.0 if oldest is None else clock.now() - oldest

    def state_of(self, entry: DaemonEntry) -> str:
        """Return the state of a daemon, one of :data:`STATES`."""
        if entry.renewal < 0:
            return "barred"
        if entry.age is None:
            return "unknown"
        return "late" if entry.age > self.agreement.daemon_ttl(entry) else "live"

    def in_flight(self) -> Mapping[str, int]:
        """Return how many fan-outs are under way, by mode.

        Those that only wait for receivers are not, whose jobs are set aside.
        """
        counts = self.counts
        ended = counts.fanouts[True]
        started = counts.foreground_taken - sum(ended.sizes) - ended.abandoned
        waiting = self.fanouts.waiting()
        worker = self.workers.fanouts
        # Outside the window are those that wait for their turn, and those that wait for receivers.
        for_turn = self.fanouts.set_aside
        foreground = started - (worker.aside - for_turn)
        not_started = waiting["list"] + waiting["turn"] - for_turn
        background = worker.held - worker.aside - not_started - foreground
        return {"background": max(0, background), "foreground": max(0, foreground)}
