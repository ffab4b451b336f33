# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The command ``listen``."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from itertools import islice
from typing import cast

import click
import msgspec

from gearhorn import messages
from gearhorn.client import subscriptions
from gearhorn.client.message import Message
from gearhorn.client.parameters import StartAt
from gearhorn.client.subscriber import Subscriber
from gearhorn.cmd import streams
from gearhorn.cmd.cli.exits import FAILED, Failure
from gearhorn.cmd.cli.group import format_option, limit_options, pass_session
from gearhorn.cmd.cli.output import plural
from gearhorn.cmd.cli.session import Session
from gearhorn.cmd.cli.starts import start_option
from gearhorn.messages import printable


@click.command()
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@click.option("--as", "client_id", metavar="CLIENT_ID", required=True, help="The subscriber's id.")
@click.option(
    "--ttl",
    type=float,
    help="Renew the subscription, and let it end so many seconds after this was last here. "
    "[default: it stays, and messages wait]",
)
@limit_options
@start_option
@click.option("--unregister", is_flag=True, help="End the subscription at the end.")
@click.option(
    "--exec",
    "command",
    metavar="COMMAND",
    help="Run this in a shell for each message instead of printing it.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many messages.")
@format_option
@pass_session
def listen(
    session: Session,
    topics: tuple[str, ...],
    client_id: str,
    ttl: float | None,
    max_waiting: int | None,
    overflow: messages.Overflow | None,
    remove_idle: float | None,
    start: StartAt | None,
    unregister: bool,
    command: str | None,
    count: int | None,
) -> None:
    """Subscribe to each TOPIC, and print messages as they come.

    A message is acknowledged when it is printed. It is printed as it is, after
    the topic if there are several, and with a line break if it does not end in
    one. On a terminal, characters that could move the cursor are escaped. In
    JSON each line is an object with topic, client_id, unique and payload: a
    string, or {"base64": ...} if the message is not UTF-8; and with journal and
    sequence, where the topic has a journal.

    COMMAND gets the payload on standard input, and GEARHORN_TOPIC,
    GEARHORN_CLIENT_ID and GEARHORN_UNIQUE in its environment. If it ends with
    0, its standard output is the result of the message, which a publisher
    can gather; otherwise the message has failed.

    Ends at Ctrl-C or SIGTERM, after the message in hand; with 1 if a COMMAND
    failed. While no job server can be reached it tries again.

    \b
    Examples:
      gearhorn listen officememos --as alice
      gearhorn listen officememos --as newcomer --start first
      gearhorn listen visits orders --as auditor --format json >>audit.jsonl
      gearhorn listen orders --as printer --exec 'lp -t "$GEARHORN_UNIQUE" -'
    """
    if command is None and sys.stdout is None:
        # A message must not be acknowledged that nobody can see.
        raise Failure("standard output is closed, so messages cannot be printed: use --exec")
    subscriber = Subscriber(
        map(str, session.servers),
        client_id,
        ttl=ttl,
        max_waiting=max_waiting,
        overflow=overflow,
        remove_idle=remove_idle,
        unregister=unregister,
        connect_timeout=session.wire.connect_timeout,
        tls=session.wire.tls,
        register_function=session.functions["register"],
        unregister_function=session.functions["unregister"],
    )
    for topic in topics:
        subscriber.on(topic, start=start)
    # A refusal is raised as well as logged, and is to be printed once.
    subscriptions.LOG.addFilter(lambda record: record.levelno < logging.ERROR)
    failed = 0
    # Closed after --count messages too: those fetched ahead then go back.
    with closing(cast(Generator[Message, None, None], iter(subscriber))) as received:
        for message in islice(received, count):
            if command is not None:
                failed += not _run(command, message)
            else:
                _print(session, message, with_topic=len(topics) > 1)
                message.ack()
    if failed:
        click.echo(f"{plural(failed, 'message')} failed.", err=True)
        click.get_current_context().exit(FAILED)


def _print(session: Session, message: Message, *, with_topic: bool) -> None:
    payload = message.payload
    if session.as_json:
        document = {
            "topic": message.topic,
            "client_id": message.client_id,
            "unique": message.unique,
            **_number(message),
            "payload": msgspec.to_builtins(messages.result_of(payload)),
        }
        line = json.dumps(document, ensure_ascii=False).encode()
    else:
        if streams.is_terminal(sys.stdout):
            lines = payload.decode("utf-8", "replace").split("\n")
            payload = "\n".join(map(printable, lines)).encode()
        line = f"{message.topic}: ".encode() + payload if with_topic else payload
    click.echo(line, nl=not line.endswith(b"\n"))


def _number(message: Message) -> dict[str, str | int | None]:
    if message.journal is None:
        return {}
    return {"journal": message.journal, "sequence": message.sequence}


def _run(command: str, message: Message) -> bool:
    """Run ``command`` for the message; return true if it succeeded."""
    environment = {
        **os.environ,
        "GEARHORN_TOPIC": message.topic,
        "GEARHORN_CLIENT_ID": message.client_id,
        "GEARHORN_UNIQUE": message.unique,
    }
    done = subprocess.run(
        command,
        # A shell for the user's own command line; no part of the message goes into it.
        shell=True,  # nosec B602
        input=message.payload,
        stdout=subprocess.PIPE,
        env=environment,
        # Ctrl-C goes to listen alone, which ends after the message.
        start_new_session=True,
        check=False,
    )
    if done.returncode:
        click.echo(
            f"message {message.unique} of {printable(message.topic)} failed: "
            f"the command ended with {done.returncode}",
            err=True,
        )
        message.fail()
        return False
    message.ack(done.stdout)
    return True


COMMANDS = (listen,)
