# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A list of recipients: queues, groups, and each server's share."""

from __future__ import annotations

import json

import pytest

from gearhorn.daemon.placement import divide
from gearhorn.daemon.recipients import GROUP_COPIES, Recipients
from gearhorn.wire.address import Address

SERVERS = (Address("one.example", 4730), Address("two.example", 4730), Address("three", 4731))
NAMES = [f"c{number}" for number in range(3000)]


@pytest.mark.parametrize(
    ("subscribers", "groups"),
    [(0, 1), (1, 1), (500, 1), (501, 2), (1000, 2), (1001, 4), (2000, 4), (50_000, 128)],
)
def test_about_500_copies_share_a_unique(subscribers: int, groups: int) -> None:
    recipients = Recipients.of("t", [f"c{n}" for n in range(subscribers)], 0.0)
    assert recipients.group_count == groups
    if recipients.whole.groups is None:
        assert groups == 1
        return
    sizes = [recipients.whole.groups.count(group) for group in range(groups)]
    assert sum(sizes) == subscribers
    assert max(sizes) <= GROUP_COPIES * 1.25


def test_a_queue_stays_in_its_group_when_others_come_and_go() -> None:
    names = [f"c{n}" for n in range(1500)]
    before = Recipients.of("t", names, 0.0)
    after = Recipients.of("t", [*names[100:], "new"], 0.0)
    assert before.whole.groups is not None
    assert after.whole.groups is not None
    groups = dict(zip(before.whole.client_ids, before.whole.groups, strict=True))
    groups_after = dict(zip(after.whole.client_ids, after.whole.groups, strict=True))
    assert set(groups_after) == {*names[100:], "new"}
    assert all(groups_after[name] == groups[name] for name in names[100:])


def test_copies_of_one_group_stand_together() -> None:
    recipients = Recipients.of("t", [f"c{n}" for n in range(3000)], 0.0)
    assert recipients.whole.groups == sorted(recipients.whole.groups or [])
    assert sorted(recipients.whole.client_ids) == sorted(f"c{n}" for n in range(3000))
    assert recipients.whole.queues == [f"t_{name}".encode() for name in recipients.whole.client_ids]


def test_a_list_knows_its_queues() -> None:
    recipients = Recipients.of("té", ["a", "żółw"], 5.0)
    assert recipients.whole.queues == ["té_a".encode(), "té_żółw".encode()]
    assert recipients.longest_queue == len("té_żółw".encode())
    assert Recipients.of("t", [], 5.0).longest_queue == 0


def test_the_shares_of_a_list_are_worked_out_once_for_the_same_servers() -> None:
    recipients = Recipients.of("t", NAMES, 0.0)
    first = recipients.shares(SERVERS)
    assert first == divide(recipients.whole, sorted(SERVERS, key=str))
    assert recipients.shares(SERVERS) is first
    fewer = recipients.shares(SERVERS[:2])
    assert set(fewer) == set(SERVERS[:2])
    assert recipients.shares(SERVERS) == first


def test_a_long_list_is_made_and_placed_in_pieces() -> None:
    steps = Recipients.in_steps("t", NAMES, 0.0)
    # Two pauses between three thousands, and one between each of the lists that are joined.
    assert sum(1 for _ in steps) == 5
    recipients = Recipients.of("t", NAMES, 0.0)
    assert sum(1 for _ in recipients.place_in_steps(SERVERS)) == 2
    placed = recipients.shares(SERVERS)
    assert placed == Recipients.of("t", NAMES, 0.0).shares(SERVERS)


@pytest.mark.parametrize("servers", [SERVERS, SERVERS[:1]])
def test_a_short_list_takes_no_pause(servers: tuple[Address, ...]) -> None:
    assert list(Recipients.in_steps("t", NAMES[:500], 0.0)) == []
    assert list(Recipients.of("t", NAMES[:1000], 0.0).place_in_steps(servers)) == []


def test_the_report_of_a_fan_out_that_reached_all_is_made_once() -> None:
    recipients = Recipients.of("t", NAMES[:2], 0.0)
    report = recipients.queued_report()
    assert json.loads(report) == {"topic": "t", "subscribers": 2, "queued": 2, "failed": {}}
    assert recipients.queued_report() is report


@pytest.mark.parametrize("servers", [SERVERS[:1], SERVERS])
def test_a_list_without_its_full_queues_refuses_their_copies(servers: tuple[Address, ...]) -> None:
    recipients = Recipients.of("t", NAMES, 0.0)
    before = recipients.shares(servers)
    full = {f"t_{name}".encode() for name in NAMES[:1500]}

    left = recipients.without(full)

    assert len(left) == 3000
    assert sorted(left.whole.client_ids) == sorted(NAMES[1500:])
    # The others stay where they are, in the groups that they are in.
    for server, share in left.shares(servers).items():
        kept = [
            (queue, group)
            for queue, group in zip(before[server].queues, before[server].groups or [], strict=True)
            if queue not in full
        ]
        assert list(zip(share.queues, share.groups or [], strict=True)) == kept
    report = json.loads(left.queued_report())
    assert (report["subscribers"], report["queued"], report["failed_count"]) == (3000, 1500, 1500)
    assert set(report["failed"].values()) == {"queue_full"}
    # No more are listed than in any report.
    assert len(report["failed"]) == 1000


def test_a_server_all_of_whose_queues_are_full_has_no_share() -> None:
    recipients = Recipients.of("t", NAMES[:100], 0.0)
    shares = recipients.shares(SERVERS)
    left = recipients.without(set(shares[SERVERS[0]].queues))
    assert set(left.shares(SERVERS)) == set(SERVERS[1:])
    assert recipients.without(set(recipients.whole.queues)).shares(SERVERS) == {}
