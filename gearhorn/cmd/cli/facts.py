# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The facts that ``gearhorn doctor`` collects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gearhorn.cmd.cli.session import Queues, total
from gearhorn.messages import DaemonRow, StatusRow
from gearhorn.wire.address import Address


@dataclass
class Facts:
    """The state of servers, daemons and queues at two looks.

    :param interval: the seconds between the two looks.
    :param faults: the servers that did not answer, and why.
    :param unsupported: the servers that do not know GRAB_JOB_UNIQ.
    :param versions: what the other servers tell: "", or the id of a commit, for a gearmand
        that was built outside its git repository, or from one without tags.
    :param versionless: the servers that work, but do not tell their version.
    :param turning: the servers that always serve the functions of a connection in turn.
    :param dropping: the servers that drop a job, and after how many deaths of its workers.
    :param first: the functions of each server that answered.
    :param second: the same, ``interval`` seconds later.
    :param connections: the name of each connection to a server, and the functions that it
        does, as :func:`gearhorn.wire.admin.workers` returns them.
    :param subscriptions: the topic and client_id of each queue; more than one only if
        something is wrong.
    """

    interval: float
    functions: Mapping[str, str]
    faults: dict[Address, str] = field(default_factory=dict)
    versions: dict[Address, str] = field(default_factory=dict)
    unsupported: list[Address] = field(default_factory=list)
    versionless: list[Address] = field(default_factory=list)
    turning: set[Address] = field(default_factory=set)
    dropping: dict[Address, int] = field(default_factory=dict)
    first: Queues = field(default_factory=dict)
    second: Queues = field(default_factory=dict)
    connections: list[tuple[str, str]] = field(default_factory=list)
    status: StatusRow | None = None
    """That of the daemon which answered."""
    statuses: Mapping[str, StatusRow] = field(default_factory=dict)
    """That of each daemon that tells it in a function of its own, by worker id."""
    query_fault: tuple[str, str] | None = None
    """The code and the text of the error with which a query ended."""
    daemons: Sequence[DaemonRow] | None = None
    subscriptions: Mapping[str, Sequence[tuple[str, str]]] | None = None
    ended: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """The topic and client_id of each queue whose subscription has ended."""
    full: set[str] = field(default_factory=set)
    """The queues that the daemon which answered leaves out."""
    refusing: dict[str, list[Address]] = field(default_factory=dict)
    """The servers that take no more jobs of a function of the daemons', by function."""


def function_names(facts: Facts) -> list[str]:
    """Return the names of all functions on all servers."""
    return sorted({name for states in facts.second.values() for name in states})


def workers_of(facts: Facts, function: str) -> list[str]:
    """Return the names of those that do ``function``."""
    # Names of functions may hold the spaces that separate them.
    return sorted({name for name, all_ in facts.connections if f" {function} " in f" {all_} "})


def jobs_waiting(queues: Queues, function: str) -> int:
    """Return the number of jobs that no worker has taken, on all servers together."""
    state = total(queues, function)
    return state.total - state.running


def grows(facts: Facts, function: str) -> bool:
    """Return true if jobs waited at the first look, and more at the second."""
    return 0 < jobs_waiting(facts.first, function) < jobs_waiting(facts.second, function)
