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

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from gearhorn.subscribers import MemberList
from gearhorn.wire.servers import Server

C = TypeVar("C")

_PIECE = 1_000
"""How many queues are given out at a time: about two milliseconds of work."""


class Share(NamedTuple):
    """The queues of one server, and what belongs to each."""

    queues: Sequence[bytes]
    client_ids: Sequence[str]
    groups: Sequence[int] | None


def divide(share: Share, servers: Sequence[Server]) -> Mapping[Server, Share]:
    """Give each queue of ``share`` to its server."""
    if len(servers) == 1:
        return {servers[0]: share}
    parts: dict[Server, Share] = {}
    for _ in _deal(share, servers, parts):
        pass
    return parts


def _deal(share: Share, servers: Sequence[Server], parts: dict[Server, Share]) -> Iterator[None]:
    """Fill ``parts`` with what each server gets; yields after each piece of the work."""
    seeds = [(server, blake2b(str(server).encode(), digest_size=8)) for server in servers]
    dealt: dict[Server, tuple[list[bytes], list[str], list[int]]] = {}
    groups = [0] * len(share.queues) if share.groups is None else share.groups
    for start in range(0, len(share.queues), _PIECE):
        for index, queue in enumerate(share.queues[start : start + _PIECE], start):
            best = b""
            winner = servers[0]
            for server, seed in seeds:
                score = seed.copy()
                score.update(queue)
                digest = score.digest()
                if digest > best:
                    best = digest
                    winner = server
            its_queues, its_client_ids, its_groups = dealt.setdefault(winner, ([], [], []))
            its_queues.append(queue)
            its_client_ids.append(share.client_ids[index])
            its_groups.append(groups[index])
        yield
    for server, (its_queues, its_client_ids, its_groups) in dealt.items():
        parts[server] = Share(
            its_queues, its_client_ids, None if share.groups is None else its_groups
        )


def whole(members: MemberList) -> Share:
    """All queues of a list."""
    return Share(members.queues, members.client_ids, members.groups)


def place(members: MemberList, servers: Mapping[Server, C]) -> Mapping[Server, Share]:
    """The shares of ``servers`` in a list, worked out once for the list."""
    key = tuple(servers)
    placed = members.placement
    if placed is None or placed[0] != key:
        placed = members.placement = (key, divide(whole(members), sorted(servers, key=str)))
    return placed[1]


def place_in_pieces(members: MemberList, servers: Mapping[Server, C]) -> Iterator[None]:
    """Do the work of :func:`place` beforehand; yields after each piece of it."""
    if len(servers) > 1 and len(members.queues) > _PIECE:
        key = tuple(servers)
        parts: dict[Server, Share] = {}
        yield from _deal(whole(members), sorted(servers, key=str), parts)
        members.placement = (key, parts)
