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
"""What doctor concludes about servers, functions, the store and daemons."""

import re
import shlex
from collections.abc import Iterator

from gearhorn.cmd.cli.facts import Facts, Finding, function_names
from gearhorn.cmd.cli.output import listed, seconds
from gearhorn.cmd.cli.queue_checks import check_queues
from gearhorn.cmd.cli.session import total
from gearhorn.messages import queue_name
from gearhorn.upkeep import RETIRE_ATTEMPTS

TESTED_GEARMAND = (1, 1, 20)
"""The oldest job server that gearhorn is tested with."""

_REMOVAL_TTLS = 5 / 3
"""After how many ``daemon_ttl`` a killed daemon is removed at the latest: the
others look every third of it, so they notice its last renewal and its end late."""


def findings(facts: Facts) -> list[Finding]:
    """All that is found, what is worst first."""
    found = [
        *_servers(facts),
        *_functions(facts),
        *_store(facts),
        *_daemons(facts),
        *check_queues(facts),
    ]
    order = ("error", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.level))


def _servers(facts: Facts) -> Iterator[Finding]:
    for server, reason in facts.faults.items():
        yield Finding(
            "error",
            "server",
            str(server),
            reason,
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
    for server in facts.versionless:
        yield Finding(
            "note",
            "server-version",
            str(server),
            f"job server {server} works, but does not say its version; it is no gearmand",
            "It may lack what gearhorn relies on: in production use gearmand.",
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
                "The others remove it within another [matchmaking] daemon_ttl "
                f"({seconds(status.daemon_ttl)}); registrations wait until then. To remove it now: "
                f"gearhorn remove-daemon {shlex.quote(name)}",
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
                "If it was killed, the others remove it within "
                f"{seconds(_REMOVAL_TTLS * status.daemon_ttl - daemon.age)}, by [matchmaking] "
                "daemon_ttl; registrations wait until then. To remove it now: gearhorn "
                f"remove-daemon {shlex.quote(name)} - If it lives, check [gearman] servers of "
                "its configuration; all daemons need the same list.",
            )
    known = {prefix + daemon.worker_id for daemon in facts.daemons}
    for function in function_names(facts):
        if function.startswith(prefix) and function not in known:
            state = total(facts.second, function)
            if state.workers and not total(facts.first, function).workers:
                # It started between the two looks, after the others' store was asked.
                continue
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
                servers = [server for server in facts.second if function in facts.second[server]]
                yield Finding(
                    "note",
                    "daemon-leftover",
                    function.removeprefix(prefix),
                    f"a function of the departed daemon {function.removeprefix(prefix)} is left "
                    f"on {listed(map(str, servers))}",
                    "It does no harm. A daemon that removed the departed one's entry drops it in "
                    f"{seconds(RETIRE_ATTEMPTS * status.daemon_ttl / 3)} of that. If it stays: "
                    f"gearadmin --host={servers[0].host} --port={servers[0].port} "
                    f"--drop-function={shlex.quote(function)}",
                )
