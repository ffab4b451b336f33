# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Large payloads: the rate of their bytes, and the daemon's memory meanwhile."""

from __future__ import annotations

import time

from benchmarks import servers, workload
from benchmarks.figures import Case, Measured, Plan, Row, figure_at_most, ratio_at_least
from benchmarks.packets import SUBMIT_JOB, Connection, run_jobs, submit_in_blocks
from benchmarks.stopwatch import Stopwatch

_SUBSCRIBERS = 100
_PAYLOAD = b"x" * 1_000_000
_MOST_PAYLOADS = 10


def _run(plan: Plan) -> list[Row]:
    fanouts = plan.choose(20, 5)
    figures, references, peaks = [], [], []
    for _ in range(plan.repetitions):
        rate, peak = _by_daemon(fanouts)
        figures.append(rate)
        peaks.append(peak)
        references.append(_by_bare_socket(fanouts))
    return [
        Row("1 MB to 100 subscribers", "MB/s", figures, references, ratio_at_least(0.8)),
        Row(
            "memory of the daemon at the peak, above idle",
            "payloads",
            peaks,
            target=figure_at_most(_MOST_PAYLOADS),
        ),
    ]


def _by_daemon(fanouts: int) -> tuple[Measured, float]:
    """Return the megabytes a second, and the peak of memory as a number of payloads."""
    job = workload.fanout_job(SUBMIT_JOB, background=True, payload=_PAYLOAD)
    with servers.gearmand() as port, servers.daemon(port) as daemon, Connection(port) as publisher:
        workload.register(publisher, _SUBSCRIBERS)
        daemon.forget_peak()
        idle_kib = daemon.resident_kib()
        with Stopwatch() as watch:
            # One after the other, as the memory of other topics' fan-outs comes on top.
            run_jobs(publisher, [job] * fanouts, in_flight=1)
        grown = (daemon.peak_kib() - idle_kib) * 1024
    return watch.rate(_megabytes(fanouts)), grown / len(_PAYLOAD)


def _by_bare_socket(fanouts: int) -> float:
    """Send ready-made packets, each answered before the next: a block holds at most 1 MiB."""
    names = workload.queues(_SUBSCRIBERS)
    copies = workload.background_copies(names, _PAYLOAD)
    elapsed_s = 0.0
    with servers.gearmand() as port, Connection(port) as client:
        for _ in range(fanouts):
            start = time.perf_counter()
            submit_in_blocks(client, copies, 1)
            elapsed_s += time.perf_counter() - start
            # New uniques for the next, as gearmand would coalesce the old ones.
            copies = workload.background_copies(names, _PAYLOAD)
    return _megabytes(fanouts) / elapsed_s


def _megabytes(fanouts: int) -> float:
    return fanouts * _SUBSCRIBERS * len(_PAYLOAD) / 1e6


CASE = Case("large-payloads", "1 MB to 100 subscribers: bytes a second, and memory", 3, _run)
