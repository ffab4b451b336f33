# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Many subscriptions: in many topics, and in one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import servers, workload
from benchmarks.figures import Case, Measured, Plan, Row, ratio_at_least
from benchmarks.loading import Topics, load
from benchmarks.packets import (
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    Connection,
    packet,
    run_jobs,
    submit_in_blocks,
)
from benchmarks.stopwatch import Stopwatch

_SIZES = (10_000, 100_000, 1_000_000)
_QUICK_SIZES = (500, 5_000, 50_000)
_SUBSCRIBERS_A_TOPIC = 10
_FEW_NAMES = 1_000
_IN_FLIGHT = 200
_BLOCK = 500
# For one fan-out to 1,000,000.
_ANSWER_LIMIT_S = 1_000.0


class _Passes(NamedTuple):
    """Copies a second: all topics for the first time, and once more."""

    first: Measured
    next: Measured


class _ByDaemon(NamedTuple):
    rates: _Passes
    daemon_mib: float
    redis_mib: float


def _run(plan: Plan) -> list[Row]:
    rows: list[Row] = []
    for size in _QUICK_SIZES if plan.quick else _SIZES:
        rows += _rows(plan, size, "many topics", _many_topics(size))
        rows += _rows(plan, size, "one topic", [("topic", workload.client_ids(size))])
        rows.append(_table_of_functions(plan, size))
    return rows


def _many_topics(size: int) -> Topics:
    client_ids = workload.client_ids(_SUBSCRIBERS_A_TOPIC)
    return [(f"topic{number}", client_ids) for number in range(size // _SUBSCRIBERS_A_TOPIC)]


def _rows(plan: Plan, size: int, series: str, topics: Topics) -> list[Row]:
    by_daemon, by_bare_socket = [], []
    with servers.redis() as store:
        load(store.port, topics)
        for _ in range(plan.repetitions):
            by_daemon.append(_by_daemon(store, topics))
            by_bare_socket.append(_by_bare_socket(topics))
    what = f"{size:,} in {series if len(topics) == 1 else f'{len(topics):,} topics'}"
    rows = [
        Row(
            f"{what}, {kind}",
            "copies/s",
            [getattr(each.rates, kind) for each in by_daemon],
            [getattr(each, kind) for each in by_bare_socket],
            ratio_at_least(0.5) if size == 1_000_000 else None,
            at=size,
            series=f"{series}, {kind}",
        )
        for kind in _Passes._fields
    ]
    for name, memory in (
        ("daemon", [each.daemon_mib for each in by_daemon]),
        ("Redis", [each.redis_mib for each in by_daemon]),
    ):
        rows.append(Row(f"{what}, memory", "MiB", memory, name=name, at=size, series=series))
    return rows


def _by_daemon(store: servers.Server, topics: Topics) -> _ByDaemon:
    jobs = [workload.fanout_job(SUBMIT_JOB, background=True, topic=topic) for topic, _ in topics]
    copies = sum(len(client_ids) for _, client_ids in topics)
    with (
        servers.gearmand() as port,
        servers.daemon_beside([port], store.port) as daemon,
        Connection(port, _ANSWER_LIMIT_S) as publisher,
    ):

        def pass_over() -> Measured:
            with Stopwatch() as watch:
                run_jobs(publisher, jobs, in_flight=_IN_FLIGHT)
            return watch.rate(copies)

        rates = _Passes(pass_over(), pass_over())
        return _ByDaemon(rates, daemon.resident_kib() / 1024, store.process.resident_kib() / 1024)


def _by_bare_socket(topics: Topics) -> _Passes:
    """Send the same copies ready-made, in blocks of 500, each answered before the next."""
    with servers.gearmand() as port, Connection(port) as client:

        def pass_over() -> Measured:
            copies = [
                copy
                for topic, client_ids in topics
                for copy in workload.background_copies(workload.queues_of(client_ids, topic))
            ]
            return _submit(client, copies)

        return _Passes(pass_over(), pass_over())


def _table_of_functions(plan: Plan, size: int) -> Row:
    """Measure the cost for gearmand of the number of names alone, whoever submits.

    The copies have no uniques, which stand in another table.
    """
    many: list[Measured] = []
    few: list[Measured] = []
    names = workload.queues(size)
    for _ in range(plan.repetitions):
        for queues, figures in ((names, many), (names[:_FEW_NAMES], few)):
            with servers.gearmand() as port, Connection(port) as client:
                copies = [
                    packet(SUBMIT_JOB_BG, queue, b"", workload.PAYLOAD)
                    for queue in itertools.islice(itertools.cycle(queues), size)
                ]
                figures.append(_submit(client, copies))
    return Row(
        f"{size:,} jobs to as many names, no uniques",
        "copies/s",
        many,
        few,
        name="bare sockets",
        reference_name=f"to {_FEW_NAMES:,} names",
        at=size,
        series="no uniques",
    )


def _submit(client: Connection, copies: Sequence[bytes]) -> Measured:
    with Stopwatch() as watch:
        submit_in_blocks(client, copies, _BLOCK)
    return watch.rate(len(copies))


CASE = Case(
    "scale",
    "1,000,000 subscriptions in 100,000 topics, and in one",
    1,
    _run,
    "subscriptions",
    is_drawn=lambda row: row.unit == "copies/s",
)
