# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The client library beside a bare socket and beside gear's own classes."""

from __future__ import annotations

import functools
import itertools
import logging
import socket
import time
from collections.abc import Callable

import gear

from benchmarks import bare, servers, workload
from benchmarks.figures import (
    Case,
    Measured,
    Plan,
    Row,
    ratio_above,
    ratio_at_least,
    take_turns,
)
from benchmarks.packets import (
    CAN_DO,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN_UNIQ,
    SUBMIT_JOB_BG,
    Connection,
    packet,
    submit_in_blocks,
)
from benchmarks.stopwatch import Stopwatch
from gearhorn import Message, Publisher, Subscriber

_CLIENT_ID = "client0"
_QUEUE = workload.queues(1)[0]


def _run_subscriber(plan: Plan) -> list[Row]:
    many = plan.choose(100_000, 10_000)
    figures, bare_figures, gear_figures, nodelay_figures = take_turns(
        plan.repetitions,
        [
            functools.partial(_messages_a_second, many, _by_subscriber),
            functools.partial(_messages_a_second, many, _by_bare_socket),
            # Few, as it does 23 a second.
            functools.partial(_messages_a_second, plan.choose(50, 10), _by_gear),
            functools.partial(_messages_a_second, plan.choose(5_000, 500), _by_gear_nodelay),
        ],
    )
    what = "Subscriber, a handler that does nothing"
    return [
        Row(what, "messages/s", figures, bare_figures, ratio_at_least(0.5)),
        Row(what, "messages/s", figures, gear_figures, reference_name="gear.Worker"),
        Row(
            what,
            "messages/s",
            figures,
            nodelay_figures,
            ratio_above(1),
            reference_name="gear.Worker, TCP_NODELAY",
        ),
    ]


def _messages_a_second(count: int, receive: Callable[[int, int], float]) -> Measured:
    """Measure the receiving of messages that were all queued before.

    `receive` takes the port and the number of messages, and returns the seconds from the first one
    on. The processor time of one includes connecting.
    """
    with servers.gearmand() as port:
        with Connection(port) as client:
            copy = packet(SUBMIT_JOB_BG, _QUEUE, b"", workload.PAYLOAD)
            submit_in_blocks(client, [copy] * count)
        with Stopwatch() as watch:
            elapsed_s = receive(port, count)
        return Measured(count / elapsed_s, watch.spent(count))


def _by_subscriber(port: int, count: int) -> float:
    """Measure from the first message handled to the end, when all are acknowledged."""
    subscriber = Subscriber(f"127.0.0.1:{port}", _CLIENT_ID, register=False)
    handled = itertools.count(1)
    start = 0.0

    @subscriber.on(workload.TOPIC)
    def handle(message: Message) -> None:
        nonlocal start
        number = next(handled)
        if number == 1:
            start = time.perf_counter()
        elif number == count:
            subscriber.stop()

    subscriber.run()
    return time.perf_counter() - start


def _by_bare_socket(port: int, count: int) -> float:
    """Measure with 64 grabs outstanding; each job is completed at once."""
    completion = bare.Completion(b"")
    grab = packet(GRAB_JOB_UNIQ)
    done = 0
    with Connection(port) as worker:
        worker.send(packet(CAN_DO, _QUEUE))
        worker.synchronize()
        start = time.perf_counter()
        worker.send(grab * bare.GRABS_OUTSTANDING)
        while done < count:
            answers = [
                completion.packet(body.partition(b"\0")[0])
                for kind, body in worker.receive()
                if kind == JOB_ASSIGN_UNIQ
            ]
            done += len(answers)
            if answers:
                worker.send(b"".join(answers) + grab * len(answers))
        worker.synchronize()
        return time.perf_counter() - start


def _by_gear(port: int, count: int, *, nodelay: bool = False) -> float:
    worker = gear.Worker("benchmark")
    worker.addServer("127.0.0.1", port)
    worker.waitForServer()
    if nodelay:
        for connection in worker.active_connections:
            connection.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    worker.registerFunction(_QUEUE)
    start = time.perf_counter()
    for _ in range(count):
        worker.getJob().sendWorkComplete()
    elapsed_s = time.perf_counter() - start
    worker.shutdown()
    return elapsed_s


_by_gear_nodelay = functools.partial(_by_gear, nodelay=True)


def _run_publisher(plan: Plan) -> list[Row]:
    count = plan.choose(20_000, 2_000)
    figures, references = take_turns(
        plan.repetitions,
        [
            functools.partial(_fan_outs_a_second, count),
            functools.partial(_submissions_a_second, plan.choose(5_000, 500)),
        ],
    )
    what = "publish_many, background, 1 subscriber"
    return [
        Row(
            what,
            "fanouts/s",
            figures,
            references,
            ratio_above(1),
            reference_name="gear.Client.submitJob",
        )
    ]


def _fan_outs_a_second(count: int) -> Measured:
    """Publish through the daemon, and read each report."""
    with servers.gearmand() as port, servers.daemon(port):
        with Connection(port) as client:
            workload.register(client, 1)
        with Publisher(f"127.0.0.1:{port}") as publisher:
            publisher.publish(workload.TOPIC, workload.PAYLOAD, background=True)
            messages = itertools.repeat((workload.TOPIC, workload.PAYLOAD), count)
            with Stopwatch() as watch:
                for _ in publisher.publish_many(messages, background=True):
                    pass
            return watch.rate(count)


def _submissions_a_second(count: int) -> Measured:
    """Submit straight to the subscriber's queue, without a daemon."""
    with servers.gearmand() as port:
        client = gear.Client("benchmark")
        client.addServer("127.0.0.1", port)
        client.waitForServer()
        with Stopwatch() as watch:
            for _ in range(count):
                client.submitJob(gear.Job(_QUEUE, workload.PAYLOAD), background=True)
        client.shutdown()
        return watch.rate(count)


# gear logs each connection that it closes.
logging.getLogger("gear").setLevel(logging.CRITICAL)

SUBSCRIBER = Case("subscriber", "messages a second, by one Subscriber", 5, _run_subscriber)
PUBLISHER = Case("publisher", "fan-outs a second, by one Publisher", 5, _run_publisher)
