# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the daemon's looks at the depths of all queues take of gearmand, and of others."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

from benchmarks import servers, workload
from benchmarks.cases.fairness import EchoProbe, probe_until_over
from benchmarks.figures import Plan, Row, alternate, figure_at_most, percentile_99
from benchmarks.limited import NONE, system
from benchmarks.packets import (
    SUBMIT_JOB,
    WORK_COMPLETE,
    Connection,
    packet,
    queued_jobs,
    run_jobs,
)
from benchmarks.stopwatch import Stopwatch

_SUBSCRIBERS = 10
_MANY = 1_000
_AT_ONCE = 500


def rows(plan: Plan) -> Iterator[Row]:
    """Measure both."""
    # A look is due whenever half of a limit was sent: with those of the default, 50,000 messages.
    fanouts = plan.choose(120_000, 2_000)
    limits = {"max_waiting": 4 * _AT_ONCE} if plan.quick else {}
    for functions in (100, 10_000):
        shares = [_share(functions, fanouts, limits) for _ in range(plan.repetitions)]
        yield Row(
            f"looks, {functions:,} functions",
            "% of gearmand's processor time",
            shares,
            target=figure_at_most(1),
        )
    # As many copies, in as large fan-outs, as those whose neighbours the case "fairness" asks.
    fanouts = plan.choose(1_000, 100)
    limited, unlimited = alternate(
        plan.repetitions,
        functools.partial(_echo_ms, fanouts, {"max_waiting": fanouts * 5 // 4}),
        functools.partial(_echo_ms, fanouts, NONE),
    )
    yield Row(
        f"ECHO_REQ, 99%, {fanouts * _MANY:,} copies near limits, 10,000 functions",
        "ms",
        limited,
        unlimited,
        figure_at_most(20),
        reference_name="without limits",
    )


def _share(functions: int, fanouts: int, limits: dict[str, int]) -> float:
    """Return the part that looks take while receivers keep up, in percent.

    gearmand tells no one what a command costs: that is measured by the same question, asked often.
    """
    # In the foreground, so that no more are out than receivers have taken, and no queue is ever
    # at half of its limit.
    job = workload.fanout_job(SUBMIT_JOB, background=False)
    with (
        system(1, functions, limits) as port,
        servers.receiver(port, workload.queues(_SUBSCRIBERS)),
        Connection(port) as publisher,
    ):
        workload.register(publisher, _SUBSCRIBERS)
        before = _looks(publisher)
        with Stopwatch() as watch:
            run_jobs(publisher, [job] * fanouts, _AT_ONCE)
        looks = _looks(publisher) - before
        questions = max(10, 200_000 // functions)
        with Stopwatch() as asking:
            for _ in range(questions):
                queued_jobs(port)
        cost_s = asking.spent(questions).by_program["gearmand"].whole
        return 100 * looks * cost_s / watch.spent(1).by_program["gearmand"].whole


def _looks(client: Connection) -> float:
    """Return how often the daemon has looked so far."""
    client.send(packet(SUBMIT_JOB, b"fanout_query", b"", b'{"query": "status"}'))
    while True:
        for kind, body in client.receive():
            if kind == WORK_COMPLETE:
                (row,) = json.loads(body.partition(b"\0")[2])["rows"]
                counters: dict[str, float] = row["counters"]
                return sum(
                    count for name, count in counters.items() if name.startswith("looks_total")
                )


def _echo_ms(fanouts: int, limits: dict[str, int]) -> float:
    """Return the 99th percentile of what others wait for an answer of gearmand."""
    jobs = workload.fanout_job(SUBMIT_JOB, background=True) * fanouts
    with (
        system(1, 10_000, limits) as port,
        Connection(port) as publisher,
        Connection(port) as other,
    ):
        workload.register(publisher, _MANY)
        echo = EchoProbe(other)
        publisher.send(jobs)
        probe_until_over([echo], publisher, lambda reports: reports == fanouts)
        return 1000 * percentile_99(echo.waits_s)
