# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What a journal costs fan-outs, and what its readers get."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

from benchmarks import servers, workload
from benchmarks.cases import reading
from benchmarks.figures import (
    Case,
    Measured,
    Plan,
    Row,
    Target,
    ratio_at_least,
    ratio_at_most,
    take_turns,
)
from benchmarks.journaled import ALL_TOPICS
from benchmarks.packets import (
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    Connection,
    queued_jobs,
    run_jobs,
    submit_in_blocks,
)
from benchmarks.stopwatch import Stopwatch

_SHARES = {1: 0.5, 100: 0.8}
"""The least share of the rate without a journal, by the number of subscribers."""
_PROGRAMS = ("gearmand", "daemon", "redis-server")


def _run(plan: Plan) -> list[Row]:
    return [*_fan_outs(plan), *reading.rows(plan)]


def _fan_outs(plan: Plan) -> Iterator[Row]:
    for subscribers, fanouts in ((1, plan.choose(10_000, 3_000)), (100, plan.choose(1_000, 300))):
        for named, how in ((False, ""), (True, ", each with an id")):
            measure = functools.partial(_fan_out, subscribers, fanouts, named=named)
            with_one, without = take_turns(
                plan.repetitions,
                [functools.partial(measure, ALL_TOPICS), functools.partial(measure, None)],
            )
            share = _SHARES[subscribers]
            what = f"background, {subscribers} subscriber{'s'[: subscribers - 1]}{how}"
            yield _beside(what, "fanouts/s", with_one, without, ratio_at_least(share))
            yield _beside(
                f"{what}, processor time",
                "µs/fan-out",
                [_microseconds(each) for each in with_one],
                [_microseconds(each) for each in without],
                ratio_at_most(1 / share),
            )


def _fan_out(
    subscribers: int, fanouts: int, journal: Mapping[str, str | int] | None, *, named: bool
) -> Measured:
    """Measure from the first grab to the last answer, of jobs that were all queued before.

    The daemon is frozen while they are queued, and nobody receives the copies.
    """
    with (
        servers.gearmand() as port,
        servers.redis() as store,
        servers.daemon_beside([port], store.port, journal=journal) as daemon,
        Connection(port) as publisher,
    ):
        workload.register(publisher, subscribers)
        last = workload.fanout_job(SUBMIT_JOB, background=True)
        # So that the list is at hand, and the journal is there.
        run_jobs(publisher, [last])
        daemon.freeze()
        jobs = [
            workload.fanout_job(
                SUBMIT_JOB_BG, background=True, message_id=f"message{number}" if named else ""
            )
            for number in range(fanouts)
        ]
        submit_in_blocks(publisher, jobs)
        with Stopwatch() as watch:
            daemon.thaw()
            run_jobs(publisher, [last])
            while queued_jobs(port, workload.FANOUT):
                pass
    return watch.rate(fanouts + 1)


def _beside(
    what: str, unit: str, figures: Sequence[float], references: Sequence[float], target: Target
) -> Row:
    return Row(what, unit, figures, references, target, reference_name="no journal")


def _microseconds(measured: Measured) -> float:
    """Return the processor time that all programs but this one took for one."""
    return 1e6 * sum(measured.spent.by_program[program].whole for program in _PROGRAMS)


CASE = Case("journals", "fan-outs with a journal and without, and its readers", 3, _run)
