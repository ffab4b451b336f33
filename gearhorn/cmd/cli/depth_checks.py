# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The checks of ``gearhorn doctor`` on how deep queues are, and the deepest ones in a line."""

import shlex
from collections.abc import Iterator, Sequence

from gearhorn.cmd.cli import findings
from gearhorn.cmd.cli.facts import Facts, function_names, jobs_waiting
from gearhorn.cmd.cli.findings import Finding
from gearhorn.cmd.cli.output import listed, plural
from gearhorn.cmd.cli.queue_checks import UNREAD_ADVICE
from gearhorn.cmd.cli.session import total
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.messages import StatusRow
from gearhorn.service import advice
from gearhorn.wire.address import Address

_MOST_SHOWN = 3
_UNTIL = f"It gets messages again {advice.FULL_UNTIL}."

Deep = tuple[str, int, int]
"""A queue, its jobs that no worker has taken, and its workers."""


def check_depths(facts: Facts) -> Iterator[Finding]:
    """Yield all findings about deep queues."""
    for function, servers in facts.refusing.items():
        names = listed(map(str, servers))
        yield Finding(
            findings.FUNCTION_FULL,
            function,
            f"{names} takes no more jobs of {function}: gearmand's maxqueue bounds it",
            "Publishers and subscribers are refused there. Lift the bound, on each: "
            f"{_lifting(function, servers[0])}",
        )
    for queue in sorted(facts.full):
        waiting = jobs_waiting(facts.second, queue)
        workers = total(facts.second, queue).workers
        yield Finding(
            findings.QUEUE_FULL,
            queue,
            f"{queue} is full, {plural(waiting, 'message')} waiting with "
            f"{plural(workers, 'worker')}: further ones are not sent to it",
            f"{advice.FULL if workers else UNREAD_ADVICE} {_UNTIL}",
        )
    found = [
        (function, jobs_waiting(facts.second, function), total(facts.second, function).workers)
        for function in function_names(facts)
    ]
    if deep := the_deepest(found, facts.status):
        yield Finding(
            findings.QUEUE_DEEP,
            deep[0][0],
            f"the deepest queues: {shown(deep)}",
            "Each job that waits takes memory of gearmand. gearhorn bounds its subscribers' "
            "queues by [limits], and no others.",
        )


def _lifting(function: str, server: Address) -> str:
    """Return the shell command that takes the bound away: gearadmin has no option for it."""
    script = (
        f"exec 3<>/dev/tcp/{server.host}/{server.port}; "
        f"echo maxqueue {shlex.quote(function)} 0 >&3; head -n 1 <&3"
    )
    return f"bash -c {shlex.quote(script)}"


def the_deepest(queues: Sequence[Deep], status: StatusRow | None) -> list[Deep]:
    """Return those that are worth a warning, the deepest first, a few at the most."""
    limits = None if status is None else status.limits
    least = int((limits or {}).get("warn_waiting", 0)) or LimitSettings.warn_waiting
    deep = [queue for queue in queues if queue[1] >= least]
    return sorted(deep, key=lambda queue: -queue[1])[:_MOST_SHOWN]


def shown(queues: Sequence[Deep]) -> str:
    """Return queues in a line."""
    return listed(
        f"{queue} ({plural(waiting, 'job')}, {plural(workers, 'worker')})"
        for queue, waiting, workers in queues
    )
