"""How long others wait while many copies go out."""

from __future__ import annotations

import collections
import itertools
import selectors
import statistics
import time
from collections.abc import Callable, Sequence

from benchmarks import servers, workload
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
from benchmarks.results import Case, Row, figure_at_most

_SUBSCRIBERS = 1_000
_FANOUTS = 100
_IDLE_S = 1.0
_ECHO_INTERVAL_S = 0.002
_REGISTRATION_INTERVAL_S = 0.01


class _Probe:
    """Sends requests at fixed times, whether or not the earlier ones are answered.

    A wait is counted from the time at which the request was due, so that no stall hides the
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


class _EchoProbe(_Probe):
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


class _RegistrationProbe(_Probe):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, _REGISTRATION_INTERVAL_S)
        self._numbers = itertools.count()
        self._submitted: collections.deque[float] = collections.deque()
        self._running: dict[bytes, float] = {}

    @property
    def unanswered(self) -> int:
        return len(self._submitted) + len(self._running)

    def send(self, due: float) -> None:
        self._submitted.append(due)
        self.connection.send(workload.registration("other", f"client{next(self._numbers)}"))

    def receive(self) -> None:
        for kind, body in self.connection.receive():
            if kind == JOB_CREATED:
                self._running[body] = self._submitted.popleft()
            elif kind == WORK_COMPLETE:
                due = self._running.pop(body.partition(b"\0")[0])
                self.waits_s.append(time.perf_counter() - due)
            elif kind == WORK_FAIL:
                raise GearmanError("a registration failed")


def _run(repetitions: int) -> list[Row]:
    runs = [_measure() for _ in range(repetitions)]
    busy_echoes, busy_registrations, idle_echoes, idle_registrations = (
        [_percentile_99_ms([wait for waits_s in probe for wait in waits_s])]
        for probe in zip(*runs, strict=True)
    )
    under = f"{_FANOUTS * _SUBSCRIBERS:,} copies"
    return [
        Row(f"ECHO_REQ, 99%, {under}/idle", "ms", busy_echoes, idle_echoes, figure_at_most(50)),
        Row(
            f"registration, 99%, {under}/idle",
            "ms",
            busy_registrations,
            idle_registrations,
            figure_at_most(100),
        ),
    ]


def _measure() -> tuple[list[float], list[float], list[float], list[float]]:
    """The waits of echoes and registrations under load, then of both on the idle system."""
    jobs = workload.fanout_job(SUBMIT_JOB, background=True) * _FANOUTS
    with (
        servers.gearmand() as port,
        servers.daemon(port),
        Connection(port) as publisher,
        Connection(port) as echo_connection,
        Connection(port) as registration_connection,
    ):
        workload.register(publisher, _SUBSCRIBERS)
        echo = _EchoProbe(echo_connection)
        registration = _RegistrationProbe(registration_connection)
        idle_until = time.perf_counter() + _IDLE_S
        _probe([echo, registration], publisher, lambda reports: time.perf_counter() > idle_until)
        idle = echo.waits_s, registration.waits_s
        publisher.send(jobs)
        _probe([echo, registration], publisher, lambda reports: reports == _FANOUTS)
        return echo.waits_s, registration.waits_s, *idle


def _probe(probes: Sequence[_Probe], publisher: Connection, is_over: Callable[[int], bool]) -> None:
    """Probe until `is_over`, which takes the number of fan-outs reported, and all is answered."""
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


def _percentile_99_ms(waits_s: Sequence[float]) -> float:
    return 1000 * statistics.quantiles(waits_s, n=100, method="inclusive")[-1]


CASE = Case("fairness", "what others wait for while 100,000 copies go out", 5, _run)
