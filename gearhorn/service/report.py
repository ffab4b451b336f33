# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A report of the live process for its log, at SIGUSR1: what it holds, and what it waits for.

For whoever asks why nothing moves, as on a machine where nobody may attach a debugger. It
is bounded: so many lines of each kind, the rest counted. Nothing in it is a message.
"""

import asyncio
import logging
import resource
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any

from gearhorn import clock
from gearhorn.daemon.daemon import Daemon
from gearhorn.messages import printable
from gearhorn.service.health import readiness
from gearhorn.version import installed_version

LOG = logging.getLogger(__name__)

MOST = 20
"""The lines of each kind."""
MOST_STACKS = 100
_MOST_FRAMES = 12
_MOST_CHARACTERS = 500


def write(daemon: Daemon) -> None:
    """Write the report, a line of the log for each of its lines."""
    for line in lines(daemon):
        LOG.info("report: %s", printable(line)[:_MOST_CHARACTERS])


def lines(daemon: Daemon) -> Iterator[str]:
    """Yield the lines of the report."""
    yield from _process(daemon)
    yield from _fanouts(daemon)
    yield from _job_servers(daemon)
    yield from _leases(daemon)
    yield from _tasks()
    yield "end"


def _process(daemon: Daemon) -> Iterator[str]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield (
        f"daemon {daemon.worker_id}, gearhorn {installed_version()}, up {daemon.uptime:.0f} s, "
        f"{usage.ru_utime + usage.ru_stime:.1f} s of processor time, at most "
        f"{usage.ru_maxrss // 1024} MiB, {threading.active_count()} threads"
    )
    for check in readiness(daemon):
        yield f"{check.name}: {'ok' if check.ok else 'not ok'}, {check.text}"


def _fanouts(daemon: Daemon) -> Iterator[str]:
    survey = daemon.survey
    workers = survey.workers
    yield (
        f"in hand: {workers.fanouts.held} fan-outs, of which {workers.fanouts.aside} are outside "
        f"the window, and {workers.fanouts.held_bytes} bytes; {workers.requests.held} "
        f"registrations, {workers.queries.held} queries, {workers.reads.held} reads, "
        f"{workers.notices.held} notices; the oldest fan-out came {survey.oldest_s():.1f} s ago"
    )
    if survey.journals.patterns is not None:
        yield (
            f"journals: {survey.journals.waiting} messages wait for their numbers, "
            f"{survey.journals.readers} readers for messages; {survey.journals.replays_running} "
            "replays run or wait"
        )
    yield f"open in the foreground: {survey.fanouts.open}, copies {survey.fanouts.copies_open}"
    for what, count in survey.fanouts.waiting().items():
        yield f"fan-outs that wait for a {what.replace('_', ' ')}: {count}"
    lanes = (
        (count, f"lane of {topic!r}: {count} fan-outs wait for {what}")
        for topic, count, what in survey.fanouts.lanes()
    )
    yield from _most("lanes", lanes)


def _job_servers(daemon: Daemon) -> Iterator[str]:
    survey = daemon.survey
    for server in survey.settings.servers:
        roles = [role for role, pool in survey.pools().items() if server in pool.connections]
        size, unsent, unanswered = survey.submitter.load(server)
        yield (
            f"job server {server}: connected for {', '.join(roles) or 'nothing'}; outbox: "
            f"{unsent} copies unsent, {unanswered} unanswered, blocks of {size}"
        )
        batches, _ = survey.submitter.under_way(server)
        copies: Counter[str] = Counter()
        for batch in batches:
            copies[batch.lane] += len(batch.queues) - batch.created - batch.refused
        found = (
            (count, f"outbox of {server}, {topic!r}: {count} copies")
            for topic, count in copies.items()
        )
        yield from _most(f"topics in the outbox of {server}", found)


def _leases(daemon: Daemon) -> Iterator[str]:
    survey = daemon.survey
    left = survey.lists.kept_until - clock.now()
    yield (
        f"leases: {survey.lists.kept} lists of {survey.lists.subscribers} subscribers, kept if "
        f"they end within {max(0.0, left):.1f} s; {survey.matchmaking.confirming} topics have a "
        f"change that is being confirmed; a change waits {survey.matchmaking.longest_list:g} s "
        f"for a daemon that is silent"
    )
    yield (
        f"store: {survey.patience.waiting} calls wait, {survey.patience.fault_seconds:.1f} s of "
        "faults so far"
    )
    found = (
        (
            entry.age or 0.0,
            f"entry of daemon {worker_id}: {survey.state_of(entry)}, renewed "
            f"{'?' if entry.age is None else f'{entry.age:.1f}'} s before the last look",
        )
        for worker_id, entry in survey.matchmaking.entries.items()
    )
    yield from _most("entries", found)


def _most(what: str, found: Iterable[tuple[float, str]]) -> Iterator[str]:
    """Yield the lines with the largest numbers, and how many there are beside them."""
    ordered = sorted(found, reverse=True)
    for _, line in ordered[:MOST]:
        yield line
    if ordered[MOST:]:
        yield f"and {len(ordered) - MOST} more {what}"


# Tasks.


def _tasks() -> Iterator[str]:
    stacks = Counter(_stack(task) for task in asyncio.all_tasks())
    yield f"tasks: {stacks.total()}, with {len(stacks)} different stacks"
    for stack, count in stacks.most_common(MOST_STACKS):
        yield f"{count} at {stack}"
    if len(stacks) > MOST_STACKS:
        yield f"and {len(stacks) - MOST_STACKS} more stacks"


def _stack(task: "asyncio.Task[Any]") -> str:
    """Return where a task waits, from its outermost coroutine inwards.

    The method of the task itself sees only the outermost one.
    """
    frames: list[str] = []
    waits: Any = task.get_coro()
    while waits is not None and len(frames) < _MOST_FRAMES:
        frame = _of(waits, "frame")
        if frame is None:
            break
        frames.append(_place(frame.f_code, frame.f_lineno))
        waits = _of(waits, "await") or _of(waits, "yieldfrom")
    return " > ".join(frames) or "its beginning"


def _of(waits: Any, what: str) -> Any:
    """Return that attribute of a coroutine, a generator or an asynchronous generator."""
    for kind in ("cr_", "gi_", "ag_"):
        found = getattr(waits, kind + what, None)
        if found is not None:
            return found
    return None


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_qualname if hasattr(code, 'co_qualname') else code.co_name}:{line}"
