# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Foreground fan-outs: each ends when 100 receivers have answered."""

from __future__ import annotations

import functools

from benchmarks import servers, workload
from benchmarks.figures import Case, Measured, Plan, Row, alternate, ratio_at_least
from benchmarks.packets import SUBMIT_JOB, Connection, packet, run_jobs
from benchmarks.stopwatch import Stopwatch

_SUBSCRIBERS = 100
_COPIES_IN_FLIGHT = 2_000


def _run(plan: Plan) -> list[Row]:
    fanouts = plan.choose(3_000, 200)
    figures, references = alternate(
        plan.repetitions,
        functools.partial(_by_daemon, fanouts),
        functools.partial(_by_bare_sockets, fanouts),
    )
    what = f"publish and gather, {_SUBSCRIBERS} receivers"
    return [Row(what, "copies/s", figures, references, ratio_at_least(0.7))]


def _by_daemon(fanouts: int) -> Measured:
    names = workload.queues(_SUBSCRIBERS)
    jobs = [workload.fanout_job(SUBMIT_JOB, background=False, gather=True)] * fanouts
    with (
        servers.gearmand() as port,
        servers.receiver(port, names),
        servers.daemon(port),
        Connection(port) as publisher,
    ):
        workload.register(publisher, _SUBSCRIBERS)
        with Stopwatch() as watch:
            run_jobs(publisher, jobs, in_flight=_COPIES_IN_FLIGHT // _SUBSCRIBERS)
        return watch.rate(fanouts * _SUBSCRIBERS)


def _by_bare_sockets(fanouts: int) -> Measured:
    """Send the same copies from a bare socket to the same receiver."""
    names = workload.queues(_SUBSCRIBERS)
    copies = [packet(SUBMIT_JOB, name, b"", workload.PAYLOAD) for name in names] * fanouts
    with (
        servers.gearmand() as port,
        servers.receiver(port, names),
        Connection(port) as client,
    ):
        with Stopwatch() as watch:
            run_jobs(client, copies, in_flight=_COPIES_IN_FLIGHT)
        return watch.rate(len(copies))


CASE = Case("foreground", "copies answered a second, 100 receivers", 7, _run)
