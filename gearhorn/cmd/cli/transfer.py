# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The commands ``export`` and ``import``: all subscriptions as lines of JSON, and back.

A line is the request that registers its subscription. An import first reads the whole file, so
that one that is wrong changes nothing. Then it compares each topic with what is there, and
registers what is missing or differs. It never shortens a subscription, and it removes none:
a repeat, and an import beside subscribers that register by themselves, do no harm.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import IO, NamedTuple

import click

from gearhorn import errors, messages
from gearhorn.cmd.cli.exits import FAILED
from gearhorn.cmd.cli.group import format_option, pass_session
from gearhorn.cmd.cli.input import InputFile, lines_of
from gearhorn.cmd.cli.output import plural, show_json
from gearhorn.cmd.cli.session import Session
from gearhorn.messages import Register, SubscriberRow, printable

AT_ONCE = 100
"""The most registrations on their way at a time, each on a connection of its own."""

ADDED, CHANGED, RENEWED, UNCHANGED, FAILING = OUTCOMES = (
    "added",
    "changed",
    "renewed",
    "unchanged",
    "failed",
)

_decode = messages.RequestDecoder(Register)


@click.command()
@pass_session
def export(session: Session) -> None:
    """Write all subscriptions to standard output.

    gearhorn import reads them. Each line is one subscription in JSON: topic,
    client_id, the limits that it brought, and, if it ends by itself, the seconds
    that are left of it as ttl. Messages that wait in queues are not part of it:
    they are in the job servers.

    \b
    Examples:
      gearhorn export >subscriptions.jsonl
      gearhorn export | gearhorn --server other:4730 import -
    """

    async def write() -> Counter[str]:
        topics: Counter[str] = Counter()
        async for request in _all(session):
            click.echo(request.encode())
            topics[request.topic] += 1
        return topics

    topics = session.run(write())
    click.echo(
        f"{plural(topics.total(), 'subscription')} of {plural(len(topics), 'topic')}.", err=True
    )


async def _all(session: Session) -> AsyncIterator[Register]:
    status = await session.status()
    for topic in await session.topics():
        # The daemons' own topic has the daemons; those of another store make their own entries.
        if topic.topic == status.matchmaking_topic:
            continue
        for row in await session.subscribers(topic.topic):
            if row.expires_in is None or row.expires_in > 0:
                yield _request(topic.topic, row)


def _request(topic: str, row: SubscriberRow) -> Register:
    """Return the request that makes a subscription anew."""
    return Register(
        topic=topic,
        client_id=row.client_id,
        ttl=row.expires_in,
        max_waiting=row.max_waiting,
        overflow=row.overflow,
        remove_idle=row.remove_idle,
    )


class Change(NamedTuple):
    """What becomes of a line of the file: a request, unless all is there, and its outcome."""

    line: int
    request: Register | None
    outcome: str


@click.command("import")
@click.argument("file", type=InputFile())
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@format_option
@pass_session
def import_(session: Session, file: IO[bytes], dry_run: bool) -> None:
    """Register the subscriptions in FILE.

    gearhorn export writes it. "-" as FILE is standard input. If a line is wrong,
    it is named and nothing is done. What is there as the file says is left
    alone, and nothing is removed or made shorter, so that a repeat does no harm.
    Lines that the daemons refuse are named on standard error; the others are
    done, and the command ends with 1. --dry-run names them too, as far as they are
    refused for names that daemons or other subscriptions have.

    \b
    Examples:
      gearhorn import subscriptions.jsonl --dry-run
      gearhorn export | gearhorn --server other:4730 import -
    """
    changes = session.run(_compare(session, _read(file)))
    refused = session.run((_foresee if dry_run else _register)(session, changes))
    counts = Counter(FAILING if change.line in refused else change.outcome for change in changes)
    if session.as_json:
        failures = [
            {"line": line, "error": error.code, "message": str(error)}
            for line, error in refused.items()
        ]
        show_json({**{name: counts[name] for name in OUTCOMES}, "failures": failures})
    else:
        for line, error in refused.items():
            click.echo(f"line {line}: {error.code}: {printable(str(error))}", err=True)
        done = ", ".join(f"{counts[name]} {name}" for name in OUTCOMES)
        click.echo(
            f"{plural(len(changes), 'subscription')}{' would be' if dry_run else ''}: {done}."
        )
    if refused:
        click.get_current_context().exit(FAILED)


def _read(file: IO[bytes]) -> dict[tuple[str, str], tuple[int, Register]]:
    """Return the requests of a file with their lines; of two for one subscription the last.

    :raises Failure: it cannot be read.
    :raises RequestError: a line is wrong, which is named.
    """
    found = {}
    for number, line in enumerate(lines_of(file), 1):
        if line.isspace():
            continue
        try:
            request = _decode(line)
        except errors.RequestError as error:
            raise type(error)(f"line {number}: {error}") from None
        found[request.topic, request.client_id] = number, request
    return found


async def _compare(
    session: Session, wanted: dict[tuple[str, str], tuple[int, Register]]
) -> list[Change]:
    """Return what is to be done for each line, in the order of the lines."""
    there: dict[tuple[str, str], SubscriberRow] = {}
    for topic in sorted({topic for topic, _ in wanted}):
        for row in await session.subscribers(topic):
            if (topic, row.client_id) in wanted:
                there[topic, row.client_id] = row
    return [
        Change(number, *_difference(request, there.get(key)))
        for key, (number, request) in wanted.items()
    ]


def _difference(wanted: Register, there: SubscriberRow | None) -> tuple[Register | None, str]:
    """Return the request for a subscription, or none, and what it does to what is there."""
    if there is None or (there.expires_in is not None and there.expires_in <= 0):
        return wanted, ADDED
    held = _request(wanted.topic, there)
    ttl = None
    if wanted.ttl is not None and held.ttl is not None:
        ttl = max(wanted.ttl, held.ttl)
    request = Register.of(wanted.topic, wanted.client_id, ttl, wanted.limits())
    ends_no_more = ttl is None and held.ttl is not None
    if ends_no_more or wanted.limits() != held.limits():
        return request, CHANGED
    return (None, UNCHANGED) if ttl == held.ttl else (request, RENEWED)


async def _foresee(session: Session, changes: Iterable[Change]) -> dict[int, errors.RequestError]:
    """Return the errors of those whose names the daemons would refuse, by the line."""
    wanted = [(change.line, change.request) for change in changes if change.request is not None]
    status = await session.status()
    own = set(status.functions.values())
    own_prefix = messages.queue_name(status.matchmaking_topic, "").lower()
    queues = {messages.queue_name(request.topic, request.client_id) for _, request in wanted}
    holders = await _holders(session, queues)
    refused: dict[int, errors.RequestError] = {}
    for line, request in wanted:
        queue = messages.queue_name(request.topic, request.client_id)
        own_key = request.topic, request.client_id
        if request.topic == status.matchmaking_topic:
            refused[line] = errors.ReservedTopic(f"{request.topic} is the daemons' own topic")
        elif queue in own or queue.lower().startswith(own_prefix):
            refused[line] = errors.ReservedQueue(f"the queue {queue} is a function of the daemon")
        elif (holder := holders.setdefault(queue, own_key)) != own_key:
            refused[line] = errors.QueueTaken(
                f"the queue {queue} belongs to client_id {holder[1]!r} of topic {holder[0]!r}"
            )
    return refused


async def _holders(session: Session, queues: set[str]) -> dict[str, tuple[str, str]]:
    """Return the topic and client_id that hold each of the queues, if any do."""
    topics = {row.topic for row in await session.topics()}
    topics &= {topic for queue in queues for topic in messages.topics_of(queue)}
    holders = {}
    for topic in sorted(topics):
        for row in await session.subscribers(topic):
            if row.queue in queues and (row.expires_in is None or row.expires_in > 0):
                holders[row.queue] = topic, row.client_id
    return holders


async def _register(session: Session, changes: Iterable[Change]) -> dict[int, errors.RequestError]:
    """Send the requests; return the errors of those that are refused, by the line.

    :raises GearhornError: it is of no use to go on, as without a daemon.
    """
    refused: dict[int, errors.RequestError] = {}
    todo = iter([change for change in changes if change.request is not None])

    async def work() -> None:
        # All take from one iterator, until it is exhausted.
        for change in todo:
            assert change.request is not None
            try:
                await session.ask("register", change.request)
            except errors.RequestError as error:
                refused[change.line] = error

    workers = [asyncio.ensure_future(work()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return dict(sorted(refused.items()))


COMMANDS = (export, import_)
