# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What is watched only while ``[http] listen`` is set: the loop, the log, and rates."""

import asyncio
import logging
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gearhorn import clock, messages
from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.numbers.family import Family, one, plain
from gearhorn.service import logs
from gearhorn.version import installed_version
from gearhorn.wire.tally import Histogram

LOOP_BOUNDS_S = (0.001, 0.005, 0.02, 0.1, 0.5, 2.5)
LEVELS = ("debug", "info", "warning", "error", "critical")
WARNINGS = 20
"""The last warnings that are kept for people."""

_TICK_S = 0.5
_RATE_TICKS = 10
"""Rates are taken over the last five to ten seconds."""
_MOST_CHARACTERS = 1_000


class Warned(NamedTuple):
    """A line of the log at WARNING or above."""

    time: float
    level: str
    text: str


class _Tail(logging.Handler):
    """Counts records, and keeps the last warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.last: deque[Warned] = deque(maxlen=WARNINGS)

    def emit(self, record: logging.LogRecord) -> None:
        self.counts[record.levelname.lower()] += 1
        if record.levelno >= logging.WARNING:
            try:
                text = record.getMessage()
            except Exception:
                self.handleError(record)
                return
            self.last.append(Warned(record.created, record.levelname, text[:_MOST_CHARACTERS]))


class Watching:
    """A look at the process that goes on for as long as it serves HTTP."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._tail = _Tail()
        self._delays = Histogram(LOOP_BOUNDS_S)
        self._samples: deque[tuple[float, Mapping[str, int]]] = deque(maxlen=2)
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch."""
        logs.keep(self._tail)
        self._samples.append((clock.now(), self.totals()))
        self._wait()

    def close(self) -> None:
        """Watch no more."""
        logs.keep_no_more(self._tail)
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + _TICK_S
        self._timer = loop.call_at(due, self._tick, due)

    def _tick(self, due: float) -> None:
        self._delays.note(max(0.0, asyncio.get_running_loop().time() - due))
        self._ticks += 1
        if self._ticks % _RATE_TICKS == 0:
            self._samples.append((clock.now(), self.totals()))
        self._wait()

    def totals(self) -> Mapping[str, int]:
        """Return what was done since the start."""
        counts = self._daemon.survey.counts
        tallies = self._daemon.survey.submitter.tallies.values()
        return {
            "fanouts": sum(sum(ended.sizes) for ended in counts.fanouts),
            "copies_queued": sum(sum(tally.queued) for tally in tallies),
            "copies_delivered": counts.fanouts[True].arrived,
            "copies_failed": sum(ended.reasons.total() for ended in counts.fanouts),
            "requests_refused": sum(
                count for (_, code), count in counts.requests.items() if code != messages.OK
            ),
        }

    def rates(self) -> Mapping[str, float]:
        """Return what was done a second, lately."""
        since, before = self._samples[0]
        seconds = max(clock.now() - since, 0.001)
        return {name: (now - before[name]) / seconds for name, now in self.totals().items()}

    def warnings(self) -> list[Warned]:
        """Return the last lines of the log at WARNING and above, the newest first."""
        return list(reversed(self._tail.last))

    def families(self) -> Iterator[Family]:
        """Yield the metrics of the process."""
        versions = (installed_version(), sys.version.split()[0])
        ready = self._daemon.started and not self._daemon.draining
        yield Family("build_info", "gauge", "The versions.", {versions: 1}, ("version", "python"))
        yield from plain(
            "gauge",
            ("ready", "1 once it has started, unless it drains.", int(ready)),
            ("draining", "1 while it finishes what is in hand.", int(self._daemon.draining)),
        )
        yield Family(
            "loop_delay_seconds",
            "histogram",
            "How late the loop was, twice a second.",
            one(self._delays),
        )
        yield Family(
            "log_records_total",
            "counter",
            "Lines of the log, by level.",
            {(level,): self._tail.counts[level] for level in LEVELS},
            ("level",),
        )
