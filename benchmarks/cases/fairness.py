# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The waits of others while many copies go out."""

from __future__ import annotations

import collections
import contextlib
import itertools
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from benchmarks import servers, workload
from benchmarks.figures import Case, Measured, Plan, Row, figure_at_most, percentile_99
from benchmarks.loading import load
from benchmarks.packets import (
    ECHO_REQ,
    ECHO_RES,
    JOB_CREATED,
    SUBMIT_JOB,
    WORK_COMPLETE,
    WORK_FAIL,
    Connection,
    GearmanError,
    packet,
)
from benchmarks.stopwatch import Stopwatch

_SUBSCRIBERS = 1_000
_IDLE_S = 1.0
_ECHO_INTERVAL_S = 0.002
_REQUEST_INTERVAL_S = 0.01
_SINGLE = "single"
_PROBES = ("ECHO_REQ", "registration", "fan-out to 1")


class _Load(NamedTuple):
    """Fan-outs of the same size, all published at once."""

    subscribers: int
    copies: int
    queue: str

    @property
    def fanouts(self) -> int:
        return self.copies // self.subscribers


def _run(plan: Plan) -> list[Row]:
    copies = plan.choose(1_000_000, 100_000)
    loads = [
        _Load(_SUBSCRIBERS, copies, "builtin"),
        _Load(plan.choose(100_000, 20_000), copies, "builtin"),
        # gearmand writes each copy to the file on its own, a few hundred a second on some disks.
        _Load(_SUBSCRIBERS, plan.choose(5_000, 2_000), "sqlite"),
    ]
    return [row for load in loads for row in _rows(plan, load)]


def _rows(plan: Plan, load: _Load) -> list[Row]:
    runs = [_measure(load) for _ in range(plan.repetitions)]
    target = figure_at_most(20) if load.queue == "builtin" else None
    what = f"{load.copies:,} copies, {load.subscribers:,} each, {load.queue}"
    return [
        Row(
            f"{probe}, 99%, {what}",
            "ms",
            [busy[index] for busy, _ in runs],
            [idle[index] for _, idle in runs],
            target,
            reference_name="idle system",
        )
        for index, probe in enumerate(_PROBES)
    ]


def _measure(what: _Load) -> tuple[Sequence[Measured], Sequence[float]]:
    """Return the 99th percentile in ms of each probe's waits, under load and when idle.

    The figures under load have the time spent on a copy, probes included.
    """
    jobs = workload.fanout_job(SUBMIT_JOB, background=True) * what.fanouts
    with _system(what) as port, contextlib.ExitStack() as stack:
        publisher, *connections = (stack.enter_context(Connection(port)) for _ in range(4))
        probes = [
            probe(connection)
            for probe, connection in zip(
                (EchoProbe, _RegistrationProbe, _FanOutProbe), connections, strict=True
            )
        ]
        idle_until = time.perf_counter() + _IDLE_S
        probe_until_over(probes, publisher, lambda reports: time.perf_counter() > idle_until)
        idle_ms = [1000 * percentile_99(probe.waits_s) for probe in probes]
        with Stopwatch() as watch:
            publisher.send(jobs)
            probe_until_over(probes, publisher, lambda reports: reports == what.fanouts)
        spent = watch.spent(what.copies)
        busy_ms = [Measured(1000 * percentile_99(probe.waits_s), spent) for probe in probes]
        return busy_ms, idle_ms


@contextlib.contextmanager
def _system(what: _Load) -> Iterator[int]:
    """Run gearmand and a daemon, with the topic of the load and one of a single subscriber."""
    with servers.job_server(what.queue) as server, servers.redis() as store:
        topics = [
            (workload.TOPIC, workload.client_ids(what.subscribers)),
            (_SINGLE, workload.client_ids(1)),
        ]
        load(store.port, topics)
        with servers.daemon_beside([server.port], store.port):
            workload.settle()
            yield server.port


class _Probe:
    """A sender of requests at fixed times, whether or not earlier ones are answered.

    A wait is counted from the time at which the request was due. So a stall does not hide the
    requests that it kept from being sent.
    """

    def __init__(self, connection: Connection, interval_s: float) -> None:
        self.connection = connection
        self.waits_s: list[float] = []
        self.next_due = 0.0
        self._interval_s = interval_s

    @property
    def unanswered(self) -> int:
        raise NotImplementedError

    def start(self, now: float) -> None:
        self.waits_s = []
        self.next_due = now

    def send_due(self, now: float) -> None:
        while self.next_due <= now:
            self.send(self.next_due)
            self.next_due += self._interval_s

    def send(self, due: float) -> None:
        raise NotImplementedError

    def receive(self) -> None:
        raise NotImplementedError


class EchoProbe(_Probe):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, _ECHO_INTERVAL_S)
        self._due: collections.deque[float] = collections.deque()

    @property
    def unanswered(self) -> int:
        return len(self._due)

    def send(self, due: float) -> None:
        self._due.append(due)
        self.connection.send(packet(ECHO_REQ, b"probe"))

    def receive(self) -> None:
        for kind, _ in self.connection.receive():
            if kind == ECHO_RES:
                self.waits_s.append(time.perf_counter() - self._due.popleft())


class _RequestProbe(_Probe):
    """A probe whose requests are jobs that a daemon answers."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, _REQUEST_INTERVAL_S)
        self._numbers = itertools.count()
        self._submitted: collections.deque[float] = collections.deque()
        self._running: dict[bytes, float] = {}

    @property
    def unanswered(self) -> int:
        return len(self._submitted) + len(self._running)

    def send(self, due: float) -> None:
        self._submitted.append(due)
        self.connection.send(self.job(next(self._numbers)))

    def job(self, number: int) -> bytes:
        raise NotImplementedError

    def receive(self) -> None:
        for kind, body in self.connection.receive():
            if kind == JOB_CREATED:
                self._running[body] = self._submitted.popleft()
            elif kind == WORK_COMPLETE:
                due = self._running.pop(body.partition(b"\0")[0])
                self.waits_s.append(time.perf_counter() - due)
            elif kind == WORK_FAIL:
                raise GearmanError("a request failed")


class _RegistrationProbe(_RequestProbe):
    def job(self, number: int) -> bytes:
        return workload.registration("other", f"client{number}")


class _FanOutProbe(_RequestProbe):
    def job(self, number: int) -> bytes:
        return workload.fanout_job(SUBMIT_JOB, background=True, topic=_SINGLE)


def probe_until_over(
    probes: Sequence[_Probe], publisher: Connection, is_over: Callable[[int], bool]
) -> None:
    """Probe until `is_over`, called with the number of fan-outs reported, and all is answered."""
    reports = 0
    with selectors.DefaultSelector() as selector:
        selector.register(publisher, selectors.EVENT_READ)
        for probe in probes:
            selector.register(probe.connection, selectors.EVENT_READ, probe)
            probe.start(time.perf_counter())
        while not is_over(reports) or any(probe.unanswered for probe in probes):
            now = time.perf_counter()
            if not is_over(reports):
                for probe in probes:
                    probe.send_due(now)
            next_due = min(probe.next_due for probe in probes)
            for key, _ in selector.select(max(0.0, next_due - now)):
                if key.data is not None:
                    key.data.receive()
                    continue
                for kind, _ in publisher.receive():
                    if kind == WORK_FAIL:
                        raise GearmanError("a fan-out failed")
                    reports += kind == WORK_COMPLETE


CASE = Case("fairness", "what others wait for while 1,000,000 copies go out", 3, _run)
