# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Background fan-outs: copies that are queued, and received by nobody."""

from __future__ import annotations

import functools
import time

from benchmarks import bare, contenders, servers, workload
from benchmarks.contenders.base import Contender
from benchmarks.figures import Case, Measured, Plan, Row, ratio_at_least, take_turns
from benchmarks.packets import (
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    Connection,
    GearmanError,
    packet,
    queued_jobs,
    run_jobs,
    submit_in_blocks,
)
from benchmarks.stopwatch import Stopwatch

_SUBSCRIBERS = 1_000
_TOGETHER = 1_000
"""The messages in one request that has several."""
_REPORT = b'{"topic": "benchmark", "subscribers": 1, "queued": 1, "failed": {}}'
_TARGETS = {contenders.BARE.name: ratio_at_least(0.75), "gear loop": ratio_at_least(25)}
# The messages for each of the systems that make a copy for each subscriber and can say that it is
# queued. They are few where a system is slow and would take minutes.
_PEERS_MESSAGES = {"gear loop": 10, "RabbitMQ": 50}


def _run_many(plan: Plan) -> list[Row]:
    fanouts = plan.choose(200, 50)
    peers = [peer for peer in contenders.available(plan.contenders) if peer.name in _PEERS_MESSAGES]
    figures, *references = take_turns(
        plan.repetitions,
        [
            functools.partial(_many_by_daemon, fanouts),
            functools.partial(_many_by_bare_socket, fanouts),
            *[functools.partial(_many_by_peer, peer) for peer in peers],
        ],
    )
    return [
        Row(
            f"background, {_SUBSCRIBERS:,} subscribers",
            "copies/s",
            figures,
            reference,
            _TARGETS.get(name),
            reference_name=name,
        )
        for name, reference in zip(
            [contenders.BARE.name, *[peer.name for peer in peers]], references, strict=True
        )
    ]


def _many_by_daemon(fanouts: int) -> Measured:
    """Measure from the publishing of all fan-outs to the last report."""
    jobs = [workload.fanout_job(SUBMIT_JOB, background=True)] * fanouts
    with servers.gearmand() as port, servers.daemon(port), Connection(port) as publisher:
        workload.register(publisher, _SUBSCRIBERS)
        with Stopwatch() as watch:
            run_jobs(publisher, jobs, in_flight=len(jobs))
        _check_copies(port, fanouts * _SUBSCRIBERS)
    return watch.rate(fanouts * _SUBSCRIBERS)


def _many_by_bare_socket(fanouts: int) -> Measured:
    """Send the same packets ready-made, in blocks of 500, each answered before the next."""
    names = workload.queues(_SUBSCRIBERS)
    copies = [copy for _ in range(fanouts) for copy in workload.background_copies(names)]
    with servers.gearmand() as port, Connection(port) as client:
        with Stopwatch() as watch:
            submit_in_blocks(client, copies)
        _check_copies(port, len(copies))
    return watch.rate(len(copies))


def _many_by_peer(peer: Contender) -> Measured:
    client_ids = workload.client_ids(_SUBSCRIBERS)
    messages = _PEERS_MESSAGES[peer.name]
    with (
        peer.serving(client_ids) as address,
        peer.publishing(address, client_ids) as publish,
    ):
        publish(workload.PAYLOAD, 1, time.monotonic() + 60)
        with Stopwatch() as watch:
            published = publish(workload.PAYLOAD, messages, time.monotonic() + 60)
        return watch.rate(published * _SUBSCRIBERS)


def _run_one(plan: Plan) -> list[Row]:
    fanouts = plan.choose(50_000, 20_000)
    alone, together, references = take_turns(
        plan.repetitions,
        [
            functools.partial(_one_by_daemon, fanouts),
            functools.partial(_one_by_daemon, fanouts, _TOGETHER),
            functools.partial(_one_by_bare_sockets, fanouts),
        ],
    )
    what = "background, 1 subscriber"
    return [
        Row(what, "fanouts/s", alone, references, ratio_at_least(0.3)),
        Row(f"{what}, {_TOGETHER:,} a request", "messages/s", together, references),
    ]


def _one_by_daemon(fanouts: int, together: int = 1) -> Measured:
    """Measure from the first grab to the last answer, of jobs that were all queued before.

    The daemon is frozen while they are queued. The last job of the queue is a foreground one,
    whose report shows that the others have been grabbed. Jobs still running then are waited for.
    """
    with servers.gearmand() as port, servers.daemon(port) as daemon, Connection(port) as publisher:
        workload.register(publisher, 1)
        daemon.freeze()
        _queue_fanouts(publisher, fanouts, together)
        with Stopwatch() as watch:
            daemon.thaw()
            run_jobs(publisher, [workload.fanout_job(SUBMIT_JOB, background=True)])
            while queued_jobs(port, workload.FANOUT):
                pass
        _check_copies(port, fanouts + 1)
    return watch.rate(fanouts + 1)


def _one_by_bare_sockets(fanouts: int) -> Measured:
    """Grab the same jobs, submit a ready-made copy for each, and complete each.

    The copies carry no unique, since ready-made ones would coalesce. That makes the reference a
    little faster than one that submits the daemon's copies.
    """
    copy = packet(SUBMIT_JOB_BG, workload.queues(1)[0], b"", workload.PAYLOAD)
    with servers.gearmand() as port, Connection(port) as publisher:
        _queue_fanouts(publisher, fanouts)
        with Stopwatch() as watch:
            bare.fan_out_to_one(port, workload.FANOUT, copy, _REPORT, fanouts)
        _check_copies(port, fanouts)
    return watch.rate(fanouts)


def _queue_fanouts(publisher: Connection, fanouts: int, together: int = 1) -> None:
    job = workload.fanout_job(SUBMIT_JOB_BG, background=True, messages=together)
    submit_in_blocks(publisher, [job] * (fanouts // together))


def _check_copies(port: int, expected: int) -> None:
    queued = queued_jobs(port, workload.TOPIC.encode())
    if queued != expected:
        raise GearmanError(f"{queued} copies are queued, not {expected}")


MANY = Case("fanout-rate", "copies queued a second, 1,000 subscribers, 100 B", 5, _run_many)
ONE = Case("small-topics", "fan-outs a second, 1 subscriber, background", 5, _run_one)
