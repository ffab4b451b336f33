# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The counts that the parts of a daemon keep, from its start.

Each part adds to the plain integers of its own kind, once for a fan-out, a request or an
event, and never for a copy, unless its failure is an event of its own. What can be seen at
any time, as what is in hand, is not counted here.
:mod:`gearhorn.daemon.numbers.survey` puts all of it together and names it.
"""

from bisect import bisect_left
from collections import Counter

from gearhorn import clock
from gearhorn.wire.tally import Histogram

COPIES_BOUNDS = (0, 1, 10, 100, 1_000, 10_000, 100_000)
FANOUT_BOUNDS_S = (0.005, 0.02, 0.1, 0.5, 2.5, 10, 60, 300)
_QUICK_S = FANOUT_BOUNDS_S[0]
CHANGE_BOUNDS_S = (0.005, 0.02, 0.1, 0.5, 2.5, 10, 60)
CALL_BOUNDS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5)

DROPPED = NOTICED, OUTDATED, CROWDED_OUT, ALL = ("changed", "expired", "evicted", "all")
"""Why a list of subscribers was dropped: its topic changed; its lease ended; there was no
room; all were, since the own entry was gone or the store is another one."""

BY_LEASE = SILENT, RESTARTED, LATE = ("silent", "restarted", "late")
"""Why a change waited for the end of all leases: a daemon did not answer; the store was
restarted or lost entries; the store was away for so long."""

REMOVED = EXPIRED, BY_HAND, KILLED = ("expired", "hand", "killed")
"""How a daemon's entry was removed by this one."""


class FanOutCounts:
    """The fan-outs of one mode, background or foreground, that have ended."""

    __slots__ = (
        "abandoned",
        "arrived",
        "failed",
        "failed_copies",
        "partial",
        "reasons",
        "seconds",
        "sizes",
        "skipped",
    )

    def __init__(self) -> None:
        self.partial = self.failed = 0
        """Those of which some copies, or none, arrived."""
        self.abandoned = 0
        """Those whose job went back to the job server."""
        self.arrived = 0
        """Copies that were answered, or in the background queued."""
        self.skipped = 0
        """Copies that were left out, as their subscribers find them in a journal."""
        self.failed_copies = 0
        """Copies that failed, of those that ended with a report."""
        self.reasons: Counter[str] = Counter()
        """Copies that failed, by reason, also of those that were abandoned."""
        self.sizes = [0] * (len(COPIES_BOUNDS) + 1)
        """Those that ended with a report, by the number of copies."""
        self.seconds = Histogram(FANOUT_BOUNDS_S)

    @property
    def ended_ok(self) -> int:
        """Those of which all copies arrived."""
        return sum(self.sizes) - self.partial - self.failed

    @property
    def copies(self) -> int:
        """The copies of those that ended with a report."""
        return self.arrived + self.skipped + self.failed_copies

    def ended(self, copies: int, size_class: int, failed: int, skipped: int, took_s: float) -> None:
        """Count a fan-out that ended with its report.

        :param skipped: the copies that were left out and are no failures.
        """
        self.sizes[size_class] += 1
        self.skipped += skipped
        self.arrived += copies - failed - skipped
        # Histogram.note(), without a call, and mostly without another.
        seconds = self.seconds
        seconds.counts[0 if took_s < _QUICK_S else bisect_left(seconds.bounds, took_s)] += 1
        seconds.total += took_s
        if failed:
            self.failed_copies += failed
            if failed < copies:
                self.partial += 1
            else:
                self.failed += 1


class CallCounts:
    """The calls of a store, by the name of the method."""

    __slots__ = ("errors", "seconds")

    def __init__(self) -> None:
        self.seconds: dict[str, Histogram] = {}
        self.errors: Counter[str] = Counter()
        """Those that failed, by code."""

    def called(self, operation: str, took_s: float, code: str | None) -> None:
        """Count a call.

        :param code: that of the error with which it ended.
        """
        if operation not in self.seconds:
            self.seconds[operation] = Histogram(CALL_BOUNDS_S)
        self.seconds[operation].note(took_s)
        if code is not None:
            self.errors[code] += 1


class Counts:
    """All counts of a daemon but those at job servers (``wire.tally``)."""

    def __init__(self) -> None:
        self.since = clock.now()
        """The start, on :func:`gearhorn.clock.now`."""
        self.fanouts = (FanOutCounts(), FanOutCounts())
        """Those in the background, and those in the foreground."""
        self.foreground_taken = 0
        """Fan-outs in the foreground that were started."""
        self.payload_bytes = 0
        self.copied_bytes = 0
        """Bytes of payloads, once and for each copy, of the fan-outs that were started."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """Requests by role and code, but for the fan-outs that ``fanouts`` has."""
        self.publishers_left = 0
        """Fan-outs that ended because their publishers had left."""
        self.registrations = Histogram(CHANGE_BOUNDS_S)
        # Journals.
        self.journal_messages = self.journal_bytes = 0
        """Messages that were appended, and the bytes of their payloads."""
        self.journal_duplicates = 0
        """Messages that were not, as their ids were known."""
        self.journal_read = self.journal_replayed = 0
        """Messages that readers were given, and that were put into queues for a start."""
        self.journal_appends = Histogram(CALL_BOUNDS_S)
        self.journal_calls = CallCounts()
        # Lists.
        self.hits = 0
        self.reads: Counter[bool] = Counter()
        """Lists that were read, by whether they were kept."""
        self.dropped: Counter[str] = Counter()
        # The store.
        self.calls = CallCounts()
        # Matchmaking.
        self.notices_sent = self.notices_confirmed = self.notices_unanswered = 0
        """Notices, of which each daemon gets one for a change, on whatever servers."""
        self.notices_received = 0
        self.by_lease: Counter[str] = Counter()
        self.rejoins = 0
        self.removed: Counter[str] = Counter()
        self.confirmations = Histogram(CHANGE_BOUNDS_S)

    def abandoned_early(self, foreground: bool) -> None:
        """Count a fan-out that was abandoned before it was started."""
        self.foreground_taken += foreground
        self.fanouts[foreground].abandoned += 1

    def told(self, daemons: int, silent: int) -> None:
        """Count the notices of a change to so many daemons, and those without an answer."""
        self.notices_sent += daemons
        self.notices_confirmed += daemons - silent
        self.notices_unanswered += silent
