# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The commands ``dead list``, ``dead show`` and ``dead replay``."""

import base64
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import click
import msgspec

from gearhorn import errors, messages
from gearhorn.client.journal.entries import Entry
from gearhorn.cmd.cli.exits import FAILED, Failure
from gearhorn.cmd.cli.group import format_option, pass_session
from gearhorn.cmd.cli.journals import entry_of, reader_of
from gearhorn.cmd.cli.output import Row, show_json, show_table
from gearhorn.cmd.cli.session import Session, total
from gearhorn.daemon.placement import server_of
from gearhorn.messages import printable
from gearhorn.wire import admin

_ERROR_CHARACTERS = 60


class Letter(msgspec.Struct):
    """A dead letter, as its subscriber published it."""

    topic: str
    client_id: str
    attempts: int = 0
    error: str = ""
    time: float = 0.0
    payload: str | None = None
    encoding: str | None = None
    payload_omitted: int | None = None
    journal: str | None = None
    sequence: int | None = None

    def payload_bytes(self) -> bytes:
        """Return what the subscriber was given.

        :raises Failure: the letter has no payload.
        """
        if self.payload is None:
            raise Failure(
                f"the letter has no payload: {self.payload_omitted} bytes were left out, as "
                "nothing took it with them"
            )
        try:
            data = self.payload.encode()
            return base64.b64decode(data, validate=True) if self.encoding == "base64" else data
        except ValueError:
            raise Failure("the payload of the letter cannot be read") from None


def _letter(entry: Entry) -> Letter | None:
    try:
        return msgspec.json.decode(entry.payload, type=Letter)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


@click.group()
def dead() -> None:
    """Look at dead letters, and have their messages tried again.

    They are read from the journal of a dead-letter topic, so that topic needs one:
    [journal] topics in the configuration of the daemons.

    \b
    Examples:
      gearhorn dead list officememos-dead
      gearhorn dead replay officememos-dead 12
    """


@dead.command("list")
@click.argument("topic")
@format_option
@pass_session
def list_(session: Session, topic: str) -> None:
    """Show the dead letters in the journal of TOPIC.

    \b
    Example:
      gearhorn dead list officememos-dead
    """
    rows: list[Row] = []
    session.run(session.find_serving(session.functions["read"]))
    reader = reader_of(session, topic)
    try:
        for entry in reader:
            letter = _letter(entry)
            if letter is not None:
                row = {"letter": entry.sequence, **msgspec.structs.asdict(letter)}
                rows.append({key: value for key, value in row.items() if key != "payload"})
    finally:
        reader.close()
    if session.as_json:
        show_json(rows)
        return
    for row in rows:
        row["time"] = _when(row["time"])
        row["error"] = row["error"][:_ERROR_CHARACTERS]
    columns = ("letter", "time", "topic", "client_id", "attempts", "error")
    show_table(rows, columns, f"{topic} has no dead letters.")


def _when(unix_s: float) -> str:
    try:
        when = datetime.fromtimestamp(unix_s, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return ""
    return when.strftime("%Y-%m-%d %H:%M:%S")


@dead.command()
@click.argument("topic")
@click.argument("letter", type=click.IntRange(1, messages.MAX_SEQUENCE))
@format_option
@pass_session
def show(session: Session, topic: str, letter: int) -> None:
    """Show LETTER, by its number, from the journal of TOPIC.

    \b
    Example:
      gearhorn dead show officememos-dead 12
    """
    found = _found(session, topic, letter)
    document = {"letter": letter, **msgspec.structs.asdict(found)}
    document = {key: value for key, value in document.items() if value is not None}
    if session.as_json:
        show_json(document)
        return
    document["time"] = _when(found.time)
    for key, value in document.items():
        if key != "payload":
            click.echo(f"{key}: {printable(value)}")
    if found.payload is not None:
        click.echo()
        click.echo("\n".join(map(printable, found.payload.split("\n"))))


@dead.command()
@click.argument("topic")
@click.argument(
    "letters",
    metavar="LETTER...",
    type=click.IntRange(1, messages.MAX_SEQUENCE),
    nargs=-1,
    required=True,
)
@format_option
@pass_session
def replay(session: Session, topic: str, letters: tuple[int, ...]) -> None:
    """Put the message of each LETTER into the queue of the subscriber that gave it up.

    No other subscriber gets it, and the letter stays. The copy has no number: a
    subscriber with a position sees it as it comes. If something is wrong with one
    letter, none is put into a queue.

    \b
    Example:
      gearhorn dead replay officememos-dead 12 13
    """
    found = {number: _found(session, topic, number) for number in letters}
    rows = session.run(_replay(session, found))
    if session.as_json:
        show_json(rows)
    else:
        for row in rows:
            queued = "is queued in" if row["queued"] else "was not taken by"
            click.echo(f"Letter {row['letter']} {queued} {printable(row['queue'])}.")
    if not all(row["queued"] for row in rows):
        click.get_current_context().exit(FAILED)


async def _replay(session: Session, letters: Mapping[int, Letter]) -> list[Row]:
    """Submit the messages of the letters, unless something is wrong with one of them.

    :raises GearhornError: what it is; where some are queued already, it names them.
    """
    payloads = {number: letter.payload_bytes() for number, letter in letters.items()}
    found, faults = await session.queues()
    if not found:
        raise next(iter(faults.values()))
    known: dict[str, set[str]] = {}
    for letter in letters.values():
        messages.check_subscription(letter.topic, letter.client_id)
        if letter.topic not in known:
            rows = await session.subscribers(letter.topic)
            known[letter.topic] = {row.client_id for row in rows}
        queue = messages.queue_name(letter.topic, letter.client_id)
        if letter.client_id not in known[letter.topic] and not total(found, queue).workers:
            raise Failure(
                f"{printable(letter.client_id)} does not receive {printable(letter.topic)} any "
                "more, and the message would wait for ever: register it first"
            )
    done: list[Row] = []
    for number, letter in letters.items():
        queue = messages.queue_name(letter.topic, letter.client_id)
        # Where the daemons put its copies.
        server = server_of(queue.encode(), [*found])
        unique = b"replay-" + os.urandom(12).hex().encode()
        try:
            queued = await admin.submit_background(
                server, session.wire, queue, payloads[number], unique=unique
            )
        except errors.ServerLost as error:
            raise _named(error, done) from None
        done.append({"letter": number, "queue": queue, "queued": queued})
    return done


def _named(error: errors.ServerLost, done: Sequence[Row]) -> errors.ServerLost:
    """Return an error that says which letters need no repetition."""
    queued = [str(row["letter"]) for row in done if row["queued"]]
    if not queued:
        return error
    return errors.ServerLost(f"{error}; queued before it: {', '.join(queued)}")


def _found(session: Session, topic: str, number: int) -> Letter:
    letter = _letter(entry_of(session, topic, number))
    if letter is None:
        raise Failure(f"message {number} of {printable(topic)} is no dead letter")
    return letter


COMMANDS: tuple[Any, ...] = (dead,)
