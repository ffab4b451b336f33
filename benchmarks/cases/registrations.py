# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Registrations: each is answered when every daemon has confirmed the change."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from benchmarks import servers, workload
from benchmarks.figures import Case, Measured, Plan, Row, take_turns
from benchmarks.packets import Connection, run_jobs
from benchmarks.stopwatch import Stopwatch

_DAEMONS = (1, 4)
_IN_FLIGHT = (1, 100)


def _run(plan: Plan) -> list[Row]:
    settings = [(daemons, in_flight) for daemons in _DAEMONS for in_flight in _IN_FLIGHT]
    figures = take_turns(
        plan.repetitions,
        [functools.partial(measure, plan.choose(5_000, 1_000), *each) for each in settings],
    )
    return [
        Row(
            f"{daemons} {'daemon' if daemons == 1 else 'daemons'}, {in_flight} at a time",
            "registr./s",
            figure,
            at=daemons,
            series=f"{in_flight} at a time",
        )
        for (daemons, in_flight), figure in zip(settings, figures, strict=True)
    ]


def measure(count: int, daemons: int, in_flight: int) -> Measured:
    """Return the registrations a second of so many."""
    with _daemons(daemons) as port, Connection(port) as client:
        jobs = [workload.registration(workload.TOPIC, each) for each in workload.client_ids(count)]
        workload.settle()
        with Stopwatch() as watch:
            run_jobs(client, jobs, in_flight=in_flight)
        return watch.rate(count)


@contextlib.contextmanager
def _daemons(count: int) -> Iterator[int]:
    with (
        servers.gearmand() as port,
        servers.redis() as store,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(count):
            stack.enter_context(servers.daemon_beside([port], store.port))
        yield port


CASE = Case(
    "registrations",
    "registrations a second, all daemons confirming each",
    3,
    _run,
    "daemons",
)
