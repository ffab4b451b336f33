# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How memory grows with subscribers, topics and copies, and what a registration costs by daemons.

Memory is what each program takes beyond that of the smallest size, as the kernel has it.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks import servers, workload
from benchmarks.cases import registrations
from benchmarks.figures import Case, Plan, Row
from benchmarks.loading import Topics, load
from benchmarks.packets import (
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    Connection,
    packet,
    queued_jobs,
    run_jobs,
    submit_in_blocks,
)
from benchmarks.processes import Process

_SIZES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
_QUICK_SIZES = (1, 1_000)
_DAEMONS = (1, 2, 4, 8)
_GEARMANDS = 8
"""So many that their tables of names are not what is measured: see ``spread``."""
_IN_FLIGHT = 200
_AT_ONCE = 100
_BLOCK = 500
_ANSWER_LIMIT_S = 600.0

_Memory = Mapping[str, float]
"""The MiB of each program."""


def _run(plan: Plan) -> list[Row]:
    rows: list[Row] = []
    measures: Sequence[tuple[str, Callable[[int], _Memory]]] = (
        ("subscribers of one topic", _subscribers),
        ("the same, waited for", functools.partial(_subscribers, background=False)),
        ("topics of one subscriber", _topics),
        ("copies in one queue", _copies),
    )
    for what, measure in measures:
        smallest: _Memory = {}
        for size in _QUICK_SIZES if plan.quick else _SIZES:
            memory = measure(size)
            smallest = smallest or memory
            for name, mib in memory.items():
                grown = mib - smallest[name]
                rows.append(
                    Row(f"{size:,} {what}", "MiB", [grown], name=name, at=size, series=what)
                )
    for daemons in _DAEMONS:
        rate = registrations.measure(plan.choose(2_000, 100), daemons, _AT_ONCE)
        what = f"{daemons} daemon{'s' if daemons > 1 else ''}"
        rows.append(Row(what, "registr./s", [rate], at=daemons))
    return rows


def _subscribers(size: int, *, background: bool = True) -> _Memory:
    """Return the memory with one message for each of them in its queue."""
    job = workload.fanout_job(SUBMIT_JOB, background=background)
    topics = [(workload.TOPIC, workload.client_ids(size))]
    with _system(topics) as (ports, programs), Connection(ports[0], _ANSWER_LIMIT_S) as publisher:
        if background:
            run_jobs(publisher, [job])
        else:
            publisher.send(job)
            while sum(queued_jobs(port, workload.TOPIC.encode()) for port in ports) < size:
                time.sleep(0.2)
        return _resident_mib(programs)


def _topics(size: int) -> _Memory:
    """Return the memory after a message to each topic, in the queue of its subscriber."""
    topics = [(f"topic{number}", ["client"]) for number in range(size)]
    jobs = [workload.fanout_job(SUBMIT_JOB, background=True, topic=topic) for topic, _ in topics]
    with _system(topics) as (ports, programs), Connection(ports[0], _ANSWER_LIMIT_S) as publisher:
        run_jobs(publisher, jobs, in_flight=_IN_FLIGHT)
        return _resident_mib(programs)


def _copies(size: int) -> _Memory:
    """Return the memory with so many copies of 100 bytes in one queue, without uniques."""
    (queue,) = workload.queues(1)
    copy = packet(SUBMIT_JOB_BG, queue, b"", workload.PAYLOAD)
    with servers.job_server() as server, Connection(server.port) as client:
        submit_in_blocks(client, [copy] * size, _BLOCK)
        return _resident_mib([server.process])


@contextlib.contextmanager
def _system(topics: Topics) -> Iterator[tuple[Sequence[int], Sequence[Process]]]:
    """Run a daemon that has these topics; yield the ports of its job servers, and all programs."""
    with contextlib.ExitStack() as stack:
        job_servers = [stack.enter_context(servers.job_server()) for _ in range(_GEARMANDS)]
        store = stack.enter_context(servers.redis())
        load(store.port, topics)
        ports = [server.port for server in job_servers]
        daemon = stack.enter_context(servers.daemon_beside(ports, store.port))
        yield ports, [daemon, store.process, *(server.process for server in job_servers)]


def _resident_mib(programs: Sequence[Process]) -> _Memory:
    resident: dict[str, float] = {}
    for process in programs:
        resident[process.name] = resident.get(process.name, 0) + process.resident_kib() / 1024
    return resident


CASE = Case(
    "growth",
    "memory from 1 to 1,000,000, and registrations by daemons",
    1,
    _run,
    "number",
    is_drawn=lambda row: row.unit == "MiB" and (row.at or 0) >= 1_000,
)
