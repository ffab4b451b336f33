# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The command ``publish``."""

import os
import stat
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import IO, Any, BinaryIO, cast

import click

from gearhorn import errors, messages
from gearhorn.client.bundles import Outcome
from gearhorn.client.publisher import Publisher
from gearhorn.cmd import streams
from gearhorn.cmd.cli.exits import FAILED
from gearhorn.cmd.cli.group import format_option, pass_session
from gearhorn.cmd.cli.input import InputFile, lines_of, standard_input
from gearhorn.cmd.cli.output import plural, show_table
from gearhorn.cmd.cli.session import Session
from gearhorn.messages import FanOutReport, printable

RECEIVERS_S = 60.0
"""Seconds that receivers have to answer, unless --timeout is given."""


@click.command()
@click.argument("topic")
@click.argument("payload", required=False)
@click.option(
    "-f",
    "--file",
    "file",
    type=InputFile(),
    help="Read the payload, or with --lines the messages, from this file.",
)
@click.option(
    "--lines",
    is_flag=True,
    help="Each line of standard input is a message, without the line break.",
)
@click.option(
    "--background",
    is_flag=True,
    help="Do not wait for receivers: end when every copy is safely queued.",
)
@click.option(
    "--unique",
    help="Coalesce with a copy of the same unique that is still queued or running.",
)
@click.option(
    "--id",
    "id_",
    help="The message's name: published again with the same one, it is the same message, where the "
    "topic has a journal.",
)
@click.option(
    "--timeout",
    type=float,
    help="Wait so many seconds for receivers, 60 unless given; not with --background, where the "
    "--timeout before the command counts.",
)
@click.option("--priority", type=click.Choice(messages.PRIORITIES), help="The copies' priority.")
@click.option("--gather", is_flag=True, help="Show what each receiver answered.")
@click.option(
    "--progress/--no-progress",
    default=True,
    show_default=True,
    help="Have the daemon tell once a second how many receivers have answered.",
)
@format_option
@pass_session
def publish(
    session: Session,
    topic: str,
    payload: str | None,
    file: BinaryIO | None,
    lines: bool,
    background: bool,
    unique: str | None,
    id_: str | None,
    timeout: float | None,
    priority: messages.Priority | None,
    gather: bool,
    progress: bool,
) -> None:
    """Send PAYLOAD to every subscriber of TOPIC.

    "-" as PAYLOAD reads it from standard input, byte for byte. Ends with 1 if
    a receiver failed or did not answer in time.

    With --lines many messages are on their way at once. A line that fails is
    named on standard error; in JSON each line of output is the report on one
    line of input.

    \b
    Examples:
      gearhorn publish officememos "please go home early today."
      gearhorn publish officememos --file memo.pdf --background
      hostname | gearhorn publish officememos - --gather
      tail -F access.log | gearhorn publish visits --lines --background
    """
    options: dict[str, Any] = {
        "background": background,
        "timeout": timeout,
        "priority": priority,
        "gather": gather,
        "progress": progress,
    }
    with ExitStack() as stack:
        publisher = Publisher(
            map(str, session.servers),
            connect_timeout=session.wire.connect_timeout,
            tls=session.wire.tls,
            function=session.functions["fanout"],
            timeout=session.timeout if background else RECEIVERS_S,
        )
        stack.enter_context(publisher)
        if lines:
            if payload not in (None, "-") or unique is not None or id_ is not None:
                raise click.UsageError("--lines goes without PAYLOAD, --unique and --id")
            _publish_lines(session, publisher, topic, file or standard_input(), options)
        else:
            data = _payload(payload, file)
            _publish_one(session, publisher, topic, data, unique, id_, options)


def _payload(payload: str | None, file: BinaryIO | None) -> bytes:
    if (payload is None) == (file is None):
        raise click.UsageError("give one of PAYLOAD, - and --file; or --lines")
    if file is not None or payload == "-":
        return b"".join(lines_of(file or standard_input()))
    # The bytes as they were typed, even if they are not UTF-8.
    return os.fsencode(cast(str, payload))


def _publish_one(
    session: Session,
    publisher: Publisher,
    topic: str,
    payload: bytes,
    unique: str | None,
    id_: str | None,
    options: dict[str, Any],
) -> None:
    with _Progress() as progress:
        try:
            report = publisher.publish(
                topic, payload, unique=unique, id=id_, on_progress=progress.at, **options
            )
        except errors.PartialFailure as error:
            report = error.report
        except errors.NoAnswer:
            # Raises a clearer error if no daemon serves the function.
            session.run(session.find_serving(session.functions["fanout"]))
            raise
    _show(session, report)
    if report.failed:
        click.get_current_context().exit(FAILED)


class _Progress:
    """A progress bar on standard error, if that is a terminal and progress comes."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._bar: Any = None
        self._done = 0

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def at(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` receivers have answered."""
        if not streams.is_terminal(sys.stderr):
            return
        if self._bar is None:
            self._bar = self._stack.enter_context(_bar(total, "Receivers"))
        self._bar.update(done - self._done)
        self._done = done


def _bar(length: int, label: str) -> AbstractContextManager[Any]:
    bar: AbstractContextManager[Any] = click.progressbar(
        length=length, label=label, file=sys.stderr, show_pos=True
    )
    return bar


def _show(session: Session, report: FanOutReport) -> None:
    if session.as_json:
        click.echo(report.encode())
        return
    skipped = f", {report.skipped} skipped" if report.skipped else ""
    subscribers = plural(report.subscribers, "subscriber")
    if isinstance(report.queued, int):
        click.echo(f"Queued for {report.queued} of {subscribers}{skipped}.")
    else:
        click.echo(f"{report.delivered} of {subscribers} answered{skipped}.")
    if report.duplicate is True:
        click.echo(f"It is message {report.sequence} of the journal, published before.")
    if isinstance(report.results, dict):
        for client_id, result in sorted(report.results.items()):
            text = result if isinstance(result, str) else f"(base64) {result.base64}"
            text = printable(text.removesuffix("\n"))
            click.echo(f"{printable(client_id)}: {text}")
    if report.failed:
        rows = [
            {"failed": name, "reason": reason} for name, reason in sorted(report.failed.items())
        ]
        show_table(rows, ("failed", "reason"), "")
        # A report names only a thousand failed receivers.
        if isinstance(report.failed_count, int) and report.failed_count > len(rows):
            click.echo(f"and {report.failed_count - len(rows)} more")


def _publish_lines(
    session: Session,
    publisher: Publisher,
    topic: str,
    source: IO[bytes],
    options: dict[str, Any],
) -> None:
    messages.check_topic(topic)
    sizes: deque[int] = deque()

    def read() -> Iterator[tuple[str, bytes]]:
        for line in lines_of(source):
            sizes.append(len(line))
            yield topic, line.removesuffix(b"\n")

    failed = 0
    number = 0
    outcomes = publisher.publish_many(read(), return_exceptions=True, **options)
    for number, outcome in enumerate(_followed(outcomes, source, sizes), 1):
        failed += not _line_is_done(session, number, outcome)
    if not session.as_json:
        click.echo(f"{plural(number, 'message')} published, {failed} failed.")
    if failed:
        click.get_current_context().exit(FAILED)


def _followed(
    outcomes: Iterator[Outcome], source: IO[bytes], sizes: deque[int]
) -> Iterator[Outcome]:
    """Yield the outcomes, with a progress bar on standard error if that is a terminal.

    The bar counts bytes if their number is known beforehand, else messages.

    :param sizes: the sizes of the lines whose outcomes are to come.
    """
    if not streams.is_terminal(sys.stderr):
        yield from outcomes
        return
    status = os.fstat(source.fileno())
    if not stat.S_ISREG(status.st_mode):
        with click.progressbar(outcomes, label="Messages", file=sys.stderr, show_pos=True) as bar:
            yield from bar
        return
    with _bar(status.st_size, "Bytes") as bytes_bar:
        for outcome in outcomes:
            bytes_bar.update(sizes.popleft())
            yield outcome


def _line_is_done(session: Session, number: int, outcome: Outcome) -> bool:
    """Show the outcome of a line; return true if all of its copies were delivered.

    :raises GearhornError: it is of no use to go on.
    """
    if not isinstance(outcome, errors.GearhornError):
        if session.as_json:
            click.echo(outcome.encode())
        return True
    if not isinstance(outcome, (errors.PartialFailure, errors.RequestError)):
        raise outcome
    if session.as_json:
        click.echo((outcome.report or messages.Refusal.of(outcome)).encode())
    else:
        click.echo(f"line {number}: {outcome}", err=True)
    return False


COMMANDS = (publish,)
