# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The commands ``read`` and ``journals``."""

import json
import sys
from contextlib import closing
from itertools import islice

import click
import msgspec

from gearhorn import messages
from gearhorn.client.journal.entries import Entry
from gearhorn.client.journal.reader import Reader
from gearhorn.cmd import streams
from gearhorn.cmd.cli.exits import Failure
from gearhorn.cmd.cli.group import format_option, pass_session
from gearhorn.cmd.cli.output import Row, seconds, show_json, show_table
from gearhorn.cmd.cli.session import Session
from gearhorn.messages import printable


@click.command()
@click.argument("topic")
@click.option(
    "--after",
    type=click.IntRange(0, messages.MAX_SEQUENCE),
    default=0,
    metavar="N",
    help="Begin after the message with this number, its sequence in JSON. [default: 0, the first "
    "that is there]",
)
@click.option(
    "--journal",
    metavar="ID",
    help="The journal that this number belongs to: another one is read from its beginning.",
)
@click.option("--follow", is_flag=True, help="Wait for messages to come, until Ctrl-C.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many messages.")
@format_option
@pass_session
def read(
    session: Session, topic: str, after: int, journal: str | None, follow: bool, count: int | None
) -> None:
    """Print the messages that the journal of TOPIC has.

    Nothing is taken from anybody, and nobody need be subscribed. A message is
    printed as listen prints it. In JSON each line is an object with topic,
    journal, sequence, published (Unix seconds) and payload: a string, or
    {"base64": ...} if the message is not UTF-8; and, where true, trimmed, gap or
    reset: see the page about the protocol.

    \b
    Examples:
      gearhorn read officememos
      gearhorn read officememos --after 41 --follow
      gearhorn read officememos --format json | jq -r .published
    """
    if sys.stdout is None:
        raise Failure("standard output is closed, so messages cannot be printed")
    reader = reader_of(session, topic, after, journal, follow=follow)
    # Where no daemon serves it, this says so at once.
    session.run(session.find_serving(session.functions["read"]))
    with closing(reader):
        try:
            for entry in islice(reader, count):
                _print(session, entry)
        except KeyboardInterrupt:
            if not follow:
                raise


def reader_of(
    session: Session,
    topic: str,
    after: int = 0,
    journal: str | None = None,
    *,
    follow: bool = False,
) -> Reader:
    """Return a reader of a topic's journal."""
    return Reader(
        map(str, session.servers),
        topic,
        after=after,
        journal=journal,
        follow=follow,
        connect_timeout=session.wire.connect_timeout,
        timeout=session.timeout,
        tls=session.wire.tls,
        function=session.functions["read"],
    )


def _print(session: Session, entry: Entry) -> None:
    payload = entry.payload
    told = {name: True for name in ("trimmed", "gap", "reset") if getattr(entry, name)}
    if session.as_json:
        document = {
            "topic": entry.topic,
            "journal": entry.journal,
            "sequence": entry.sequence,
            "published": entry.published,
            "payload": msgspec.to_builtins(messages.result_of(payload)),
            **told,
        }
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    for name in told:
        click.echo(_TOLD[name].format(entry.sequence), err=True)
    if streams.is_terminal(sys.stdout):
        lines = payload.decode("utf-8", "replace").split("\n")
        payload = "\n".join(map(printable, lines)).encode()
    click.echo(payload, nl=not payload.endswith(b"\n"))


_TOLD = {
    "trimmed": "Trimmed: messages before {} are gone.",
    "gap": "Gap: messages before {} may be lost.",
    "reset": "Reset: this is another journal, which begins with {} here.",
}


@click.command()
@format_option
@pass_session
def journals(session: Session) -> None:
    """Show the journals of topics.

    Each row has the number of its messages, their bytes, and the numbers of the first
    and the last. AGE is that of the oldest message. Topics get a journal by the configuration
    of the daemons, and it is there from their first message on.

    \b
    Examples:
      gearhorn journals
      gearhorn journals --format json | jq 'map(.bytes) | add'
    """
    found = session.run(session.journals())
    rows: list[Row] = [msgspec.structs.asdict(row) for row in found]
    if session.as_json:
        show_json(rows)
        return
    for row in rows:
        row["age"] = "" if row["age"] is None else seconds(row["age"])
    columns = ("topic", "messages", "bytes", "first", "last", "age", "journal")
    show_table(rows, columns, "No topic has a journal.")


def entry_of(session: Session, topic: str, sequence: int) -> Entry:
    """Return one message of a journal.

    :raises Failure: it is not there.
    """
    session.run(session.find_serving(session.functions["read"]))
    with closing(reader_of(session, topic, sequence - 1)) as reader:
        found = next(iter(reader), None)
    if found is None or found.sequence != sequence:
        raise Failure(f"the journal of {printable(topic)} has no message {sequence}")
    return found


COMMANDS = (read, journals)
