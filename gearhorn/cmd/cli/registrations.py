# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The commands ``register``, ``unregister`` and ``remove-daemon``."""

import click
import msgspec

from gearhorn import messages
from gearhorn.client.parameters import StartAt, start_of
from gearhorn.cmd.cli.exits import FAILED, Failure
from gearhorn.cmd.cli.group import format_option, limit_options, pass_session
from gearhorn.cmd.cli.output import plural, show_json
from gearhorn.cmd.cli.session import Session
from gearhorn.cmd.cli.starts import start_option
from gearhorn.messages import Subscription, printable


@click.command()
@click.argument("topic")
@click.argument("client_id")
@click.option("--ttl", type=float, help="End the subscription after so many seconds.")
@limit_options
@start_option
@format_option
@pass_session
def register(
    session: Session,
    topic: str,
    client_id: str,
    ttl: float | None,
    max_waiting: int | None,
    overflow: messages.Overflow | None,
    remove_idle: float | None,
    start: StartAt | None,
) -> None:
    """Subscribe CLIENT_ID to TOPIC.

    Repeating it does no harm: with --ttl that renews the subscription, without
    it makes it permanent. What it says of the queue is said anew each time.

    \b
    Examples:
      gearhorn register officememos alice
      gearhorn register officememos visitor --ttl 3600
      gearhorn register officememos archive --max-waiting 1000
      gearhorn register officememos newcomer --start first
    """
    limits = messages.Limits(max_waiting=max_waiting, overflow=overflow, remove_idle=remove_idle)
    request = messages.Register.of(topic, client_id, ttl, limits)
    _, raw = start_of(start)
    if not bytes(raw):
        session.run(session.ask("register", request))
        _show(session, topic, client_id, "{client_id} receives {topic} in the queue {queue}.")
        return
    request = msgspec.structs.replace(request, start=raw)
    answer = session.run(session.ask_patiently("register", request))
    found = msgspec.json.decode(answer, type=Subscription)
    if session.as_json:
        click.echo(answer)
    else:
        _show(session, topic, client_id, "{client_id} receives {topic} in the queue {queue}.")
        replayed = found.replayed if isinstance(found.replayed, int) else 0
        click.echo(f"It has {plural(replayed, 'message')} from before.")
    if isinstance(found.stopped, str):
        click.echo(
            f"Not all of them ({found.stopped}). Go on later with --start "
            f"{found.after}@{found.journal}.",
            err=True,
        )
        click.get_current_context().exit(FAILED)


@click.command()
@click.argument("topic")
@click.argument("client_id")
@format_option
@pass_session
def unregister(session: Session, topic: str, client_id: str) -> None:
    """Unsubscribe CLIENT_ID from TOPIC.

    It does no harm if CLIENT_ID is not subscribed. Messages that wait in the
    queue stay there: see purge.

    \b
    Example:
      gearhorn unregister officememos alice
    """
    request = messages.Unregister(topic=topic, client_id=client_id)
    session.run(session.ask("unregister", request))
    _show(session, topic, client_id, "{client_id} no longer receives {topic}.")


def _show(session: Session, topic: str, client_id: str, sentence: str) -> None:
    names = {
        "topic": topic,
        "client_id": client_id,
        "queue": messages.queue_name(topic, client_id),
    }
    if session.as_json:
        show_json(names)
    else:
        click.echo(printable(sentence.format_map(names)))


@click.command("remove-daemon")
@click.argument("worker_id")
@format_option
@pass_session
def remove_daemon(session: Session, worker_id: str) -> None:
    """Remove the entry of a dead daemon.

    WORKER_ID is the one that gearhorn daemons shows. The other daemons remove
    the entry by themselves after a while. The answer comes once no list that
    the daemon may have cached can be used. A daemon that lives makes its entry
    anew.

    \b
    Example:
      gearhorn remove-daemon jobs1-4242-0a1b2c3d
    """

    async def remove() -> bool:
        known = {row.worker_id for row in await session.daemons()}
        if worker_id not in known:
            return False
        status = await session.status()
        request = messages.Unregister(topic=status.matchmaking_topic, client_id=worker_id)
        await session.ask("unregister", request)
        return True

    if not session.run(remove()):
        raise Failure(f"there is no daemon {printable(worker_id)}: see gearhorn daemons")
    if session.as_json:
        show_json({"worker_id": worker_id})
    else:
        click.echo(f"The entry of {printable(worker_id)} is removed.")


COMMANDS = (register, unregister, remove_daemon)
