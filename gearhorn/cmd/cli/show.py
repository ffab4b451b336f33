# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The commands ``topics``, ``subscribers`` and ``daemons``."""

import click

from gearhorn.cmd.cli.depth_checks import shown, the_deepest
from gearhorn.cmd.cli.exits import FAILED
from gearhorn.cmd.cli.group import format_option, pass_session
from gearhorn.cmd.cli.output import Row, seconds, show_json, show_table
from gearhorn.cmd.cli.session import Session, total
from gearhorn.messages import DaemonRow


@click.command()
@format_option
@pass_session
def topics(session: Session) -> None:
    """Show the topics that have subscribers, and how many.

    The daemons subscribe to a topic of their own, which is shown as well.

    \b
    Example:
      gearhorn topics
    """
    rows = [
        {"topic": row.topic, "subscribers": row.subscribers}
        for row in session.run(session.topics())
    ]
    if session.as_json:
        show_json(rows)
    else:
        show_table(rows, ("topic", "subscribers"), "No topic has subscribers.")


@click.command()
@click.argument("topic")
@format_option
@pass_session
def subscribers(session: Session, topic: str) -> None:
    """Show the subscribers of TOPIC and their queues.

    The numbers of messages that wait, of messages that are being worked on and
    of workers are sums over all job servers. Ends with 1 if one of these cannot
    be asked. A queue that is full gets no messages from the daemon that
    answers; limits are those that its subscriber brought.

    \b
    Examples:
      gearhorn subscribers officememos
      gearhorn subscribers officememos --format json | jq '.[] | select(.workers == 0)'
    """
    found = session.run(session.subscribers(topic))
    queues, faults = session.run(session.queues())
    rows: list[Row] = []
    for row in found:
        state = total(queues, row.queue)
        rows.append(
            {
                "client_id": row.client_id,
                "queue": row.queue,
                "expires_in": row.expires_in,
                "waiting": state.total - state.running,
                "running": state.running,
                "workers": state.workers,
                "full": row.full,
                "max_waiting": row.max_waiting,
                "overflow": row.overflow,
                "remove_idle": row.remove_idle,
            }
        )
    if session.as_json:
        show_json(rows)
    else:
        for row_ in rows:
            row_["expires"] = _expiry(row_["expires_in"])
            row_["full"] = "full" if row_["full"] else ""
            row_["limits"] = _limits(row_)
        columns = ["client_id", "queue", "waiting", "running", "workers", "expires"]
        # What few subscribers have is a column only where one has it.
        columns += [column for column in ("full", "limits") if any(r[column] for r in rows)]
        show_table(rows, columns, f"{topic} has no subscribers.")
    for fault in faults.values():
        click.echo(f"Warning: without the numbers of {fault}", err=True)
    if faults:
        click.get_current_context().exit(FAILED)


def _expiry(expires_in: float | None) -> str:
    if expires_in is None:
        return "never"
    return f"in {seconds(expires_in)}" if expires_in > 0 else "now"


def _limits(row: Row) -> str:
    keys = ("max_waiting", "overflow", "remove_idle")
    return ", ".join(f"{key} {row[key]}" for key in keys if row[key] is not None)


@click.command()
@format_option
@pass_session
def daemons(session: Session) -> None:
    """Show the daemons and when each was last seen.

    A daemon renews its entry several times before it would count as dead. One
    that is "late" is dead or cut off, and is removed by the others. One that is
    "barred" was removed by hand, and its cached lists are about to run out.
    The deepest queues are named below, where some are deep enough for a warning.

    \b
    Example:
      gearhorn daemons
    """
    status = session.run(session.status())
    found = session.run(session.daemons())
    rows: list[Row] = [
        {"worker_id": row.worker_id, "age": row.age, "state": state_of(row, status.daemon_ttl)}
        for row in found
    ]
    if session.as_json:
        show_json(rows)
    else:
        for row_ in rows:
            age = row_["age"]
            row_["last_seen"] = "unknown" if age is None else f"{seconds(age)} ago"
        show_table(rows, ("worker_id", "last_seen", "state"), "No daemon has an entry.")
        if deep := the_deepest(status.deepest, status):
            click.echo(f"Deepest queues: {shown(deep)}")


def state_of(daemon: DaemonRow, daemon_ttl: float) -> str:
    """Return the state of a daemon, in a word."""
    if daemon.barred:
        return "barred"
    if daemon.age is None:
        return "unknown"
    return "late" if daemon.age > daemon_ttl else "live"


COMMANDS = (topics, subscribers, daemons)
