# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon's memory, which is not to grow with the copies that it has sent."""

from __future__ import annotations

import time

from benchmarks import servers, workload
from benchmarks.figures import Case, Plan, Row, ratio_at_most
from benchmarks.packets import SUBMIT_JOB, Connection, queued_jobs, run_jobs

_SUBSCRIBERS = 1_000
_ROUNDS = 10
_IN_FLIGHT = 20


def _run(plan: Plan) -> list[Row]:
    fanouts = plan.choose(100, 20)
    pairs = [_measure(fanouts) for _ in range(plan.repetitions)]
    first, last = zip(*pairs, strict=True)
    copies = fanouts * _SUBSCRIBERS
    what = f"memory after {copies * _ROUNDS:,}/{copies:,} copies"
    return [Row(what, "MiB", last, first, ratio_at_most(1.05), reference_name="the first round")]


def _measure(fanouts: int) -> tuple[float, float]:
    """Return the daemon's resident memory after the first and after the last round."""
    jobs = [workload.fanout_job(SUBMIT_JOB, background=True)] * fanouts
    resident_mib = []
    with (
        servers.gearmand() as port,
        servers.receiver(port, workload.queues(_SUBSCRIBERS)),
        servers.daemon(port) as daemon,
        Connection(port) as publisher,
    ):
        workload.register(publisher, _SUBSCRIBERS)
        for _ in range(_ROUNDS):
            run_jobs(publisher, jobs, in_flight=_IN_FLIGHT)
            # Otherwise gearmand, and not the daemon, would fill the machine's memory.
            while queued_jobs(port, workload.TOPIC.encode()):
                time.sleep(0.05)
            resident_mib.append(daemon.resident_kib() / 1024)
    return resident_mib[0], resident_mib[-1]


CASE = Case("memory", "resident memory after 1,000,000 background copies", 1, _run)
