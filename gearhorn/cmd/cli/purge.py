# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The command ``purge``."""

import asyncio
import re
from collections.abc import Mapping, Sequence

import click

from gearhorn import errors, messages
from gearhorn.cmd.cli.exits import FAILED
from gearhorn.cmd.cli.group import format_option, pass_session
from gearhorn.cmd.cli.output import plural, show_json
from gearhorn.cmd.cli.session import Session, total
from gearhorn.messages import printable
from gearhorn.wire import admin
from gearhorn.wire.address import Address
from gearhorn.wire.status import QueueState

LOOK_EVERY = 1000
"""The most queues that are removed after one look at which are in use."""

LOOK_EVERY_S = 1.0
"""The seconds after which is looked again: among 100,000 names it takes as long for 30."""

PURGE_S = 3600.0
"""Seconds that emptying a queue may take: a deep one on disk needs minutes."""


@click.command()
@click.argument("topic", required=False)
@click.argument("client_id", required=False)
@click.option(
    "--ended",
    is_flag=True,
    help="Remove the names of the queues whose subscriptions have ended, where they are empty.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@format_option
@pass_session
def purge(
    session: Session, topic: str | None, client_id: str | None, ended: bool, yes: bool
) -> None:
    """Discard the messages in the queue of CLIENT_ID for TOPIC.

    Use it on a queue that nobody will read any more. Messages that a worker
    holds are not touched. A publisher that still waits for one of the messages
    is told that its receiver failed. Unregister first, or the queue fills again.

    A job server lists a queue for ever, also an empty one. With --ended, and
    without TOPIC and CLIENT_ID, those of subscriptions that have ended are
    removed from the list, if they have neither messages nor workers. If a
    subscriber of the same name comes in that very moment, messages that were
    just sent to it are lost.

    \b
    Examples:
      gearhorn unregister officememos alice && gearhorn purge officememos alice
      gearhorn purge --ended --yes
    """
    if ended:
        if topic is not None:
            raise click.UsageError("--ended goes without TOPIC and CLIENT_ID")
        _purge_ended(session, yes)
        return
    if topic is None or client_id is None:
        raise click.UsageError("give TOPIC and CLIENT_ID, or --ended")
    messages.check_subscription(topic, client_id)
    queue = messages.queue_name(topic, client_id)
    if not yes:
        click.confirm(_question(session, topic, client_id, queue), abort=True, err=True)
    discarded, faults = session.run(_purge(session, queue))
    if session.as_json:
        show_json({"queue": queue, "discarded": discarded})
    else:
        click.echo(f"{plural(discarded, 'message')} discarded from {printable(queue)}.")
    _warn("what waits there is not discarded", faults)


def _warn(what: str, faults: Sequence[errors.ServerLost]) -> None:
    for fault in faults:
        click.echo(f"Warning: {what}: {fault}", err=True)
    if faults:
        click.get_current_context().exit(FAILED)


def _question(session: Session, topic: str, client_id: str, queue: str) -> str:
    """Return the question to confirm: what would be lost, and reasons against it."""
    found, faults = session.run(session.queues())
    if not found:
        raise errors.ServerLost("; ".join(map(str, faults.values())))
    state = total(found, queue)
    hints = []
    if state.workers:
        hints.append(f"{plural(state.workers, 'worker')} at the moment")
    try:
        if client_id in {row.client_id for row in session.run(session.subscribers(topic))}:
            hints.append(f"{client_id} is still registered")
    except (errors.WireError, errors.StoreError):
        hints.append(f"whether {client_id} is still registered is not known")
    text = f"Discard {plural(state.total - state.running, 'message')} from {queue}"
    return printable(f"{text} ({'; '.join(hints)})?" if hints else f"{text}?")


async def _purge(session: Session, queue: str) -> tuple[int, list[errors.ServerLost]]:
    """Empty the queue on all servers; return the number of messages, and the failures."""

    async def empty(server: Address) -> int:
        discarded = await admin.discard_queued(server, session.wire, queue, PURGE_S)
        # Dropped, as the name would stay listed for ever. gearmand compares names
        # without case here, and destroys the jobs that it finds.
        alike = [
            state
            for name, state in (await admin.queues(server, session.wire)).items()
            if name.lower() == queue.lower()
        ]
        if len(alike) == 1 and not alike[0].total:
            await admin.drop_function(server, session.wire, queue)
        return discarded

    answers = await asyncio.gather(*map(empty, session.servers), return_exceptions=True)
    return _sum(answers)


def _sum(answers: Sequence[int | BaseException]) -> tuple[int, list[errors.ServerLost]]:
    """Return the sum over the servers that answered, and the failures of the others."""
    faults = [answer for answer in answers if isinstance(answer, errors.ServerLost)]
    if len(faults) == len(answers):
        raise errors.ServerLost("; ".join(map(str, faults)))
    for answer in answers:
        if isinstance(answer, BaseException) and answer not in faults:
            raise answer
    return sum(answer for answer in answers if isinstance(answer, int)), faults


def _purge_ended(session: Session, yes: bool) -> None:
    ended = [row.queue for row in session.run(session.ended())]
    if ended and not yes:
        of_queues = f"the empty ones of {plural(len(ended), 'queue')}"
        click.confirm(f"Remove {of_queues} whose subscriptions have ended?", abort=True, err=True)
    dropped, faults = session.run(_drop_ended(session, ended))
    if session.as_json:
        show_json({"ended": len(ended), "removed": dropped})
    else:
        click.echo(f"{plural(dropped, 'empty queue')} removed.")
    _warn("the queues there are not removed", faults)


async def _drop_ended(
    session: Session, ended: Sequence[str]
) -> tuple[int, list[errors.ServerLost]]:
    """Drop those queues that nothing uses; return their number, and the failures."""

    async def drop(server: Address) -> int:
        dropped = 0
        left = list(ended)
        while left:
            some, left = left[:LOOK_EVERY], left[LOOK_EVERY:]
            unused = _unused(some, await admin.queues(server, session.wire))
            gone, tried = await admin.drop_functions(server, session.wire, unused, LOOK_EVERY_S)
            dropped += gone
            left = unused[tried:] + left
        return dropped

    answers = await asyncio.gather(*map(drop, session.servers), return_exceptions=True)
    return _sum(answers)


def _unused(queues: Sequence[str], states: Mapping[str, QueueState]) -> list[str]:
    """Return those queues that are listed, and that have neither jobs nor workers.

    gearmand compares names without case, and drops all that are alike. So nothing that is
    alike may be in use, and one name stands for all of them.
    """
    used = {name.lower() for name, state in states.items() if state.total or state.workers}
    unused = {
        queue.lower(): queue
        for queue in queues
        # White space ends a name in the command.
        if queue in states and queue.lower() not in used and not re.search(r"\s", queue)
    }
    return list(unused.values())


COMMANDS = (purge,)
