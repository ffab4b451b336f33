# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How far beyond its limit a queue grows, and that a slow worker never waits for messages."""

from __future__ import annotations

import dataclasses

import pytest

from gearhorn.daemon.guard.depth import Traffic
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.messages import Limits
from gearhorn.tests.unit.guard_world import SERVER, World

SMALL = LimitSettings(max_waiting=5_000)


@pytest.mark.parametrize("functions", [10, 10_000, 100_000])
def test_one_daemon_lets_an_absent_subscriber_never_pass_its_limit(functions: int) -> None:
    world = World(0, functions=functions, settings=SMALL)
    world.run(3, 30_000)
    # What it sent while it asked may count twice.
    assert 0.9 * 5_000 < world.peak <= 5_000


@pytest.mark.parametrize(
    ("functions", "rates", "most"),
    [
        (10, [9_500] * 4, 1.34),
        (10_000, [9_500] * 4, 2),
        (10_000, [35_150, 950, 950, 950], 2),
        (100_000, [9_500] * 4, 4),
    ],
)
def test_four_daemons_exceed_it_by_as_much_as_looks_cost(
    functions: int, rates: list[float], most: float
) -> None:
    world = World(0, daemons=4, functions=functions, settings=SMALL)
    world.run(4, *rates)
    assert 5_000 <= world.peak <= most * 5_000


def test_four_daemons_keep_the_default_limit_within_a_third() -> None:
    world = World(0, daemons=4, functions=100_000, settings=LimitSettings())
    world.run(8, *[9_500] * 4)
    assert 100_000 <= world.peak <= 133_000


@pytest.mark.parametrize("functions", [10, 10_000])
def test_a_slow_worker_never_waits_while_its_queue_is_kept_to_the_limit(functions: int) -> None:
    world = World(2_000, functions=functions, settings=SMALL)
    world.run(8, 20_000)
    assert world.busy > 0.98
    assert world.peak < 2 * 5_000


def test_a_worker_that_keeps_up_gets_all_whatever_the_limit() -> None:
    world = World(40_000, settings=LimitSettings(max_waiting=100))
    world.run(3, 30_000)
    assert world.done > 0.97 * 90_000


def test_others_get_theirs_while_one_is_full() -> None:
    world = World(0, 40_000, settings=SMALL)
    world.run(3, 10_000)
    assert 4_500 < world.depths[b"t_c0"] <= 5_000
    assert world.done > 0.99 * 30_000


def test_who_comes_back_gets_messages_again() -> None:
    world = World(0, settings=SMALL)
    world.run(1, 10_000)
    assert world.peak <= 5_000
    world.works[b"t_c0"] = 20_000
    world.run(3, 10_000)
    # One look in a second sees the queue fall, and from then on they come fast.
    assert world.done > 20_000


def test_the_smaller_of_two_limits_counts() -> None:
    world = World(
        0,
        0,
        0,
        settings=SMALL,
        limits={"c1": Limits(max_waiting=100), "c2": Limits(max_waiting=1_000_000)},
    )
    world.run(5, 2_000)
    most, least, other = world.depths.values()
    assert 4_900 < most == other <= 5_000
    assert 50 < least <= 100


def test_large_messages_fill_a_queue_by_their_bytes() -> None:
    settings = LimitSettings(max_waiting=100_000, max_waiting_bytes=100 << 20)
    world = World(0, settings=settings)
    world.run(1, 5_000, size=100_000)
    assert 0.9 * 1_048 <= world.peak <= 1.1 * 1_048
    # A few among many small ones are counted by what they use.
    world = World(0, settings=settings)
    world.run(1, 10_000, size=100)
    world.run(1, 2_000, size=1_000_000)
    assert world.peak - 10_000 < 2 * 105


def test_a_hundred_queues_below_their_limits_are_kept_to_the_total() -> None:
    world = World(*[0] * 100, settings=LimitSettings(max_waiting=5_000, max_total=100_000))
    world.run(3, 2_000)
    assert sum(world.depths.values()) < 1.4 * 100_000


def test_queues_below_their_limits_are_kept_to_the_bytes_of_a_server() -> None:
    settings = LimitSettings(max_total_bytes=100 << 20)
    world = World(*[0] * 20, settings=settings)
    # Small ones go first, and are gone when the large ones come.
    world.works = dict.fromkeys(world.works, 10_000)
    world.run(1, 2_000, size=100)
    world.works = dict.fromkeys(world.works, 0)
    world.run(3, 200, size=100_000)
    data = sum(world.depths.values()) * 100_000
    assert 0.8 * (100 << 20) < data < 1.6 * (100 << 20)


def test_a_server_that_was_over_its_total_has_room_again_when_it_is_well_below() -> None:
    world = World(*[0] * 100, settings=LimitSettings(max_total=10_000))
    world.run(2, 2_000)
    before = sum(world.depths.values())
    world.works = dict.fromkeys(world.works, 1_000)
    world.run(5, 500)
    assert before < 2 * 10_000
    assert world.done > before + 0.5 * 5 * 500 * 100


def test_the_mean_size_is_that_of_the_last_messages() -> None:
    traffic = Traffic()
    for size in (100, 10_000):
        for _ in range(1_000):
            traffic.sent += 1
            traffic.bytes += size
            traffic.mean_bytes(500)
    assert traffic.mean_bytes(500) == 10_000
    # As many as wait in the deepest queue: in a deeper one there are older ones.
    assert traffic.mean_bytes(2_000) == 10_000
    traffic.bytes += 1_000_000
    traffic.count_heavy(400)
    assert 11_000 < traffic.mean_bytes(500) < 15_000


def test_looks_cost_no_more_than_a_hundredth_while_no_queue_is_half_full() -> None:
    for functions in (100, 10_000):
        world = World(20_000, functions=functions, settings=SMALL)
        world.run(10, 15_000)
        cost = world.senders[0].looks * (3e-5 + functions * 0.5e-6)
        assert cost < 0.011 * 10


def test_nothing_is_looked_at_where_nothing_is_sent() -> None:
    world = World(0, settings=SMALL)
    world.run(20, 0)
    assert world.senders[0].looks == 1


def test_a_topic_that_is_quiet_again_holds_no_list() -> None:
    world = World(1_000, settings=SMALL)
    (sender,) = world.senders
    world.run(1, 900)
    world.run(1, 0)
    sender.pace.wanted = True
    world.run(1, 0)
    assert [topic.recipients for topic in sender.guard._topics.values()] == [None]
    assert sender.guard.seen.server(SERVER).full == {}


@pytest.mark.parametrize("quiet_s", [0, 1])
def test_a_queue_that_is_refused_is_full_through_other_limits(quiet_s: float) -> None:
    world = World(0, settings=SMALL)
    (sender,) = world.senders
    world.run(1, 10_000)
    if quiet_s:
        # Looks have seen every message: the topic has given up its list.
        sender.pace.wanted = True
        world.run(quiet_s, 0)
        assert [topic.recipients for topic in sender.guard._topics.values()] == [None]
    for number in range(3):
        sender.guard.apply(dataclasses.replace(SMALL, warn_waiting=1_000 + number))
        assert sender.guard.seen.queues_full == 1
    sender.pace.wanted = True
    world.run(1, 0)
    assert sender.guard.seen.queues_full == 1
    reached = world.peak
    world.run(0.1, 100)
    assert world.peak == reached
    # Limits that are lifted open it without a message.
    sender.guard.apply(dataclasses.replace(SMALL, max_waiting=0, max_waiting_bytes=0))
    sender.pace.wanted = True
    world.run(1, 0)
    assert sender.guard.seen.queues_full == 0


def test_limits_that_are_lowered_and_lifted_hold_from_the_next_message_on() -> None:
    world = World(0, settings=SMALL)
    world.run(1, 10_000)
    assert world.peak <= SMALL.max_waiting
    guard = world.senders[0].guard
    guard.apply(dataclasses.replace(SMALL, max_waiting=2 * SMALL.max_waiting))
    # The daemon has asked for a look.
    world.senders[0].pace.wanted = True
    world.run(0.5, 0)
    assert guard.seen.queues_full == 0
    world.run(1, 10_000)
    assert SMALL.max_waiting < world.peak <= 2 * SMALL.max_waiting
    reached = world.peak
    guard.apply(dataclasses.replace(SMALL, max_waiting=100))
    world.run(1, 10_000)
    assert world.peak == reached
    assert guard.seen.queues_full == 1
    guard.apply(dataclasses.replace(SMALL, max_waiting=0, max_waiting_bytes=0))
    world.run(1, 10_000)
    assert world.peak > reached + 9_000
    # And those of a whole server with the next look.
    guard.apply(dataclasses.replace(SMALL, max_waiting=0, max_total=1_000))
    world.senders[0].pace.wanted = True
    world.run(0.5, 10_000)
    reached = world.peak
    world.run(1, 10_000)
    assert world.peak == reached
