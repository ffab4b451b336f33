# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The command ``purge``."""

import asyncio

import click

from gearhorn import errors, messages
from gearhorn.cmd.cli.exits import FAILED
from gearhorn.cmd.cli.group import format_option, pass_session
from gearhorn.cmd.cli.output import plural, printable, show_json
from gearhorn.cmd.cli.session import Session, total
from gearhorn.wire import admin
from gearhorn.wire.address import Address

PURGE_S = 3600.0
"""Seconds that emptying a queue may take: a deep one on disk needs minutes."""


@click.command()
@click.argument("topic")
@click.argument("client_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@format_option
@pass_session
def purge(session: Session, topic: str, client_id: str, yes: bool) -> None:
    """Discard the messages in the queue of CLIENT_ID for TOPIC.

    Use it on a queue that nobody will read any more. Messages that a worker
    holds are not touched. A publisher that still waits for one of the messages
    is told that its receiver failed. Unregister first, or the queue fills again.

    \b
    Example:
      gearhorn unregister officememos alice && gearhorn purge officememos alice
    """
    messages.check_subscription(topic, client_id)
    queue = messages.queue_name(topic, client_id)
    if not yes:
        click.confirm(_question(session, topic, client_id, queue), abort=True, err=True)
    discarded, faults = session.run(_purge(session, queue))
    if session.as_json:
        show_json({"queue": queue, "discarded": discarded})
    else:
        click.echo(f"{plural(discarded, 'message')} discarded from {printable(queue)}.")
    for fault in faults:
        click.echo(f"Warning: what waits there is not discarded: {fault}", err=True)
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
        hints.append(f"{plural(state.workers, 'worker')} read it at the moment")
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
    faults = [answer for answer in answers if isinstance(answer, errors.ServerLost)]
    if len(faults) == len(answers):
        raise errors.ServerLost("; ".join(map(str, faults)))
    for answer in answers:
        if isinstance(answer, BaseException) and answer not in faults:
            raise answer
    return sum(answer for answer in answers if isinstance(answer, int)), faults


COMMANDS = (purge,)
