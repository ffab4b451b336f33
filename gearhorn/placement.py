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
"""Which job server a queue belongs to.

The highest by rendezvous hash of the queue's name among the servers that are
connected: so all daemons that see the same servers, under the same names,
send a queue's copies to the same one, where they stay in order and coalesce;
and when a server goes, only its own queues move.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from gearhorn.subscribers import MemberList
from gearhorn.wire.servers import Server

C = TypeVar("C")


class Share(NamedTuple):
    """The queues of one server, and what belongs to each."""

    queues: Sequence[bytes]
    client_ids: Sequence[str]
    groups: Sequence[int] | None


def divide(share: Share, servers: Sequence[Server]) -> dict[Server, Share]:
    """Give each queue of ``share`` to its server."""
    if len(servers) == 1:
        return {servers[0]: share}
    seeds = [(server, blake2b(str(server).encode(), digest_size=8)) for server in servers]
    chosen: dict[Server, list[int]] = {}
    for index, queue in enumerate(share.queues):
        best = b""
        winner = servers[0]
        for server, seed in seeds:
            score = seed.copy()
            score.update(queue)
            digest = score.digest()
            if digest > best:
                best = digest
                winner = server
        chosen.setdefault(winner, []).append(index)
    return {
        server: Share(
            [share.queues[i] for i in indexes],
            [share.client_ids[i] for i in indexes],
            None if share.groups is None else [share.groups[i] for i in indexes],
        )
        for server, indexes in chosen.items()
    }


def place(members: MemberList, servers: Mapping[Server, C]) -> Mapping[Server, Share]:
    """The shares of ``servers`` in a list, worked out once for the list."""
    key = tuple(servers)
    placed = members.placement
    if placed is None or placed[0] != key:
        share = Share(members.queues, members.client_ids, members.groups)
        placed = members.placement = (key, divide(share, sorted(servers, key=str)))
    return placed[1]
