# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A series of messages: its packets, and what of it failed."""

from __future__ import annotations

from typing import Any

import pytest

from gearhorn import messages
from gearhorn.daemon.series import Failures
from gearhorn.tests.packets import SUBMIT_JOB_BG
from gearhorn.wire import framing
from gearhorn.wire.batch import Batch, Listener
from gearhorn.wire.series import Series

QUEUES = [b"t_a", b"t_bob", b"t_c"]
PAYLOADS = (b"one", b"two two", b"", b"four")


def series(**changes: Any) -> Series:
    options: dict[str, Any] = {
        "priority": "normal",
        "queues": QUEUES,
        "keys": ["a", "bob", "c"],
        "groups": [0, 0, 1],
        "longest_queue": 5,
        "first": 0,
        "payloads": PAYLOADS,
        "unique_of": lambda message, group: b"u-%d-%d" % (message, group),
    }
    return Series(Listener(), "t", **options | changes)


def packed(one: Batch, *stops: int) -> list[tuple[int, bytes]]:
    """The packets of a batch, packed up to each of ``stops`` at a time."""
    data = b""
    start = 0
    for stop in stops:
        parts: list[bytes] = []
        one.pack(start, stop, parts)
        data += b"".join(parts)
        start = stop
    reader = framing.PacketReader(1 << 20, framing.REQUEST)
    return [(packet_type, body) for packet_type, body, _ in reader.feed(data)]


@pytest.mark.parametrize("stops", [(12,), (1, 2, 3, 12), (2, 7, 11, 12), tuple(range(1, 13))])
def test_all_copies_of_a_message_come_before_the_next(stops: tuple[int, ...]) -> None:
    expected = [
        (SUBMIT_JOB_BG, b"%s\0u-%d-%d\0%s" % (queue, number, queue == b"t_c", payload))
        for number, payload in enumerate(PAYLOADS)
        for queue in QUEUES
    ]
    assert packed(series(), *stops) == expected


def test_of_messages_from_the_middle_uniques_have_the_whole_index() -> None:
    last = series(first=2, payloads=PAYLOADS[2:])
    assert packed(last, last.count) == packed(series(), 12)[6:]
    assert [last.message(index) for index in (0, 2, 3)] == [2, 2, 3]


def test_no_packet_is_larger_than_it_says() -> None:
    for one in (series(), series(groups=None), series(payloads=(b"x" * 1000, b""))):
        sizes = [framing.HEADER_BYTES + len(body) for _, body in packed(one, one.count)]
        assert max(sizes) <= one.packet_bytes <= max(sizes) + 8


def test_what_is_not_created_counts_at_the_guard() -> None:
    one = series()
    assert one.credits(lambda size: 1) == 4
    one.created = 4
    assert one.credits(lambda size: size) == len(b"two two" + b"" + b"four")
    one.created = one.count
    one.drop_payload()
    assert one.credits(lambda size: 1) == 0


def test_failures_of_a_receiver_are_joined() -> None:
    failures = Failures()
    for number in (0, 1, 2, 5, 6):
        failures.add(number, number, "bob", "queue_full")
    failures.add(7, 9, "bob", "not_queued")
    failures.add(3, 9, "alice", "queue_full")
    assert failures.rows() == [
        (0, 2, "bob", "queue_full"),
        (5, 6, "bob", "queue_full"),
        (7, 9, "bob", "not_queued"),
        (3, 9, "alice", "queue_full"),
    ]
    assert failures.first == {"bob": "queue_full", "alice": "queue_full"}


def test_a_thousand_failures_are_listed() -> None:
    failures = Failures()
    for number in range(3000):
        failures.add(2 * number, 2 * number, f"c{number % 1500}", "not_queued")
    assert len(failures.rows()) == len(failures.first) == messages.MAX_LISTED_FAILURES
