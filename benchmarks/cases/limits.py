# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What limits cost, and how far beyond them queues go."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterator, Sequence

from benchmarks import servers, workload
from benchmarks.figures import (
    Case,
    Measured,
    Plan,
    Row,
    alternate,
    figure_at_least,
    figure_at_most,
    ratio_at_least,
)
from benchmarks.packets import (
    CAN_DO,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN_UNIQ,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
    Connection,
    packet,
    queued_jobs,
    run_jobs,
    submit_in_blocks,
)
from benchmarks.stopwatch import Stopwatch

_NONE = {"max_waiting": 0, "max_waiting_bytes": 0, "max_total": 0, "max_total_bytes": 0}
_TAKEN_A_SECOND = 2_000
_SLOW_LIMIT = 5_000
_AT_ONCE = 1_000


def _run(plan: Plan) -> list[Row]:
    return [*_costs(plan), *_excesses(plan), *_slow(plan)]


def _costs(plan: Plan) -> Iterator[Row]:
    """Compare the rates with limits and without, of fan-outs to subscribers that keep up.

    They are as fast as can be: their queues are never deep, since nobody looks for what is sent.
    """
    for subscribers, fanouts in ((10, plan.choose(10_000, 1_000)), (1_000, plan.choose(200, 50))):
        limited, unlimited = alternate(
            plan.repetitions,
            functools.partial(_rate, subscribers, fanouts, {}),
            functools.partial(_rate, subscribers, fanouts, _NONE),
        )
        yield Row(
            f"background, {subscribers:,} subscribers",
            "copies/s",
            limited,
            unlimited,
            ratio_at_least(0.97),
            reference_name="without limits",
        )


def _rate(subscribers: int, fanouts: int, limits: dict[str, int]) -> Measured:
    jobs = [workload.fanout_job(SUBMIT_JOB, background=True)] * fanouts
    with _system(limits=limits) as port, Connection(port) as publisher:
        workload.register(publisher, subscribers)
        with Stopwatch() as watch:
            run_jobs(publisher, jobs)
    return watch.rate(subscribers * fanouts)


def _excesses(plan: Plan) -> Iterator[Row]:
    """Measure the depth of a queue that nobody reads, in parts of its limit."""
    for most in (100, 5_000, 100_000)[: plan.choose(3, 1)]:
        for daemons in (1, 2, 4)[: plan.choose(3, 1)]:
            for functions in (10, 10_000, 100_000)[: plan.choose(3, 1)]:
                what = f"limit {most:,}, {daemons} daemons, {functions:,} functions"
                target = figure_at_most(1 if daemons == 1 else 4 if most >= 5_000 else 100)
                excess = [_excess(most, daemons, functions) for _ in range(plan.choose(2, 1))]
                yield Row(what, "limits", excess, target=target)


def _excess(most: int, daemons: int, functions: int) -> float:
    job = workload.fanout_job(SUBMIT_JOB_BG, background=True)
    with (
        _system(daemons, functions, {"max_waiting": most}) as port,
        Connection(port) as publisher,
    ):
        workload.register(publisher, 1)
        # Looks take their time where there are many functions.
        submit_in_blocks(publisher, [job] * max(30_000, 2 * most))
        while queued_jobs(port, workload.FANOUT):
            time.sleep(0.2)
        return queued_jobs(port, workload.TOPIC.encode()) / most


def _slow(plan: Plan) -> Iterator[Row]:
    """Measure which part of its time a worker works whose queue is always at its limit."""
    for functions in (10, 10_000)[: plan.choose(2, 1)]:
        busy = [_busy(functions, plan.choose(15, 3)) for _ in range(plan.choose(2, 1))]
        yield Row(
            f"a worker of {_TAKEN_A_SECOND:,} a second, {functions:,} functions",
            "of its time",
            busy,
            target=figure_at_least(0.95),
        )


def _busy(functions: int, seconds: int) -> float:
    job = workload.fanout_job(SUBMIT_JOB_BG, background=True)
    with (
        _system(1, functions, {"max_waiting": _SLOW_LIMIT}) as port,
        Connection(port) as publisher,
    ):
        workload.register(publisher, 1)
        with _SlowWorker(port) as worker:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                submit_in_blocks(publisher, [job] * _AT_ONCE)
                # About ten times what the worker takes.
                time.sleep(_AT_ONCE / (10 * _TAKEN_A_SECOND))
            return worker.done / worker.could


class _SlowWorker:
    """A worker that takes so many jobs a second from the queue of the first subscriber."""

    def __init__(self, port: int) -> None:
        self._connection = Connection(port)
        self._thread = threading.Thread(target=self._work)
        self._ended = threading.Event()
        self._began = 0.0
        self.done = 0

    def __enter__(self) -> _SlowWorker:
        (queue,) = workload.queues(1)
        self._connection.send(packet(CAN_DO, queue))
        self._connection.synchronize()
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self._connection.socket.close()

    @property
    def could(self) -> float:
        """The jobs that it could have done by now."""
        return _TAKEN_A_SECOND * (time.monotonic() - self._began)

    def _work(self) -> None:
        while not self._ended.is_set():
            jobs = max(1, int(self.could) - self.done)
            self._connection.send(packet(GRAB_JOB_UNIQ) * jobs)
            answers: list[tuple[int, bytes]] = []
            while len(answers) < jobs:
                answers += self._connection.receive()
            handles = [body.split(b"\0")[0] for kind, body in answers if kind == JOB_ASSIGN_UNIQ]
            self._connection.send(
                b"".join(packet(WORK_COMPLETE, handle, b"") for handle in handles)
            )
            self.done += len(handles)
            # What it could not do while there was nothing is lost.
            time.sleep(0.01)


@contextlib.contextmanager
def _system(
    daemons: int = 1, functions: int = 0, limits: dict[str, int] | None = None
) -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(servers.gearmand())
        store = stack.enter_context(servers.redis())
        if functions:
            _add_functions(stack.enter_context(Connection(port)), functions)
        for _ in range(daemons):
            stack.enter_context(servers.daemon_beside([port], store.port, limits=limits or {}))
        yield port


def _add_functions(connection: Connection, functions: int) -> None:
    names: Sequence[bytes] = [b"function%d" % number for number in range(functions)]
    for start in range(0, functions, _AT_ONCE):
        connection.send(b"".join(packet(CAN_DO, name) for name in names[start : start + _AT_ONCE]))
        connection.synchronize()


CASE = Case("limits", "what limits cost, and how far beyond them queues go", 7, _run)
