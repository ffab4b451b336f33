# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon's memory, which is not to grow with the copies that it has sent.

Nor is it to take more for messages of the largest size than the documentation adds up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks import servers, workload
from benchmarks.figures import Case, Plan, Row, figure_at_most, ratio_at_most
from benchmarks.packets import (
    CAN_DO,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN_UNIQ,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
    WORK_FAIL,
    Connection,
    packet,
    queued_jobs,
    run_jobs,
)
from benchmarks.processes import Process

_SUBSCRIBERS = 1_000
_ROUNDS = 10
_IN_FLIGHT = 20
_MOST_MESSAGES = 36
"""The messages of the largest size that the documentation adds up."""
_WAITING_MESSAGES = 4
"""What is left of them by the allocator while many wait for their receivers."""
_ENVELOPE_BYTES = 1_000
"""Around a payload."""


def _run(plan: Plan) -> list[Row]:
    fanouts = plan.choose(100, 20)
    pairs = [_measure(fanouts) for _ in range(plan.repetitions)]
    first, last = zip(*pairs, strict=True)
    copies = fanouts * _SUBSCRIBERS
    what = f"memory after {copies * _ROUNDS:,}/{copies:,} copies"
    # gearmand holds each copy.
    largest = plan.choose(16 << 20, 4 << 20)
    return [
        Row(what, "MiB", last, first, ratio_at_most(1.05), reference_name="the first round"),
        _largest("10 requests that wait for receivers", largest, _waiting, plan, _WAITING_MESSAGES),
        _largest("10 requests to 20 subscribers, peak", largest, _many_copies, plan),
        _largest("6 reports with results of 8, peak", largest, _results, plan),
    ]


def _largest(
    what: str,
    largest: int,
    load: Callable[[int, Process, Connection, int], int],
    plan: Plan,
    most: int = _MOST_MESSAGES,
) -> Row:
    """Return the memory above idle of messages of the largest size, counted in these."""
    figures = []
    for _ in range(plan.repetitions):
        with (
            servers.gearmand() as port,
            servers.daemon(port, largest) as daemon,
            Connection(port) as publisher,
        ):
            idle_kib = daemon.resident_kib()
            figures.append((load(port, daemon, publisher, largest) - idle_kib) * 1024 / largest)
    return Row(what, "messages", figures, target=figure_at_most(most))


def _publish_ten(publisher: Connection, packet_type: int, largest: int) -> None:
    """Publish ten of the largest messages."""
    payload = b"x" * (largest - _ENVELOPE_BYTES)
    background = packet_type == SUBMIT_JOB_BG
    job = workload.fanout_job(packet_type, background=background, payload=payload)
    for _ in range(10):
        publisher.send(job)


def _waiting(port: int, daemon: Process, publisher: Connection, largest: int) -> int:
    workload.register(publisher, 1)
    _publish_ten(publisher, SUBMIT_JOB, largest)
    _wait_for_copies(port, 10)
    # The daemon has forgotten the last once it has read that its copy is queued.
    workload.register(publisher, 1)
    return daemon.resident_kib()


def _many_copies(port: int, daemon: Process, publisher: Connection, largest: int) -> int:
    workload.register(publisher, 20)
    _publish_ten(publisher, SUBMIT_JOB_BG, largest)
    _wait_for_copies(port, 200)
    return daemon.peak_kib()


def _results(port: int, daemon: Process, publisher: Connection, largest: int) -> int:
    workload.register(publisher, 8)
    publisher.send(workload.fanout_job(SUBMIT_JOB, background=False, gather=True) * 6)
    _wait_for_copies(port, 48)
    result = b"x" * (largest // 8 - _ENVELOPE_BYTES)
    with Connection(port) as receiver:
        receiver.send(b"".join([packet(CAN_DO, name) for name in workload.queues(8)]))
        receiver.send(packet(GRAB_JOB_UNIQ) * 48)
        handles: list[bytes] = []
        while len(handles) < 48:
            handles += [
                body.partition(b"\0")[0]
                for kind, body in receiver.receive()
                if kind == JOB_ASSIGN_UNIQ
            ]
        for handle in handles:
            receiver.send(packet(WORK_COMPLETE, handle, result))
        ended = 0
        while ended < 6:
            ended += sum(kind in (WORK_COMPLETE, WORK_FAIL) for kind, _ in publisher.receive())
    return daemon.peak_kib()


def _wait_for_copies(port: int, copies: int) -> None:
    while queued_jobs(port, workload.TOPIC.encode()) != copies:
        time.sleep(0.05)


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
