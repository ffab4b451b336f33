# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Background fan-outs beside publishers that wait an hour for receivers that are not there.

Each publisher has one fan-out in the foreground to one of ten topics, with a unique. Some
connections have the jobs of many, as thousands of sockets are another thing to measure. When
these are closed, the daemon has to find out that nobody waits any longer.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import time

from benchmarks import servers, workload
from benchmarks.figures import Case, Plan, Row, figure_at_most, ratio_at_most
from benchmarks.limited import SlowWorker, system
from benchmarks.loading import load
from benchmarks.packets import (
    SUBMIT_JOB,
    WORK_COMPLETE,
    WORK_FAIL,
    Connection,
    GearmanError,
    packet,
)
from benchmarks.processes import Process

_TOPICS = [f"waiting{number}" for number in range(10)]
_CONNECTIONS = 50
_SLOW_A_SECOND = 1_000
_FREE_S = {1_000: 10.0, 100_000: 30.0}
"""The most seconds until all is free when so many publishers leave."""


def _run(plan: Plan) -> list[Row]:
    sizes = [1_000] if plan.quick else list(_FREE_S)
    rows = [row for publishers in sizes for row in _rows(plan, publishers)]
    return [*rows, _burst_row(plan.choose(40_000, 2_000))]


def _burst_row(messages: int) -> Row:
    """Count what times out of a burst to one that takes many seconds for it."""
    what = f"{messages:,} foreground fan-outs at once to a worker of {_SLOW_A_SECOND:,} a second"
    figures = [_timed_out(messages)]
    return Row(what, "timed out", figures, target=figure_at_most(0))


def _timed_out(messages: int) -> int:
    request = {"topic": workload.TOPIC, "payload": "x" * 100, "timeout": 60, "progress": False}
    data = json.dumps(request).encode()
    with system() as port, Connection(port) as publisher:
        workload.register(publisher, 1)
        with SlowWorker(port, _SLOW_A_SECOND):
            for number in range(messages):
                publisher.send(packet(SUBMIT_JOB, workload.FANOUT, b"burst-%d" % number, data))
            ends = [WORK_COMPLETE, WORK_FAIL]
            failed, ended = 0, 0
            while ended < messages:
                kinds = [kind for kind, _ in publisher.receive() if kind in ends]
                ended += len(kinds)
                failed += kinds.count(WORK_FAIL)
            return failed


def _rows(plan: Plan, publishers: int) -> list[Row]:
    runs = [_measure(plan, publishers) for _ in range(plan.repetitions)]
    beside, alone, free_s, kib = zip(*runs, strict=True)
    what = f"{publishers:,} publishers that wait"
    return [
        Row(
            f"a background fan-out beside {what}",
            "ms",
            beside,
            alone,
            ratio_at_most(2),
            reference_name="without them",
        ),
        Row(
            f"{what} leave: until all is free",
            "s",
            free_s,
            target=figure_at_most(_FREE_S[publishers]),
        ),
        Row(f"the daemon's memory for one of {what}", "KiB", kib),
    ]


def _measure(plan: Plan, publishers: int) -> tuple[float, float, float, float]:
    """Return both times of a fan-out in ms, the seconds until all is free, and the KiB of one."""
    rounds = plan.choose(1_000, 200)
    topics = [(topic, ["nobody"]) for topic in _TOPICS]
    with (
        servers.gearmand() as port,
        servers.redis() as store,
        servers.receiver(port, workload.queues(1)),
    ):
        load(store.port, [*topics, (workload.TOPIC, workload.client_ids(1))])
        with servers.daemon_beside([port], store.port) as daemon, Connection(port) as client:
            workload.settle()
            alone_ms = _fanout_ms(client, rounds)
            before_kib = daemon.resident_kib()
            with contextlib.ExitStack() as stack:
                for number in range(_CONNECTIONS):
                    connection = stack.enter_context(Connection(port))
                    _publish(connection, number, publishers // _CONNECTIONS)
                _wait_for_open(client, daemon, publishers)
                kib = (daemon.resident_kib() - before_kib) / publishers
                # Each is asked for at least once.
                time.sleep(2.0 + publishers / 5_000)
                beside_ms = _fanout_ms(client, rounds)
            left_at = time.monotonic()
            _wait_for_open(client, daemon, 0)
            return beside_ms, alone_ms, time.monotonic() - left_at, kib


def _publish(connection: Connection, number: int, jobs: int) -> None:
    for index in range(jobs):
        request = {"topic": _TOPICS[index % len(_TOPICS)], "payload": "x" * 100, "timeout": 3600}
        unique = f"publisher-{number}-{index}".encode()
        data = json.dumps({**request, "progress": False}).encode()
        connection.send(packet(SUBMIT_JOB, workload.FANOUT, unique, data))
    connection.synchronize()


def _fanout_ms(client: Connection, rounds: int) -> float:
    """Return the median time of a background fan-out to one subscriber, one at a time."""
    job = workload.fanout_job(SUBMIT_JOB, background=True)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        _answer(client, job)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _wait_for_open(client: Connection, daemon: Process, fanouts: int) -> None:
    query = packet(SUBMIT_JOB, b"fanout_query", b"", b'{"query": "status"}')
    while json.loads(_answer(client, query))["rows"][0]["fanouts_open"] != fanouts:
        daemon.check()
        time.sleep(0.05)


def _answer(client: Connection, job: bytes) -> bytes:
    client.send(job)
    while True:
        for kind, body in client.receive():
            if kind == WORK_COMPLETE:
                return body.partition(b"\0")[2]
            if kind == WORK_FAIL:
                raise GearmanError("a request failed")


CASE = Case("waiting", "background fan-outs beside publishers that wait for nobody", 1, _run)
