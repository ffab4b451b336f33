# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The choice of a job server for each queue."""

from __future__ import annotations

import itertools

from gearhorn.daemon.placement import Share, divide, without_in_steps
from gearhorn.tasks import at_once
from gearhorn.wire.address import Address

SERVERS = [Address("one.example", 4730), Address("two.example", 4730), Address("2001:db8::3", 4731)]
NAMES = [f"c{number}" for number in range(3000)]


def share_of(client_ids: list[str]) -> Share:
    return Share([f"t_{name}".encode() for name in client_ids], client_ids, None)


def owners(client_ids: list[str], servers: list[Address]) -> dict[str, Address]:
    placed = divide(share_of(client_ids), servers)
    return {name: server for server, share in placed.items() for name in share.client_ids}


def test_a_queue_has_one_server_whatever_else_there_is() -> None:
    expected = owners(NAMES, SERVERS)
    assert expected.keys() == set(NAMES)
    for order in itertools.permutations(SERVERS):
        assert owners(NAMES, list(order)) == expected
    assert owners(NAMES[::-7], SERVERS) == {name: expected[name] for name in NAMES[::-7]}
    for name in NAMES[:20]:
        assert owners([name], SERVERS) == {name: expected[name]}


def test_the_choice_stays_as_it_was_in_earlier_releases() -> None:
    # Daemons of two releases run side by side during an upgrade.
    servers = [Address("a", 1), Address("b", 2)]
    found = "".join(owners([name], servers)[name].host for name in NAMES[:12])
    assert found == "aabbabaaabba"


def test_every_server_gets_its_part() -> None:
    found = list(owners(NAMES, SERVERS).values())
    assert all(900 < found.count(server) < 1100 for server in SERVERS)


def test_when_a_server_goes_only_its_own_queues_move() -> None:
    before = owners(NAMES, SERVERS)
    for gone in SERVERS:
        left = [server for server in SERVERS if server != gone]
        after = owners(NAMES, left)
        assert {name for name in NAMES if after[name] != before[name]} == {
            name for name, server in before.items() if server == gone
        }
        # And they are divided among those that are left.
        assert {after[name] for name, server in before.items() if server == gone} == set(left)


def test_what_belongs_to_a_queue_goes_with_it() -> None:
    groups = [number % 7 for number in range(len(NAMES))]
    whole = share_of(NAMES)._replace(groups=groups)
    for share in divide(whole, SERVERS).values():
        assert [queue.decode() for queue in share.queues] == [f"t_{c}" for c in share.client_ids]
        assert share.groups == [groups[int(client_id[1:])] for client_id in share.client_ids]


def test_one_server_gets_all_as_it_is() -> None:
    share = Share([b"t_a", b"t_b"], ["a", "b"], None)
    assert divide(share, SERVERS[:1]) == {SERVERS[0]: share}
    assert all(part.groups is None for part in divide(share, SERVERS).values())


def test_what_is_left_of_a_share() -> None:
    share = Share([b"t_a", b"t_b"], ["a", "b"], [0, 1])
    assert share.after(1) == Share([b"t_b"], ["b"], [1])
    assert share.after(2) == Share([], [], [])
    assert share._replace(groups=None).after(1) == Share([b"t_b"], ["b"], None)


def test_a_share_without_some_of_its_queues() -> None:
    share = Share([b"t_a", b"t_b", b"t_c", b"t_d"], ["a", "b", "c", "d"], [0, 0, 1, 1])

    def left(share: Share, *queues: bytes) -> tuple[Share, list[str]]:
        kept, names, skipped = at_once(without_in_steps(share, queues))
        assert skipped == 0
        return kept, list(names)

    assert left(share, b"t_a", b"t_c", b"t_other") == (
        Share([b"t_b", b"t_d"], ["b", "d"], [0, 1]),
        ["a", "c"],
    )
    assert left(share)[0] is share
    assert left(share, *share.queues) == (Share([], [], []), ["a", "b", "c", "d"])
    assert left(share._replace(groups=None), b"t_d")[0].client_ids == ["a", "b", "c"]


def test_queues_that_are_left_out_without_a_failure_are_counted_and_not_named() -> None:
    share = Share([b"t_a", b"t_b", b"t_c"], ["a", "b", "c"], None)
    found = at_once(without_in_steps(share, [b"t_a", b"t_c"], lambda client_id: client_id == "c"))
    assert found == (Share([b"t_b"], ["b"], None), ["a"], 1)
    found = at_once(without_in_steps(share, share.queues, lambda client_id: True))
    assert found == (Share([], [], None), [], 3)
