# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The checks of ``gearhorn doctor`` on servers, store and daemons."""

import re
import shlex
from collections.abc import Iterator

from gearhorn.cmd.cli import findings
from gearhorn.cmd.cli.depth_checks import check_depths
from gearhorn.cmd.cli.facts import Facts, function_names
from gearhorn.cmd.cli.findings import Finding
from gearhorn.cmd.cli.journal_checks import check_journals
from gearhorn.cmd.cli.output import listed, seconds
from gearhorn.cmd.cli.queue_checks import check_queues
from gearhorn.cmd.cli.session import total
from gearhorn.cmd.cli.store_checks import check_stores, is_a_mark
from gearhorn.daemon.leases import Leases
from gearhorn.daemon.trust.agreement import LIMITS
from gearhorn.daemon.upkeep import RETIRE_ATTEMPTS
from gearhorn.messages import DaemonRow, StatusRow, queue_name
from gearhorn.service import advice

TESTED_GEARMAND = (1, 1, 20)
"""The oldest job server that gearhorn is tested with."""

TURNING_GEARMAND = (2, 0, 0)
"""The first that always serves the functions of a connection in turn."""

_TESTED = ".".join(map(str, TESTED_GEARMAND))


def check(facts: Facts) -> list[Finding]:
    """Return all findings, worst first."""
    return findings.worst_first(
        [
            *_servers(facts),
            *_functions(facts),
            *_store(facts),
            *check_stores(facts),
            *check_journals(facts),
            *_daemons(facts),
            *check_queues(facts),
            *check_depths(facts),
        ]
    )


def _servers(facts: Facts) -> Iterator[Finding]:
    for server, reason in facts.faults.items():
        yield Finding(
            findings.SERVER,
            str(server),
            reason,
            "Start it, or correct --server, the TLS options and firewalls.",
        )
    for server in facts.unsupported:
        yield Finding(
            findings.SERVER_UNSUPPORTED,
            str(server),
            f"job server {server} does not know GRAB_JOB_UNIQ, so gearhorn cannot use it",
            f"Use gearmand {_TESTED} or later.",
        )
    for server, text in facts.versions.items():
        version = gearmand_version(text)
        if version is not None and version < TESTED_GEARMAND:
            yield Finding(
                findings.SERVER_VERSION,
                str(server),
                f"job server {server} is of version {text}; gearhorn is tested with {_TESTED}",
                "Consider a newer gearmand.",
            )
    for server in facts.versionless:
        yield Finding(
            findings.SERVER_VERSION,
            str(server),
            f"job server {server} works, but does not say its version; it is no gearmand",
            "It may lack what gearhorn relies on: in production use gearmand.",
        )
    for server, deaths in facts.dropping.items():
        dead = "its worker has died" if deaths == 1 else f"{deaths} of its workers have died"
        yield Finding(
            findings.SERVER_DROPS,
            str(server),
            f"job server {server} drops a job when {dead}: messages are lost",
            "Start it without --job-retries: it then gives the job to another worker, always.",
        )
    yield from _options(facts)


def gearmand_version(text: str) -> tuple[int, ...] | None:
    """Return the numbers of a gearmand's version, or ``None`` if there are none."""
    # Other job servers put a name before them.
    numbers = re.match(r"(\d+)\.(\d+)\.?(\d*)", text)
    return tuple(int(number or 0) for number in numbers.groups()) if numbers else None


def _options(facts: Facts) -> Iterator[Finding]:
    fixed = [server for server in facts.versions if server not in facts.turning]
    turning = [server for server in facts.versions if server in facts.turning]
    for servers, option, use in (
        (fixed, "--round-robin, ", "--round-robin keeps a busy function from starving others, "),
        (turning, "", ""),
    ):
        if servers:
            names = listed(map(str, servers))
            subject = names if fixed and turning else "a job server"
            yield Finding(
                findings.SERVER_OPTIONS,
                names,
                f"whether {subject} runs with {option}--keepalive, a persistent queue and a large "
                "--hashtable-buckets cannot be seen from outside",
                f"Look at how gearmand is started: {use}--keepalive gives back the jobs of hosts "
                "that vanished, a persistent queue keeps background messages over a restart.",
            )


def _functions(facts: Facts) -> Iterator[Finding]:
    for server, states in facts.second.items():
        missing = [f for f in facts.functions.values() if f not in states or not states[f].workers]
        if missing:
            yield Finding(
                findings.FUNCTION,
                str(server),
                f"no daemon serves {listed(missing, 6)} on {server}",
                "Start gearhorn-fanout with this server in [gearman] servers, or compare "
                "[functions] of its configuration with --function.",
            )


_STORE_ADVICE = {
    "store_away": "Check that it runs and can be reached from the daemons; of a Redis Cluster, "
    "that every slot is served: redis-cli --cluster check.",
    "store_full": "Give it memory or disk, or make it writable: it takes no changes.",
    "store_misconfigured": "Correct [store] url and its password, or the store itself.",
    "store_incomplete": "Keys are gone from it and cannot be rebuilt. Restore its data, or accept "
    "what is left with gearhorn-fanout --config FILE --accept-store; set maxmemory-policy "
    "noeviction.",
    "store_replaced": "It was emptied or is another one. Restore its data; or accept it as it is, "
    "with gearhorn-fanout --config FILE --accept-store, and subscribers register anew.",
}


def _store(facts: Facts) -> Iterator[Finding]:
    if facts.status is not None and facts.status.store_evicts is not None:
        policy = facts.status.store_evicts
        yield Finding(
            findings.STORE_EVICTS,
            policy,
            f"the Redis of the daemons throws away any key when its memory is full ({policy})",
            advice.EVICTS,
        )
    code = None if facts.status is None else facts.status.store_fault
    text = f"the store of the daemons does not do what it is asked: {code}"
    if code is None and facts.query_fault is not None:
        code, text = facts.query_fault
    if code is None:
        return
    if code in _STORE_ADVICE:
        remedy = f"{_STORE_ADVICE[code]} Jobs wait until then; the daemons' logs say more."
        yield Finding(findings.STORE, code, text, remedy, advice.code(code))
    elif code != "no_daemon":
        yield Finding(
            findings.QUERY,
            code,
            f"the daemons could not be asked: {text}",
            "Look at their logs; one that is frozen or overloaded does not answer.",
        )


def _daemons(facts: Facts) -> Iterator[Finding]:
    status = facts.status
    if status is None:
        return
    away = [server for server, connected in status.servers.items() if not connected]
    if away:
        yield Finding(
            findings.DAEMON_SERVERS,
            status.worker_id,
            f"daemon {status.worker_id} has no connection to {listed(away)}",
            advice.AWAY,
        )
    if facts.daemons is None:
        return
    for daemon in facts.daemons:
        yield from _differing(daemon)
        if daemon.age is None:
            yield _of_unknown_age(daemon, status)
        elif daemon.age > status.daemon_ttl:
            yield _late(daemon, daemon.age, status)
        else:
            yield from _unreachable(daemon, status, facts)
    prefix = queue_name(status.matchmaking_topic, "")
    known = {prefix + daemon.worker_id for daemon in facts.daemons}
    for function in function_names(facts):
        if is_a_mark(function, status.matchmaking_topic):
            continue
        if function.startswith(prefix) and function not in known:
            yield from _without_entry(function, function.removeprefix(prefix), status, facts)


def _differing(daemon: DaemonRow) -> Iterator[Finding]:
    limits = [option for option in daemon.differs if option.startswith(LIMITS)]
    others = [option for option in daemon.differs if option not in limits]
    for check, options, remedy in (
        (findings.DAEMON_SETTINGS, others, advice.SETTINGS),
        (findings.DAEMON_LIMITS, limits, advice.LIMITS),
    ):
        if options:
            yield Finding(
                check,
                daemon.worker_id,
                f"daemon {daemon.worker_id} shares a store with one that differs in "
                f"{listed(options)}",
                remedy,
            )


def _of_unknown_age(daemon: DaemonRow, status: StatusRow) -> Finding:
    return Finding(
        findings.DAEMON_LATE,
        daemon.worker_id,
        f"when daemon {daemon.worker_id} was last seen is unknown: its entry in the store is not "
        "whole",
        "If it lives, it makes its entry anew within a third of [matchmaking] daemon_ttl "
        f"({seconds(status.daemon_ttl)}). Redis may have evicted keys: see maxmemory-policy.",
    )


def _late(daemon: DaemonRow, age: float, status: StatusRow) -> Finding:
    name = daemon.worker_id
    return Finding(
        findings.DAEMON_LATE,
        name,
        f"daemon {name} was last seen {seconds(age)} ago: it is dead or cut off",
        f"The others remove it {_removal(status)} To remove it now: gearhorn remove-daemon "
        f"{shlex.quote(name)}",
    )


def _unreachable(daemon: DaemonRow, status: StatusRow, facts: Facts) -> Iterator[Finding]:
    name = daemon.worker_id
    function = queue_name(status.matchmaking_topic, name)
    without = [
        str(server)
        for server, states in facts.second.items()
        if function not in states or not states[function].workers
    ]
    if not without or daemon.barred:
        return
    yield Finding(
        findings.DAEMON_UNREACHABLE,
        name,
        f"daemon {name} is not connected to {listed(without)}",
        "If it lives, check [gearman] servers of its configuration; all daemons need the same "
        f"list. If it was killed, the others remove it {_removal(status)} To remove it now: "
        f"gearhorn remove-daemon {shlex.quote(name)}",
    )


def _removal(status: StatusRow) -> str:
    latest = Leases(status.cache_ttl, status.daemon_ttl).latest_removal
    return (
        f"at most {seconds(latest)} after it was last seen or they have started, by [matchmaking] "
        "daemon_ttl and their looks; registrations wait until then."
    )


def _without_entry(function: str, name: str, status: StatusRow, facts: Facts) -> Iterator[Finding]:
    state = total(facts.second, function)
    if state.workers and not total(facts.first, function).workers:
        # It started between the two looks, after the store was asked.
        return
    if state.workers:
        yield Finding(
            findings.DAEMON_UNKNOWN,
            name,
            f"daemon {name} works on these job servers, but is not in the store of the others",
            "Give all daemons the same [store] url and key_prefix, or other job servers "
            "or function names.",
        )
        return
    servers = [server for server in facts.second if function in facts.second[server]]
    interval = Leases(status.cache_ttl, status.daemon_ttl).renewal_interval
    yield Finding(
        findings.DAEMON_LEFTOVER,
        name,
        f"a function of the departed daemon {name} is left on {listed(map(str, servers))}",
        "It does no harm. A daemon that removed the departed one's entry drops it in "
        f"{seconds(RETIRE_ATTEMPTS * interval)} of that. If it stays: "
        f"gearadmin --host={servers[0].host} --port={servers[0].port} "
        f"--drop-function={shlex.quote(function)}",
    )
