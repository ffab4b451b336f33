# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What limits cost, and how far beyond them queues go."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterator

from benchmarks import workload
from benchmarks.cases import looking
from benchmarks.figures import (
    Case,
    Measured,
    Plan,
    Row,
    Target,
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

_AT_ONCE = 1_000
_LOOK_EVERY = 5
"""How often the benchmark itself looks, as a part of the time that this takes."""


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


def _systems(plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Yield a limit, a number of daemons, and a number of functions."""
    return itertools.product(
        (100, 5_000, 100_000)[: plan.choose(3, 1)],
        (1, 2, 4)[: plan.choose(3, 1)],
        (10, 10_000, 100_000)[: plan.choose(3, 1)],
    )


def _described(most: int, daemons: int, functions: int) -> str:
    return f"limit {most:,}, {daemons} daemons, {functions:,} functions"


def _excesses(plan: Plan) -> Iterator[Row]:
    """Measure the depth of a queue that nobody reads, in parts of its limit."""
    for most, daemons, functions in _systems(plan):
        target = figure_at_most(1 if daemons == 1 else 4 if most >= 5_000 else 100)
        excess = [_excess(most, daemons, functions) for _ in range(plan.choose(2, 1))]
        yield Row(_described(most, daemons, functions), "limits", excess, target=target)


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

    And how deep that queue gets, in parts of its limit. Between two looks a worker has done what
    a small limit allows, and where there are many functions these are seldom: that is stated.
    """
    for most, daemons, functions in _systems(plan):
        is_usual = most >= 5_000 and functions <= 10_000
        times = plan.choose(2 if most == 5_000 and daemons == 1 else 1, 1)
        # Long enough to fill it.
        seconds = plan.choose(max(15, most // 3_000), 3)
        runs = [_busy(most, daemons, functions, seconds) for _ in range(times)]
        busy, deepest = zip(*runs, strict=True)
        what = f"{_described(most, daemons, functions)}, a worker of {TAKEN_A_SECOND:,} a second"
        yield Row(what, "of its time", busy, target=figure_at_least(0.95) if is_usual else None)
        target = _deepest_target(most, daemons, functions)
        yield Row(f"{what}, its queue", "limits", deepest, target=target)


def _deepest_target(most: int, daemons: int, functions: int) -> Target | None:
    if most < 5_000:
        return None
    return figure_at_most(2 if daemons == 1 and functions <= 10_000 else 4)


def _busy(most: int, daemons: int, functions: int, seconds: int) -> tuple[float, float]:
    """Return the part of its time in which the worker works, and how deep its queue got."""
    job = workload.fanout_job(SUBMIT_JOB_BG, background=True)
    with (
        system(daemons, functions, {"max_waiting": most}) as port,
        Connection(port) as publisher,
    ):
        workload.register(publisher, 1)
        with SlowWorker(port) as worker:
            until = time.monotonic() + seconds
            deepest, looks_at = 0, 0.0
            while (now := time.monotonic()) < until:
                submit_in_blocks(publisher, [job] * _AT_ONCE)
                # About ten times what the worker takes.
                time.sleep(_AT_ONCE / (10 * TAKEN_A_SECOND))
                if now >= looks_at:
                    began = time.monotonic()
                    deepest = max(deepest, queued_jobs(port, workload.TOPIC.encode()))
                    looks_at = began + _LOOK_EVERY * (time.monotonic() - began)
            busy = worker.done / worker.could
            return busy, max(deepest, queued_jobs(port, workload.TOPIC.encode())) / most


CASE = Case("limits", "what limits cost, and how far beyond them queues go", 7, _run)
