# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What limits cost, and how far beyond them queues go."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

from benchmarks import workload
from benchmarks.cases import looking
from benchmarks.figures import (
    Case,
    Measured,
    Plan,
    Row,
    alternate,
    figure_at_least,
    figure_at_most,
    ratio_at_least,
)
from benchmarks.limited import NONE, TAKEN_A_SECOND, SlowWorker, system
from benchmarks.packets import (
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    Connection,
    queued_jobs,
    run_jobs,
    submit_in_blocks,
)
from benchmarks.stopwatch import Stopwatch

_SLOW_LIMIT = 5_000
_AT_ONCE = 1_000


def _run(plan: Plan) -> list[Row]:
    return [*_costs(plan), *looking.rows(plan), *_excesses(plan), *_slow(plan)]


def _costs(plan: Plan) -> Iterator[Row]:
    """Compare the rates with limits and without.

    Nobody takes the copies. Where queues are to be near their limits, these are a quarter above
    what is sent, so that looks are due all the time and nothing is refused.
    """
    for subscribers, fanouts in ((10, plan.choose(10_000, 1_000)), (1_000, plan.choose(200, 80))):
        for where, limits in (("", {}), (", near limits", {"max_waiting": fanouts * 5 // 4})):
            limited, unlimited = alternate(
                plan.repetitions,
                functools.partial(_rate, subscribers, fanouts, limits),
                functools.partial(_rate, subscribers, fanouts, NONE),
            )
            yield Row(
                f"background, {subscribers:,} subscribers{where}",
                "copies/s",
                limited,
                unlimited,
                ratio_at_least(0.97),
                reference_name="without limits",
            )


def _rate(subscribers: int, fanouts: int, limits: dict[str, int]) -> Measured:
    jobs = [workload.fanout_job(SUBMIT_JOB, background=True)] * fanouts
    with system(limits=limits) as port, Connection(port) as publisher:
        workload.register(publisher, subscribers)
        with Stopwatch() as watch:
            run_jobs(publisher, jobs)
    return watch.rate(subscribers * fanouts)


def _excesses(plan: Plan) -> Iterator[Row]:
    """Measure the depth of a queue that nobody reads, in parts of its limit."""
    for most in (100, 5_000, 100_000)[: plan.choose(3, 1)]:
        for daemons in (1, 2, 4)[: plan.choose(3, 1)]:
            for functions in (10, 10_000, 100_000)[: plan.choose(3, 1)]:
                what = f"limit {most:,}, {daemons} daemons, {functions:,} functions"
                target = figure_at_most(1 if daemons == 1 else 4 if most >= 5_000 else 100)
                excess = [_excess(most, daemons, functions) for _ in range(plan.choose(2, 1))]
                yield Row(what, "limits", excess, target=target)


def _excess(most: int, daemons: int, functions: int) -> float:
    job = workload.fanout_job(SUBMIT_JOB_BG, background=True)
    with (
        system(daemons, functions, {"max_waiting": most}) as port,
        Connection(port) as publisher,
    ):
        workload.register(publisher, 1)
        # Looks take their time where there are many functions.
        submit_in_blocks(publisher, [job] * max(30_000, 2 * most))
        while queued_jobs(port, workload.FANOUT):
            time.sleep(0.2)
        return queued_jobs(port, workload.TOPIC.encode()) / most


def _slow(plan: Plan) -> Iterator[Row]:
    """Measure which part of its time a worker works whose queue is always at its limit.

    And how deep that queue gets, in parts of its limit.
    """
    for functions in (10, 10_000)[: plan.choose(2, 1)]:
        what = f"a worker of {TAKEN_A_SECOND:,} a second, {functions:,} functions"
        runs = [_busy(functions, plan.choose(15, 3)) for _ in range(plan.choose(2, 1))]
        busy, deepest = zip(*runs, strict=True)
        yield Row(what, "of its time", busy, target=figure_at_least(0.95))
        yield Row(f"{what}, limit {_SLOW_LIMIT:,}", "limits", deepest, target=figure_at_most(2))


def _busy(functions: int, seconds: int) -> tuple[float, float]:
    """Return the part of its time in which the worker works, and how deep its queue got."""
    job = workload.fanout_job(SUBMIT_JOB_BG, background=True)
    with (
        system(1, functions, {"max_waiting": _SLOW_LIMIT}) as port,
        Connection(port) as publisher,
    ):
        workload.register(publisher, 1)
        with SlowWorker(port) as worker:
            until = time.monotonic() + seconds
            deepest = 0
            while time.monotonic() < until:
                submit_in_blocks(publisher, [job] * _AT_ONCE)
                # About ten times what the worker takes.
                time.sleep(_AT_ONCE / (10 * TAKEN_A_SECOND))
                deepest = max(deepest, queued_jobs(port, workload.TOPIC.encode()))
            return worker.done / worker.could, deepest / _SLOW_LIMIT


CASE = Case("limits", "what limits cost, and how far beyond them queues go", 7, _run)
