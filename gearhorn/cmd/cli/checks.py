# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""What doctor concludes from what it saw: each finding, and what to do about it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gearhorn.cmd.cli.output import listed, plural, seconds
from gearhorn.cmd.cli.session import total
from gearhorn.messages import DaemonRow, StatusRow, queue_name
from gearhorn.wire.admin import QueueState
from gearhorn.wire.servers import Server

Queues = Mapping[Server, Mapping[str, QueueState]]

TESTED_GEARMAND = (1, 1, 20)
"""The oldest job server that gearhorn is tested with."""

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something that an operator should know.

    :param check: which check found it, for scripts.
    :param subject: what it is about: a server, function, daemon or queue.
    """

    level: Level
    check: str
    subject: str
    text: str
    advice: str


@dataclass
class Facts:
    """What was seen.

    :param first: the functions of each server that answered.
    :param second: the same, ``interval`` seconds later.
    :param subscriptions: who subscribes, by queue; more than one only if
        something is wrong.
    """

    interval: float
    functions: Mapping[str, str]
    faults: dict[Server, str] = field(default_factory=dict)
    versions: dict[Server, str] = field(default_factory=dict)
    first: Queues = field(default_factory=dict)
    second: Queues = field(default_factory=dict)
    status: StatusRow | None = None
    query_fault: tuple[str, str] | None = None
    """The code and text of why a daemon did not answer what was asked."""
    daemons: Sequence[DaemonRow] | None = None
    subscriptions: Mapping[str, Sequence[tuple[str, str]]] | None = None


def findings(facts: Facts) -> list[Finding]:
    """All that is found, what is worst first."""
    found = [
        *_servers(facts),
        *_functions(facts),
        *_store(facts),
        *_daemons(facts),
        *_own_queues(facts),
        *_subscriber_queues(facts),
        *_other_queues(facts),
        *_collisions(facts),
    ]
    order = ("error", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.level))


def _servers(facts: Facts) -> Iterator[Finding]:
    for server, reason in facts.faults.items():
        yield Finding(
            "error",
            "server",
            str(server),
            f"{reason}",
            "Start it, or correct --server, the TLS options and firewalls.",
        )
    for server, text in facts.versions.items():
        numbers = re.match(r"(\d+)\.(\d+)\.?(\d*)", text)
        if numbers and tuple(int(n or 0) for n in numbers.groups()) < TESTED_GEARMAND:
            yield Finding(
                "note",
                "server-version",
                str(server),
                f"job server {server} is of version {text}; gearhorn is tested with "
                f"{'.'.join(map(str, TESTED_GEARMAND))}",
                "Consider a newer gearmand.",
            )
    if facts.versions:
        yield Finding(
            "note",
            "server-options",
            listed(map(str, facts.versions)),
            "whether a job server runs with --round-robin, --keepalive, a persistent queue and a "
            "large --hashtable-buckets cannot be seen from outside",
            "Look at how gearmand is started: --round-robin keeps a busy function from starving "
            "others, --keepalive gives back the jobs of hosts that vanished, a persistent queue "
            "keeps background messages over a restart.",
        )


def _functions(facts: Facts) -> Iterator[Finding]:
    for server, states in facts.second.items():
        missing = [f for f in facts.functions.values() if f not in states or not states[f].workers]
        if missing:
            yield Finding(
                "error",
                "function",
                str(server),
                f"no daemon serves {listed(missing, 6)} on {server}",
                "Start gearhorn-fanout with this server in [gearman] servers, or compare "
                "[functions] of its configuration with --function.",
            )


_STORE_ADVICE = {
    "store_away": "Check that it runs and can be reached from the daemons.",
    "store_full": "Give it memory or disk, or make it writable: it takes no changes.",
    "store_misconfigured": "Correct [store] url and its password, or the store itself.",
    "store_replaced": "It was emptied or is another one. Restore its data, or restart all "
    "daemons to accept it as it is; subscribers then register anew.",
}


def _store(facts: Facts) -> Iterator[Finding]:
    code = None if facts.status is None else facts.status.store_fault
    text = f"the store of the daemons does not do what it is asked: {code}"
    if code is None and facts.query_fault is not None:
        code, text = facts.query_fault
    if code is None:
        return
    if code in _STORE_ADVICE:
        advice = f"{_STORE_ADVICE[code]} Jobs wait until then; the daemons' logs say more."
        yield Finding("error", "store", code, text, advice)
    elif code != "no_daemon":
        yield Finding(
            "error",
            "query",
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
            "error",
            "daemon-servers",
            status.worker_id,
            f"daemon {status.worker_id} has no connection to {listed(away)}",
            "Start that job server, or correct [gearman] servers; all daemons need the same list.",
        )
    if facts.daemons is None:
        return
    prefix = queue_name(status.matchmaking_topic, "")
    for daemon in facts.daemons:
        name = daemon.worker_id
        if daemon.age > status.daemon_ttl:
            yield Finding(
                "warning",
                "daemon-late",
                name,
                f"daemon {name} was last seen {seconds(daemon.age)} ago: it is dead or cut off",
                "The others remove it within another [matchmaking] daemon_ttl. If it does not go, "
                "no daemon is alive; by hand: gearhorn remove-daemon.",
            )
            continue
        without = [
            str(server)
            for server, states in facts.second.items()
            if prefix + name not in states or not states[prefix + name].workers
        ]
        if without and not daemon.barred:
            yield Finding(
                "warning",
                "daemon-unreachable",
                name,
                f"daemon {name} is not connected to {listed(without)}",
                "If it died, it is removed soon. Else check [gearman] servers of its "
                "configuration; all daemons need the same list.",
            )
    known = {prefix + daemon.worker_id for daemon in facts.daemons}
    for function in _names(facts):
        if function.startswith(prefix) and function not in known:
            state = total(facts.second, function)
            if state.workers:
                yield Finding(
                    "error",
                    "daemon-unknown",
                    function.removeprefix(prefix),
                    f"daemon {function.removeprefix(prefix)} works on these job servers, but is "
                    "not in the store of the others",
                    "Give all daemons the same [store] url and key_prefix, or other job servers "
                    "or function names.",
                )
            else:
                yield Finding(
                    "note",
                    "daemon-leftover",
                    function.removeprefix(prefix),
                    f"a function of the departed daemon {function.removeprefix(prefix)} is left "
                    "on a job server",
                    "It is removed by another daemon if that saw the departed one go; it does "
                    "no harm.",
                )


def _own_queues(facts: Facts) -> Iterator[Finding]:
    for function in facts.functions.values():
        if _grows(facts, function):
            waiting = _waiting(facts.second, function)
            yield Finding(
                "warning",
                "backlog",
                function,
                f"the daemons do not keep up: {plural(waiting, 'job')} of {function} waiting, more "
                f"than {seconds(facts.interval)} ago",
                "They wait for the store or for receivers, or are too few: see their logs, start "
                "another, raise [fanout] max_in_flight.",
            )


def _subscriber_queues(facts: Facts) -> Iterator[Finding]:
    for queue in facts.subscriptions or ():
        state = total(facts.second, queue)
        waiting = _waiting(facts.second, queue)
        without = [
            str(server)
            for server, states in facts.second.items()
            if queue not in states or not states[queue].workers
        ]
        if not state.workers and waiting:
            growing = ", and more come" if _grows(facts, queue) else ""
            yield Finding(
                "warning",
                "queue-unread",
                queue,
                f"{plural(waiting, 'message')} waiting in {queue}, which no worker reads{growing}",
                "Start its receiver, or unregister it and purge the queue.",
            )
        elif _grows(facts, queue):
            yield Finding(
                "warning",
                "queue-grows",
                queue,
                f"{queue} grows: {plural(waiting, 'message')} waiting, "
                f"{waiting - _waiting(facts.first, queue)} more than {seconds(facts.interval)} ago",
                f"Too few read it, {plural(state.workers, 'worker')}: start more. If it shrinks "
                "at another look, it was a burst.",
            )
        if state.workers and without:
            yield Finding(
                "warning",
                "queue-half-read",
                queue,
                f"no worker reads {queue} on {listed(without)}",
                "Connect receivers to all job servers: each queue lives on one of them.",
            )


def _other_queues(facts: Facts) -> Iterator[Finding]:
    """Functions that are no subscriber's queue and no function of the daemons."""
    subscriptions = facts.subscriptions
    if facts.status is None or subscriptions is None:
        return
    own = {*facts.functions.values(), *facts.status.functions.values()}
    prefix = queue_name(facts.status.matchmaking_topic, "")
    topics = {queue_name(topic, "") for held in subscriptions.values() for topic, _ in held}
    for function in _names(facts):
        if function in subscriptions or function in own or function.startswith(prefix):
            continue
        state = total(facts.second, function)
        waiting = _waiting(facts.second, function)
        ours = any(function.startswith(topic) for topic in topics)
        if ours and state.workers:
            yield Finding(
                "warning",
                "queue-unregistered",
                function,
                f"a worker reads {function}, which looks like a subscriber's queue, but nobody is "
                "registered for it",
                "Register it, or end the worker: it gets no messages.",
            )
        elif waiting and not state.workers:
            yield Finding(
                "warning" if ours else "note",
                "queue-orphaned",
                function,
                f"{plural(waiting, 'job')} waiting in {function}, which no worker reads and nobody "
                "is registered for",
                "If it was a subscriber's queue, purge it; else it is another application's.",
            )


def _collisions(facts: Facts) -> Iterator[Finding]:
    if facts.status is None:
        return
    own = set(facts.status.functions.values())
    for queue, held in (facts.subscriptions or {}).items():
        pairs = listed(f"{client_id} of {topic}" for topic, client_id in held)
        if len(held) > 1:
            text = f"{pairs} share the queue {queue}: each gets only a part of the messages"
        elif queue in own:
            text = f"the queue of {pairs} is the daemons' own function {queue}"
        else:
            continue
        yield Finding(
            "error",
            "collision",
            queue,
            text,
            "Unregister it and register it under another client_id or topic.",
        )


def _names(facts: Facts) -> list[str]:
    """All functions on all servers."""
    return sorted({name for states in facts.second.values() for name in states})


def _waiting(queues: Queues, function: str) -> int:
    state = total(queues, function)
    return state.total - state.running


def _grows(facts: Facts, function: str) -> bool:
    """Whether more waited at the second look than at the first, which was not empty."""
    return 0 < _waiting(facts.first, function) < _waiting(facts.second, function)
