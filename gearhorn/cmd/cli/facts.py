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
"""What doctor saw, and the form of what it concludes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gearhorn.cmd.cli.session import total
from gearhorn.messages import DaemonRow, StatusRow
from gearhorn.wire.admin import QueueState
from gearhorn.wire.servers import Server

Queues = Mapping[Server, Mapping[str, QueueState]]

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
    :param versionless: servers that work, and do not say their version.
    :param subscriptions: who subscribes, by queue; more than one only if
        something is wrong.
    """

    interval: float
    functions: Mapping[str, str]
    faults: dict[Server, str] = field(default_factory=dict)
    versions: dict[Server, str] = field(default_factory=dict)
    versionless: list[Server] = field(default_factory=list)
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
