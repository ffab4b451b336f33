# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The command ``doctor``."""

import asyncio
from collections import Counter, defaultdict

import click

from gearhorn import errors
from gearhorn.cmd.cli import nagios
from gearhorn.cmd.cli.checks import TURNING_GEARMAND, check, gearmand_version
from gearhorn.cmd.cli.exits import FAILED, NO_ANSWER, OK
from gearhorn.cmd.cli.facts import Facts
from gearhorn.cmd.cli.findings import LEVELS, Finding
from gearhorn.cmd.cli.group import pass_session
from gearhorn.cmd.cli.output import plural, show_json
from gearhorn.cmd.cli.session import Session, told
from gearhorn.messages import printable
from gearhorn.wire import admin, probes
from gearhorn.wire.address import Address


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="Seconds between the two looks at the queues, to see which grow.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "nagios"]),
    help="Tables for people, JSON for scripts, or nagios for monitoring systems that run plugins.",
)
@click.option(
    "--docs",
    default="",
    envvar="GEARHORN_DOCS",
    show_envvar=True,
    metavar="URL",
    help="Where your copy of the documentation is, to which each finding links.",
)
@pass_session
def doctor(session: Session, interval: float, format_: str | None, docs: str) -> None:
    """Find what is wrong and say what to do.

    Looks at the job servers, the daemons, their functions and their store, at
    queues that only grow, that nobody reads or that belong to nobody, and
    at names that collide. Tries with a job of its own, which it removes, if
    each gearmand keeps the job of a worker that dies, and with an empty request
    if it takes jobs of the daemons' functions.

    Ends with 0 if all is well or there are only notes, with 1 if there is an
    error or a warning, and with 4 if no job server can be reached. With --format nagios the
    codes are those of a plugin: 0 is ok, 1 a warning, 2 critical, and 3 unknown.

    \b
    Examples:
      gearhorn doctor
      gearhorn doctor --format json | jq -r '.findings[] | select(.level != "note") | .text'
    """
    if format_ is not None:
        session.as_json = format_ == "json"
    if format_ == "nagios":
        _check_as_plugin(session, interval, docs)
        return
    facts = session.run(_look(session, interval))
    found = check(facts)
    if session.as_json:
        show_json({"findings": [finding.row(docs) for finding in found], **_counts(facts)})
    else:
        _show(facts, found, docs)
    if not facts.second:
        code = NO_ANSWER
    else:
        code = FAILED if any(finding.level != "note" for finding in found) else OK
    click.get_current_context().exit(code)


def _check_as_plugin(session: Session, interval: float, docs: str) -> None:
    try:
        facts = session.run(_look(session, interval))
        found = check(facts)
        code, lines = nagios.state_of(found), nagios.lines(facts, found, _counts(facts), docs)
    except Exception as error:
        # A plugin says so, whatever it is: a traceback would count as a warning.
        code, lines = nagios.UNKNOWN, [nagios.unknown(f"{type(error).__name__}: {error}")]
    click.echo("\n".join(lines))
    click.get_current_context().exit(code)


async def _look(session: Session, interval: float) -> Facts:
    # Daemons of the release before have no function that reads journals.
    functions = {name: own for name, own in session.functions.items() if name != "read"}
    facts = Facts(interval, functions)
    facts.first, _ = await session.queues()
    if facts.first:
        asking = asyncio.ensure_future(_ask_daemons(session, facts))
        await asyncio.sleep(interval)
        await asking
    facts.second, faults = await session.queues()
    facts.faults = {server: str(fault) for server, fault in faults.items()}
    await asyncio.gather(
        *(_ask_version(session, facts, server) for server in facts.second),
        *(_ask_support(session, facts, server) for server in facts.second),
        *(_ask_workers(session, facts, server) for server in facts.second),
        *(_try_functions(session, facts, server) for server in facts.second),
    )
    return facts


async def _ask_version(session: Session, facts: Facts, server: Address) -> None:
    try:
        facts.versions[server] = await admin.version(server, session.wire)
    except errors.ServerLost:
        # gear's own server has no such command; a server that is gone fails again here.
        try:
            await admin.queues(server, session.wire)
        except errors.ServerLost as fault:
            facts.faults[server] = str(fault)
        else:
            facts.versionless.append(server)
        return
    await _try_gearmand(session, facts, server)


async def _try_gearmand(session: Session, facts: Facts, server: Address) -> None:
    text = facts.versions[server]
    if text.startswith("gear "):
        # gear's own server promises less, and has no options.
        return
    # Unknown if it was built outside its git repository, or from one without tags.
    version = gearmand_version(text)
    try:
        deaths = await probes.deaths_until_dropped(server, session.wire)
        if deaths is not None:
            facts.dropping[server] = deaths
        if version is None:
            is_turning = await probes.takes_turns(server, session.wire)
        else:
            # One that is older may have been started with --round-robin.
            is_turning = version >= TURNING_GEARMAND
        if is_turning:
            facts.turning.add(server)
    except errors.ServerLost:
        # It answers other questions; if not, these say so.
        return


async def _ask_support(session: Session, facts: Facts, server: Address) -> None:
    try:
        if not await admin.gives_jobs(server, session.wire):
            facts.unsupported.append(server)
    except errors.ServerLost as fault:
        facts.faults[server] = str(fault)


async def _ask_workers(session: Session, facts: Facts, server: Address) -> None:
    try:
        connections = await admin.workers(server, session.wire)
    except errors.ServerLost as fault:
        facts.faults[server] = str(fault)
        return
    facts.connections += connections


async def _try_functions(session: Session, facts: Facts, server: Address) -> None:
    """Submit an empty request to each function that is served, which the daemon refuses."""
    for function in facts.functions.values():
        state = facts.second[server].get(function)
        if state is None or not state.workers:
            continue
        try:
            if not await admin.takes_jobs(server, session.wire, function):
                facts.refusing.setdefault(function, []).append(server)
        except errors.ServerLost:
            # Other questions find out why.
            return


async def _ask_daemons(session: Session, facts: Facts) -> None:
    subscriptions = defaultdict(list)
    try:
        facts.status = await session.status()
        facts.daemons = await session.daemons()
        answers = await session.statuses(facts.status, facts.daemons, facts.first)
        facts.statuses = told(answers)
        for row in await session.topics():
            if row.topic != facts.status.matchmaking_topic:
                for subscriber in await session.subscribers(row.topic):
                    subscriptions[subscriber.queue].append((row.topic, subscriber.client_id))
                    if subscriber.full:
                        facts.full.add(subscriber.queue)
        facts.subscriptions = subscriptions
        facts.ended = await _ended(session)
    except errors.GearhornError as error:
        facts.query_fault = error.code, str(error)


async def _ended(session: Session) -> dict[str, tuple[str, str]]:
    try:
        return {row.queue: (row.topic, row.client_id) for row in await session.ended()}
    except errors.InvalidQuery:
        # A daemon of an older release knows of none.
        return {}


def _counts(facts: Facts) -> dict[str, int]:
    held = [pair for pairs in (facts.subscriptions or {}).values() for pair in pairs]
    return {
        "servers": len(facts.second),
        "daemons": len(facts.daemons or ()),
        "topics": len({topic for topic, _ in held}),
        "subscribers": len(held),
    }


def _show(facts: Facts, found: list[Finding], docs: str) -> None:
    for finding in found:
        click.echo(f"{finding.level.upper():8} {printable(finding.text)}")
        click.echo(f"{'':8} {printable(finding.advice)}")
        click.echo(f"{'':8} See {printable(finding.link(docs))}")
    counts = _counts(facts)
    seen = ", ".join(plural(number, what[:-1]) for what, number in counts.items())
    levels = Counter(finding.level for finding in found)
    verdict = ", ".join(plural(levels[level], level) for level in LEVELS)
    click.echo(f"Seen: {seen}. Found: {verdict}.")


COMMANDS = (doctor,)
