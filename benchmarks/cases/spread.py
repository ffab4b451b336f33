# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""One topic of 1,000,000 subscribers, spread over 1 to 8 job servers."""

from __future__ import annotations

import contextlib
import functools

from benchmarks import servers, workload
from benchmarks.figures import Case, Measured, Plan, Row, take_turns
from benchmarks.loading import load
from benchmarks.packets import SUBMIT_JOB, Connection, run_jobs
from benchmarks.stopwatch import Stopwatch

_GEARMANDS = (8, 4, 2, 1)
# For one fan-out to 1,000,000 by one job server.
_ANSWER_LIMIT_S = 1_000.0


def _run(plan: Plan) -> list[Row]:
    size = plan.choose(1_000_000, 20_000)
    with servers.redis() as store:
        load(store.port, [("topic", workload.client_ids(size))])
        measured = take_turns(
            plan.repetitions,
            [functools.partial(_measure, store.port, size, number) for number in _GEARMANDS],
        )
    rows = []
    for number, rates in zip(_GEARMANDS, measured, strict=True):
        what = f"{size:,} over {number} gearmand{'s' if number > 1 else ''}"
        row = functools.partial(Row, what, at=number)
        rows.append(row("copies/s", rates))
        for name, program in (("daemon", "daemon"), ("all gearmands", "gearmand")):
            its = [rate.spent.by_program[program].whole for rate in rates]
            rows.append(row("µs/copy", [1e6 * time for time in its], name=name))
            busy = [rate.spent.processors(program) for rate in rates]
            rows.append(row("processors", busy, name=name))
    return rows


def _measure(store: int, size: int, gearmands: int) -> Measured:
    """Return the copies a second of the first fan-out, which makes each queue's function."""
    job = workload.fanout_job(SUBMIT_JOB, background=True, topic="topic")
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(servers.gearmand()) for _ in range(gearmands)]
        stack.enter_context(servers.daemon_beside(ports, store))
        publisher = stack.enter_context(Connection(ports[0], _ANSWER_LIMIT_S))
        with Stopwatch() as watch:
            run_jobs(publisher, [job])
        return watch.rate(size)


CASE = Case(
    "spread",
    "one topic of 1,000,000 over 1, 2, 4 and 8 gearmands",
    1,
    _run,
    "gearmands",
    is_drawn=lambda row: row.unit == "copies/s",
)
