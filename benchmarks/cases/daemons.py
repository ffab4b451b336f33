# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The gain from more daemons and more job servers, on this machine."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools

from benchmarks import servers, workload
from benchmarks.figures import Case, Measured, Plan, Row, take_turns
from benchmarks.packets import SUBMIT_JOB, Connection, run_jobs
from benchmarks.stopwatch import Stopwatch

_SUBSCRIBERS = 1_000
_DAEMONS = (1, 2, 4)
_GEARMANDS = (1, 2)


def _run(plan: Plan) -> list[Row]:
    settings = [(daemons, gearmands) for gearmands in _GEARMANDS for daemons in _DAEMONS]
    fanouts = plan.choose(300, 100)
    measured = take_turns(
        plan.repetitions, [functools.partial(_measure, fanouts, *setting) for setting in settings]
    )
    rows = []
    for (daemons, gearmands), rates in zip(settings, measured, strict=True):
        row = functools.partial(
            Row, at=daemons, series=f"{gearmands} gearmand{'s' if gearmands > 1 else ''}"
        )
        what = f"{daemons} daemon{'s' if daemons > 1 else ''}, {row.keywords['series']}"
        rows.append(row(what, "copies/s", rates))
        for name, program in (("all daemons", "daemon"), ("all gearmands", "gearmand")):
            busy = [rate.spent.processors(program) for rate in rates]
            rows.append(row(what, "processors", busy, name=name))
    return rows


def _measure(fanouts: int, daemons: int, gearmands: int) -> Measured:
    """Return the copies a second."""
    job = workload.fanout_job(SUBMIT_JOB, background=True)
    share = fanouts // gearmands
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(servers.gearmand()) for _ in range(gearmands)]
        store = stack.enter_context(servers.redis())
        for _ in range(daemons):
            stack.enter_context(servers.daemon_beside(ports, store.port))
        publishers = [stack.enter_context(Connection(port)) for port in ports]
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(gearmands))
        workload.register(publishers[0], _SUBSCRIBERS)
        with Stopwatch() as watch:
            list(pool.map(lambda publisher: run_jobs(publisher, [job] * share), publishers))
    return watch.rate(share * gearmands * _SUBSCRIBERS)


CASE = Case(
    "daemons",
    "1, 2, 4 daemons and 1, 2 gearmands",
    3,
    _run,
    "daemons",
    is_drawn=lambda row: row.unit == "copies/s",
)
