# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What one reader of a journal gets, and what many cost that wait."""

from __future__ import annotations

import collections
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from benchmarks import workload
from benchmarks.figures import (
    Measured,
    Plan,
    Row,
    figure_at_least,
    figure_at_most,
    take_turns,
)
from benchmarks.journaled import READ_LIMIT, Readers, fill, read_job, system
from benchmarks.packets import WORK_COMPLETE, Connection
from benchmarks.stopwatch import Stopwatch

_READERS = 1_000
_PROGRAMS = ("gearmand", "daemon", "redis-server")


def rows(plan: Plan) -> Iterator[Row]:
    """Measure both."""
    yield from _reading(plan)
    yield from _waiting(plan)


def _reading(plan: Plan) -> Iterator[Row]:
    messages = plan.choose(100_000, 10_000)
    ways: dict[str, Callable[[int, int], None]] = {
        "one request at a time": functools.partial(_read, in_flight=1),
        "8 requests at a time": functools.partial(_read, in_flight=8),
        "Reader": _read_by_library,
    }
    figures = take_turns(
        plan.repetitions,
        [functools.partial(_messages_a_second, messages, read) for read in ways.values()],
    )
    for way, rates in zip(ways, figures, strict=True):
        yield Row(f"read by one, {way}", "messages/s", rates, target=figure_at_least(50_000))


def _messages_a_second(messages: int, read: Callable[[int, int], None]) -> Measured:
    with system() as port:
        with Connection(port) as publisher:
            fill(publisher, messages)
        with Stopwatch() as watch:
            read(port, messages)
    return watch.rate(messages)


def _read(port: int, messages: int, in_flight: int) -> None:
    """Read all in pages, and decode each."""
    waiting = collections.deque(
        read_job(workload.TOPIC, after) for after in range(0, messages, READ_LIMIT)
    )
    running = found = 0
    with Connection(port) as reader:
        while found < messages:
            while waiting and running < in_flight:
                reader.send(waiting.popleft())
                running += 1
            for kind, body in reader.receive():
                if kind == WORK_COMPLETE:
                    running -= 1
                    found += len(json.loads(body.partition(b"\0")[2])["messages"])


def _read_by_library(port: int, messages: int) -> None:
    from gearhorn import Reader

    with Reader(f"127.0.0.1:{port}", workload.TOPIC) as reader:
        found = sum(1 for _ in reader)
    assert found == messages, f"{found} messages were read, not {messages}"


def _waiting(plan: Plan) -> Iterator[Row]:
    ways: dict[str, tuple[Sequence[str], int]] = {
        "one topic": (["topic"], _READERS),
        f"{_READERS:,} topics": ([f"topic{number}" for number in range(_READERS)], 1),
    }
    turns = [
        {way: _wait(plan, *readers) for way, readers in ways.items()}
        for _ in range(plan.repetitions)
    ]
    for way in ways:
        what = f"{_READERS:,} readers of {way}"
        idle, alone, all_ms, one_ms = zip(*[turn[way] for turn in turns], strict=True)
        yield Row(
            f"{what} that wait for nothing",
            "% of a processor",
            idle,
            alone,
            figure_at_most(1),
            reference_name="without them",
        )
        yield Row(f"{what}: until all have an answer", "ms", all_ms, target=figure_at_most(50))
        yield Row(f"{what}: until those of one topic have", "ms", one_ms)


def _wait(plan: Plan, topics: Sequence[str], each: int) -> tuple[float, float, float, float]:
    """Return the shares of a processor that are used while nothing comes, and two median waits.

    The shares are with the readers and without; the waits are for messages that are appended
    to all topics at once, and to one of them.
    """
    idle_s = plan.choose(5, 2)
    with system() as port:
        alone = _busy(idle_s)
        with Readers(port, topics, each) as readers:
            # Makes the journals.
            readers.answers_s(topics)
            idle = _busy(idle_s)
            all_ms = [
                1000 * statistics.median(readers.answers_s(topics))
                for _ in range(plan.choose(5, 3))
            ]
            one_ms = [
                1000 * statistics.median(readers.answers_s([topics[-1]]))
                for _ in range(plan.choose(20, 5))
            ]
    return idle, alone, statistics.median(all_ms), statistics.median(one_ms)


def _busy(seconds: int) -> float:
    """Return which share of a processor the programs use meanwhile, in percent."""
    time.sleep(1)
    with Stopwatch() as watch:
        time.sleep(seconds)
    return 100 * watch.spent(1).processors(*_PROGRAMS)
