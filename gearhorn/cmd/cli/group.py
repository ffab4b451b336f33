# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The group of all commands, with the options before the command."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from gearhorn import errors, messages
from gearhorn.cmd import streams
from gearhorn.cmd.cli import nagios
from gearhorn.cmd.cli.exits import FAILED, failure_of
from gearhorn.cmd.cli.session import FUNCTIONS, Session
from gearhorn.net.tls import tls_context
from gearhorn.version import installed_version
from gearhorn.wire.address import DEFAULT_PORT, parse_addresses
from gearhorn.wire.connection import ConnectionSettings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

FORMATS = click.Choice(["table", "json"])

_IS_PLUGIN = "gearhorn.is_plugin"

pass_session = click.make_pass_decorator(Session)


class _Group(click.Group):
    """A group that turns gearhorn's errors into messages and exit codes."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        is_plugin = nagios.is_asked_for(args)
        with _unknown_to_plugins(is_plugin):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[_IS_PLUGIN] = is_plugin
        return context

    def invoke(self, ctx: click.Context) -> Any:
        with _unknown_to_plugins(ctx.meta.get(_IS_PLUGIN, False)):
            try:
                return super().invoke(ctx)
            except errors.GearhornError as error:
                raise failure_of(error) from error

    def main(self, *args: Any, **kwargs: Any) -> Any:
        streams.escape_unencodable()
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            # What is read has errors of its own.
            streams.report_unwritten("gearhorn", error)
            sys.exit(FAILED)


@contextlib.contextmanager
def _unknown_to_plugins(is_plugin: bool) -> Iterator[None]:
    """Have a wrong command line end as a plugin does: the code for it means critical there."""
    try:
        yield
    except click.ClickException as error:
        if not is_plugin:
            raise
        raise nagios.Unknown(error.format_message()) from error


def _split(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """Split values that hold several, as those from the environment may."""
    return [part for value in values for part in re.split(r"[,\s]+", value) if part]


def format_option(command: Decorated) -> Decorated:
    """Add ``--format`` after the command too, where people write it."""

    def take(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.find_root().obj.as_json = value == "json"

    return click.option(
        "--format",
        type=FORMATS,
        expose_value=False,
        callback=take,
        help="Tables for people, or JSON for scripts; the same as before the command.",
    )(command)


def limit_options(command: Decorated) -> Decorated:
    """Add the options for the limits that a registration brings."""
    for option in (
        click.option(
            "--remove-idle",
            type=float,
            metavar="SECONDS",
            help="End the subscription after messages have waited so long and no worker has come, "
            "60 or more; 0 for never.",
        ),
        click.option(
            "--overflow",
            type=click.Choice(messages.OVERFLOWS),
            help="What becomes of a message for a queue that is full: it fails, or, if the topic "
            "has a journal, it is skipped.",
        ),
        click.option(
            "--max-waiting",
            type=int,
            metavar="N",
            help="Let so many messages wait in the queue, 100 or more, where the daemons allow it.",
        ),
    ):
        command = option(command)
    return command


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    \b
    Exit codes:
      0  done
      1  done in part or not at all: copies that failed, findings of doctor
      2  the command line is wrong
      3  the request was refused
      4  no job server, no daemon, or no answer in time
      5  the daemon cannot use its store

    \b
    Examples:
      gearhorn publish officememos "please go home early today."
      gearhorn listen officememos --as alice
      gearhorn --server jobs1:4730 --server jobs2:4730 doctor
      GEARHORN_SERVERS="jobs1:4730 jobs2:4730" gearhorn topics
    """,
)
@click.option(
    "-s",
    "--server",
    "addresses",
    multiple=True,
    envvar="GEARHORN_SERVERS",
    show_envvar=True,
    default=[f"127.0.0.1:{DEFAULT_PORT}"],
    show_default=True,
    callback=_split,
    metavar="HOST[:PORT]",
    help="A job server; give all that the daemons use.",
)
@click.option(
    "--tls-ca",
    type=click.Path(dir_okay=False),
    envvar="GEARHORN_TLS_CA",
    show_envvar=True,
    help="Use TLS; the file of the authority that signed the servers' certificates.",
)
@click.option(
    "--tls-cert",
    type=click.Path(dir_okay=False),
    envvar="GEARHORN_TLS_CERT",
    show_envvar=True,
    help="The file of the certificate to show them.",
)
@click.option(
    "--tls-key",
    type=click.Path(dir_okay=False),
    envvar="GEARHORN_TLS_KEY",
    show_envvar=True,
    help="The file of its key.",
)
@click.option(
    "--format",
    "format_",
    type=FORMATS,
    default="table",
    envvar="GEARHORN_FORMAT",
    show_envvar=True,
    show_default=True,
    help="Tables for people, or JSON for scripts.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    envvar="GEARHORN_TIMEOUT",
    show_envvar=True,
    show_default=True,
    help="Seconds that a daemon may take to answer.",
)
@click.option(
    "--function",
    "functions",
    multiple=True,
    envvar="GEARHORN_FUNCTIONS",
    show_envvar=True,
    metavar="NAME=FUNCTION",
    help="The name of a function, where the daemons are configured to call it otherwise: "
    f"NAME is {', '.join(FUNCTIONS)}.",
)
@click.version_option(installed_version(), prog_name="gearhorn")
@click.pass_context
def gearhorn(
    ctx: click.Context,
    addresses: list[str],
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    format_: str,
    timeout: float,
    functions: tuple[str, ...],
) -> None:
    """Publish to topics, listen to them, and look after gearhorn's daemons.

    Everything goes through the job servers; only the daemons use the store.
    """
    wire = ConnectionSettings(
        tls=tls_context(tls_ca, tls_cert, tls_key),
        connect_timeout=min(timeout, ConnectionSettings.connect_timeout),
    )
    session = Session(parse_addresses(addresses), wire, timeout, format_ == "json")
    for text in functions:
        name, equals, function = text.partition("=")
        if name not in FUNCTIONS or not equals or not function:
            raise click.UsageError(
                f"--function {text}: write NAME=FUNCTION, where NAME is {', '.join(FUNCTIONS)}"
            )
        session.functions[name] = function
    ctx.obj = session
