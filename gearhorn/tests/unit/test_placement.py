"""Which job server each queue belongs to."""

from __future__ import annotations

import itertools

import pytest

from gearhorn.placement import Share, divide, place, place_in_pieces
from gearhorn.subscribers import MemberList
from gearhorn.wire.servers import Server

SERVERS = [Server("one.example", 4730), Server("two.example", 4730), Server("2001:db8::3", 4731)]
NAMES = [f"c{number}" for number in range(3000)]


def owners(client_ids: list[str], servers: list[Server]) -> dict[str, Server]:
    members = MemberList("t", client_ids, 0.0)
    placed = place(members, dict.fromkeys(servers))
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
    servers = [Server("a", 1), Server("b", 2)]
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
    members = MemberList("t", NAMES, 0.0)
    assert members.groups is not None
    groups = dict(zip(members.client_ids, members.groups, strict=True))
    for share in place(members, dict.fromkeys(SERVERS)).values():
        assert [queue.decode() for queue in share.queues] == [f"t_{c}" for c in share.client_ids]
        assert share.groups == [groups[client_id] for client_id in share.client_ids]


def test_one_server_gets_all_as_it_is() -> None:
    share = Share([b"t_a", b"t_b"], ["a", "b"], None)
    assert divide(share, SERVERS[:1]) == {SERVERS[0]: share}
    assert all(part.groups is None for part in divide(share, SERVERS).values())


def test_the_places_of_a_list_are_worked_out_once_for_the_same_servers() -> None:
    members = MemberList("t", NAMES, 0.0)
    first = place(members, dict.fromkeys(SERVERS))
    assert place(members, dict.fromkeys(SERVERS)) is first
    fewer = place(members, dict.fromkeys(SERVERS[:2]))
    assert set(fewer) == set(SERVERS[:2])
    again = place(members, dict.fromkeys(SERVERS))
    assert again == first


def test_a_long_list_is_placed_in_pieces() -> None:
    members = MemberList("t", NAMES, 0.0)
    pieces = 0
    for _ in place_in_pieces(members, dict.fromkeys(SERVERS)):
        pieces += 1
        assert members.placement is None
    assert pieces == 3
    assert members.placement is not None
    _, parts = members.placement
    assert place(members, dict.fromkeys(SERVERS)) is parts
    assert parts == place(MemberList("t", NAMES, 0.0), dict.fromkeys(SERVERS))


@pytest.mark.parametrize(
    ("client_ids", "servers"), [(NAMES[:1000], SERVERS), (NAMES, SERVERS[:1]), (NAMES, [])]
)
def test_what_is_placed_at_once_is_left_for_then(
    client_ids: list[str], servers: list[Server]
) -> None:
    members = MemberList("t", client_ids, 0.0)
    assert list(place_in_pieces(members, dict.fromkeys(servers))) == []
    assert members.placement is None
