# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A journal beside other logs that keep messages equally well."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks import logs
from benchmarks.figures import Case, Measured, Plan, Row
from benchmarks.logs import Log
from benchmarks.processes import ServerError, resident_kib
from benchmarks.stopwatch import Stopwatch
from benchmarks.workload import PAYLOAD

_MESSAGES = 100_000
_LIMIT_S = 120
_PLACES = {"in memory": False, "on disk, synced later": True}


class _Kept(NamedTuple):
    """What it took to keep messages, and to read them again."""

    published: Measured
    read: Measured
    bytes: float


def _run(plan: Plan) -> list[Row]:
    return [row for place, on_disk in _PLACES.items() for row in _rows(plan, place, on_disk)]


def _rows(plan: Plan, place: str, on_disk: bool) -> Iterator[Row]:
    messages = plan.choose(_MESSAGES, 10_000)
    others = [log for log in logs.PEERS if _is_chosen(plan, log) and log.missing() is None]
    turns = [
        [_keep(log, messages, on_disk) for log in (logs.JOURNAL, *others)]
        for _ in range(plan.repetitions)
    ]
    own, *references = zip(*turns, strict=True)
    for what, unit, figure in (
        (f"published, acknowledged, {place}", "messages/s", "published"),
        (f"{messages:,} caught up, {place}", "messages/s", "read"),
        (f"memory for a message, {place}", "bytes", "bytes"),
    ):
        of = functools.partial(_figures, figure)
        for log, kept in zip(others, references, strict=True):
            yield Row(what, unit, of(own), of(kept), reference_name=log.name)
        if not others:
            yield Row(what, unit, of(own))


def _figures(name: str, kept: Sequence[_Kept]) -> list[float]:
    return [getattr(each, name) for each in kept]


def _is_chosen(plan: Plan, log: Log) -> bool:
    return plan.contenders is None or log.contender.name in plan.contenders


def _keep(log: Log, messages: int, on_disk: bool) -> _Kept:
    """Publish so many messages, and then read them with a reader that knows none."""
    with log.serving(on_disk=on_disk) as address:
        until = time.monotonic() + _LIMIT_S
        with log.publishing(address) as publish:
            publish(PAYLOAD, 1, until)
            before_kib = resident_kib(log.keeper)
            with Stopwatch() as publishing:
                published = publish(PAYLOAD, messages, until)
        if published < messages:
            raise ServerError(f"{log.name} took {published:,} messages in {_LIMIT_S} s")
        kept_bytes = 1024 * (resident_kib(log.keeper) - before_kib) / messages
        with Stopwatch() as reading:
            log.read(address, messages)
        return _Kept(publishing.rate(messages), reading.rate(messages), kept_bytes)


CASE = Case("catching-up", "a journal beside a Redis stream and JetStream", 3, _run)
