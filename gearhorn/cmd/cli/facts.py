# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What doctor saw, and the form of what it concludes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gearhorn.cmd.cli.session import total
from gearhorn.messages import DaemonRow, StatusRow
from gearhorn.wire.address import Address
from gearhorn.wire.admin import QueueState

Queues = Mapping[Address, Mapping[str, QueueState]]


@dataclass
class Facts:
    """What was seen.

    :param first: the functions of each server that answered.
    :param second: the same, ``interval`` seconds later.
    :param versionless: servers that work, and do not say their version.
    :param subscriptions: who subscribes, by queue; more than one only if
        something is wrong.
    """

    interval: float
    functions: Mapping[str, str]
    faults: dict[Address, str] = field(default_factory=dict)
    versions: dict[Address, str] = field(default_factory=dict)
    versionless: list[Address] = field(default_factory=list)
    first: Queues = field(default_factory=dict)
    second: Queues = field(default_factory=dict)
    status: StatusRow | None = None
    query_fault: tuple[str, str] | None = None
    """The code and text of why a daemon did not answer what was asked."""
    daemons: Sequence[DaemonRow] | None = None
    subscriptions: Mapping[str, Sequence[tuple[str, str]]] | None = None


def function_names(facts: Facts) -> list[str]:
    """All functions on all servers."""
    return sorted({name for states in facts.second.values() for name in states})


def jobs_waiting(queues: Queues, function: str) -> int:
    """How many jobs no worker has taken, on all servers together."""
    state = total(queues, function)
    return state.total - state.running


def grows(facts: Facts, function: str) -> bool:
    """Whether more waited at the second look than at the first, which was not empty."""
    return 0 < jobs_waiting(facts.first, function) < jobs_waiting(facts.second, function)
