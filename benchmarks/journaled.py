# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A daemon whose topics have journals, what is in them, and readers that wait."""

from __future__ import annotations

import contextlib
import json
import selectors
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import servers, workload
from benchmarks.packets import (
    SUBMIT_JOB,
    WORK_COMPLETE,
    WORK_FAIL,
    Connection,
    GearmanError,
    packet,
    run_jobs,
    running_jobs,
)

ALL_TOPICS = {"topics": "*", "max_messages": 1_000_000, "max_topics": 10_000}
"""Options of [journal]: a journal for every topic, in which nothing is trimmed here."""

READ_LIMIT = 1_000
"""The most messages of an answer."""

_READ = b"fanout_read"
_CONNECTIONS = 10
_WAIT_S = 300


@contextlib.contextmanager
def system() -> Iterator[int]:
    """Run a gearmand, and a daemon with journals in a Redis of its own; yield gearmand's port."""
    with (
        servers.gearmand() as port,
        servers.redis() as store,
        servers.daemon_beside([port], store.port, journal=ALL_TOPICS),
    ):
        yield port


def fill(connection: Connection, messages: int) -> None:
    """Append so many messages to the journal of the topic, to which nobody has subscribed."""
    job = workload.fanout_job(SUBMIT_JOB, background=True, messages=READ_LIMIT)
    run_jobs(connection, [job] * (messages // READ_LIMIT), in_flight=10)


def read_job(topic: str, after: int, wait_s: int = 0) -> bytes:
    """Return a packet that asks for the messages after a sequence."""
    request: dict[str, Any] = {"topic": topic, "after": after, "limit": READ_LIMIT}
    if wait_s:
        request["wait"] = wait_s
    return packet(SUBMIT_JOB, _READ, b"", json.dumps(request).encode())


class Readers:
    """Readers that wait, so many for each topic, with the jobs of many on a connection.

    Thousands of sockets are another thing to measure.
    """

    def __init__(self, port: int, topics: Sequence[str], each: int = 1) -> None:
        self._port = port
        self._after = dict.fromkeys(topics, 0)
        self._each = each
        self._stack = contextlib.ExitStack()
        self._publisher = self._connect(port)
        self._connections = [self._connect(port) for _ in range(_CONNECTIONS)]
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        for connection in self._connections:
            self._selector.register(connection, selectors.EVENT_READ, connection)

    def __enter__(self) -> Readers:
        self._wait(self._after)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def answers_s(self, topics: Sequence[str]) -> list[float]:
        """Append a message to each of these topics at once, and have their readers wait again.

        Return how long each reader waited for it.
        """
        start = time.perf_counter()
        self._publisher.send(
            b"".join(
                workload.fanout_job(SUBMIT_JOB, background=True, topic=topic) for topic in topics
            )
        )
        waits_s: list[float] = []
        while len(waits_s) < len(topics) * self._each:
            for key, _ in self._selector.select():
                ended = _ended(key.data)
                waits_s += [time.perf_counter() - start] * len(ended)
        _finish(self._publisher, len(topics))
        for topic in topics:
            self._after[topic] += 1
        self._wait(topics)
        return waits_s

    def _connect(self, port: int) -> Connection:
        return self._stack.enter_context(Connection(port))

    def _wait(self, topics: Sequence[str] | dict[str, int]) -> None:
        """Have all readers of these topics wait, and return once the daemon knows of them."""
        jobs = [read_job(topic, self._after[topic], _WAIT_S) for topic in topics] * self._each
        for number, connection in enumerate(self._connections):
            connection.send(b"".join(jobs[number::_CONNECTIONS]))
        while running_jobs(self._port, _READ) < len(self._after) * self._each:
            time.sleep(0.01)
        # The daemon takes what it was given in a turn of its loop, and asks its store to watch.
        time.sleep(0.2)


def _finish(connection: Connection, jobs: int) -> list[bytes]:
    """Return the results of so many jobs that are under way."""
    results: list[bytes] = []
    while len(results) < jobs:
        results += _ended(connection)
    return results


def _ended(connection: Connection) -> list[bytes]:
    """Read once, and return the results of the jobs that have ended."""
    results = []
    for kind, body in connection.receive():
        if kind == WORK_FAIL:
            raise GearmanError("a request failed")
        if kind == WORK_COMPLETE:
            results.append(body.partition(b"\0")[2])
    return results
