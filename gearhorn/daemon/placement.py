# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The placement of queues on job servers.

A queue belongs to the connected server that is highest by rendezvous hash of its
name. So all daemons that see the same servers, under the same names, send a queue's
copies to the same server, where they stay in order and coalesce. When a server goes,
only its own queues move.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from hashlib import blake2b
from itertools import compress
from operator import not_
from typing import NamedTuple

from gearhorn.messages import MAX_LISTED_FAILURES
from gearhorn.tasks import Steps, at_once
from gearhorn.wire.address import Address

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
        return self.piece(count, None)

    def piece(self, start: int, stop: int | None) -> "Share":
        """Return a piece of the share."""
        rest = slice(start, stop)
        groups = None if self.groups is None else self.groups[rest]
        return Share(self.queues[rest], self.client_ids[rest], groups)


def without_in_steps(
    share: Share, queues: Container[bytes], skipping: Callable[[str], bool] | None = None
) -> Steps[tuple[Share, Sequence[str], int]]:
    """Return a share without some queues, the client_ids of the first, and how many are skipped.

    :param skipping: returns true of a client_id that is skipped, and not named.
    """
    kept, client_ids, names = list[bytes](), list[str](), list[str]()
    skipped = 0
    groups: list[int] | None = None if share.groups is None else []
    for start in range(0, len(share.queues), _PIECE):
        if start:
            yield
        queues_here, client_ids_here, groups_here = share.piece(start, start + _PIECE)
        keep = [queue not in queues for queue in queues_here]
        if skipping is not None:
            left_out = list(compress(client_ids_here, map(not_, keep)))
            failing = [client_id for client_id in left_out if not skipping(client_id)]
            skipped += len(left_out) - len(failing)
            names += failing
        elif len(names) < MAX_LISTED_FAILURES:
            names += compress(client_ids_here, map(not_, keep))
        kept += compress(queues_here, keep)
        client_ids += compress(client_ids_here, keep)
        if groups is not None:
            groups += compress(groups_here or (), keep)
    left = Share(kept, client_ids, groups) if len(kept) < len(share.queues) else share
    return left, names[:MAX_LISTED_FAILURES], skipped


def server_of(queue: bytes, servers: Sequence[Address]) -> Address:
    """Return the server to which one queue belongs, of at least one."""
    (server,) = divide(Share((queue,), ("",), None), servers)
    return server


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
