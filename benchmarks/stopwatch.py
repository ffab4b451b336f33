# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A stopwatch for the time of a block, and the processor time of each program in it."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from benchmarks import processes
from benchmarks.figures import Measured, Spent
from benchmarks.processes import ProcessorTime

# This process publishes, and in some cases receives.
_OWN_NAME = "benchmark"


class Stopwatch:
    """A stopwatch that runs during its `with` block."""

    def __enter__(self) -> Stopwatch:
        self._before = _now()
        return self

    def __exit__(self, *exception: object) -> None:
        self._after = _now()

    @property
    def elapsed_s(self) -> float:
        return self._after.at - self._before.at

    def spent(self, count: float) -> Spent:
        """Return the time spent on one of `count` things."""
        before = self._before.by_program
        after = self._after.by_program
        return Spent(
            {name: (after[name] - before[name]) / count for name in after},
            self.elapsed_s / count,
        )

    def rate(self, count: float) -> Measured:
        """Return `count` things as a rate a second."""
        return Measured(count / self.elapsed_s, self.spent(count))


class _Reading(NamedTuple):
    at: float
    by_program: dict[str, ProcessorTime]


def _now() -> _Reading:
    by_program = {
        _OWN_NAME: processes.processor_time(os.getpid()),
        **processes.processor_times(),
    }
    return _Reading(time.perf_counter(), by_program)
