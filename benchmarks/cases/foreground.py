"""Foreground fan-outs: each ends when 100 receivers have answered."""

from __future__ import annotations

import functools
import time

from benchmarks import servers, workload
from benchmarks.packets import SUBMIT_JOB, Connection, packet, run_jobs
from benchmarks.results import Case, Plan, Row, alternate, ratio_at_least

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


def _by_daemon(fanouts: int) -> float:
    names = workload.queues(_SUBSCRIBERS)
    jobs = [workload.fanout_job(SUBMIT_JOB, background=False, gather=True)] * fanouts
    with (
        servers.gearmand() as port,
        servers.receiver(port, names),
        servers.daemon(port),
        Connection(port) as publisher,
    ):
        workload.register(publisher, _SUBSCRIBERS)
        start = time.perf_counter()
        run_jobs(publisher, jobs, in_flight=_COPIES_IN_FLIGHT // _SUBSCRIBERS)
        return fanouts * _SUBSCRIBERS / (time.perf_counter() - start)


def _by_bare_sockets(fanouts: int) -> float:
    """The same copies from a bare socket to the same receiver."""
    names = workload.queues(_SUBSCRIBERS)
    copies = [packet(SUBMIT_JOB, name, b"", workload.PAYLOAD) for name in names] * fanouts
    with (
        servers.gearmand() as port,
        servers.receiver(port, names),
        Connection(port) as client,
    ):
        start = time.perf_counter()
        run_jobs(client, copies, in_flight=_COPIES_IN_FLIGHT)
        return len(copies) / (time.perf_counter() - start)


CASE = Case("foreground", "copies answered a second, 100 receivers", 7, _run)
