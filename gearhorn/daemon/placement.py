# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The placement of queues on job servers.

A queue belongs to the connected server that is highest by rendezvous hash of its
name. So all daemons that see the same servers, under the same names, send a queue's
copies to the same server, where they stay in order and coalesce. When a server goes,
only its own queues move.
"""

from collections.abc import Container, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from gearhorn.tasks import Steps, at_once
from gearhorn.wire.address import Address

T = TypeVar("T")

_PIECE = 1_000
"""The queues that are given out at a time: about two milliseconds of work."""


class Share(NamedTuple):
    """The queues of one server, with the client_id and the group of each."""

    queues: Sequence[bytes]
    client_ids: Sequence[str]
    groups: Sequence[int] | None
    """The group of copies of each queue; ``None`` if there is only one."""

    def after(self, count: int) -> "Share":
        """Return the share without its first ``count`` queues."""
        rest = slice(count, None)
        groups = None if self.groups is None else self.groups[rest]
        return Share(self.queues[rest], self.client_ids[rest], groups)

    def places(self, queues: Container[bytes]) -> Sequence[int]:
        """Return where some queues stand."""
        return [index for index, queue in enumerate(self.queues) if queue in queues]

    def without(self, places: Sequence[int]) -> "Share":
        """Return the share without the queues that stand there."""
        if not places:
            return self
        groups = None if self.groups is None else _without(self.groups, places)
        return Share(_without(self.queues, places), _without(self.client_ids, places), groups)


def _without(items: Sequence[T], places: Sequence[int]) -> Sequence[T]:
    pieces = zip((0, *(place + 1 for place in places)), (*places, len(items)), strict=True)
    left: list[T] = []
    for start, stop in pieces:
        left += items[start:stop]
    return left


def divide(share: Share, servers: Sequence[Address]) -> Mapping[Address, Share]:
    """Return the part of ``share`` that belongs to each server."""
    return at_once(divide_in_steps(share, servers))


def divide_in_steps(share: Share, servers: Sequence[Address]) -> Steps[Mapping[Address, Share]]:
    """Do the work of :func:`divide` in steps."""
    if len(servers) == 1:
        return {servers[0]: share}
    seeds = [(server, blake2b(str(server).encode(), digest_size=8)) for server in servers]
    dealt: dict[Address, tuple[list[bytes], list[str], list[int]]] = {}
    groups = [0] * len(share.queues) if share.groups is None else share.groups
    for start in range(0, len(share.queues), _PIECE):
        if start:
            yield
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
    return {
        server: Share(its_queues, its_client_ids, None if share.groups is None else its_groups)
        for server, (its_queues, its_client_ids, its_groups) in dealt.items()
    }
