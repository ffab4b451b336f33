# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Deliveries: published by one process, received and acknowledged by another."""

from __future__ import annotations

import functools

from benchmarks import contenders
from benchmarks.contenders.base import Contender
from benchmarks.delivery import deliveries_a_second
from benchmarks.figures import (
    Case,
    Measured,
    Plan,
    Row,
    Target,
    ratio_above,
    ratio_at_least,
    take_turns,
)

_SUBSCRIBERS = 100
_MESSAGES = 1_000
_SIZES = (100, 1_000, 64_000, 1_000_000)
_SUBSCRIBER_COUNTS = (1, 10, 100, 1_000, 10_000)
_MOST_DELIVERIES = 100_000
_MOST_MESSAGES = 10_000
_FEWEST_MESSAGES = 3
_MOST_BYTES = 1_000_000_000
_TARGETS = {
    contenders.BARE.name: ratio_at_least(0.75),
    "RabbitMQ": ratio_above(1),
    "JetStream": ratio_above(1),
    "Redis Pub/Sub": ratio_above(1),
}


def _run(plan: Plan) -> list[Row]:
    return _compare(plan, _SUBSCRIBERS, 100, plan.choose(_MESSAGES, 200), _TARGETS)


def _run_sizes(plan: Plan) -> list[Row]:
    rows = []
    for size in _SIZES:
        messages = _bounded(plan, _SUBSCRIBERS, size)
        rows += _compare(plan, _SUBSCRIBERS, size, messages, {}, at=size)
    return rows


def _run_subscribers(plan: Plan) -> list[Row]:
    rows = []
    for subscribers in _SUBSCRIBER_COUNTS:
        if subscribers > plan.choose(10_000, 1_000):
            continue
        messages = _bounded(plan, subscribers, 100)
        rows += _compare(plan, subscribers, 100, messages, {}, at=subscribers)
    return rows


def _bounded(plan: Plan, subscribers: int, size: int) -> int:
    """Return as many messages as one machine can hold if receivers fall behind."""
    deliveries = min(_MOST_DELIVERIES, _MOST_BYTES // size) // plan.choose(1, 10)
    return max(_FEWEST_MESSAGES, min(_MOST_MESSAGES, deliveries // subscribers))


def _compare(
    plan: Plan,
    subscribers: int,
    size: int,
    messages: int,
    targets: dict[str, Target],
    at: float | None = None,
) -> list[Row]:
    """Measure gearhorn beside the bare sockets and each of its peers."""
    peers = contenders.available(plan.contenders)
    others = [contenders.BARE] + [peer for peer in peers if peer.max_subscribers >= subscribers]
    if absent := [peer.name for peer in peers if peer not in others]:
        print(
            f"without {', '.join(absent)}: {subscribers:,} subscribers would take minutes to set up"
        )

    def measure(contender: Contender) -> Measured:
        limit_s = plan.choose(20, 3)
        return deliveries_a_second(contender, subscribers, b"x" * size, messages, limit_s)

    figures, *references = take_turns(
        plan.repetitions,
        [functools.partial(measure, each) for each in (contenders.GEARHORN, *others)],
    )
    what = f"{messages:,} x {size:,} B to {subscribers:,}"
    return [
        Row(
            what,
            "deliver./s",
            figures,
            reference,
            targets.get(other.name),
            reference_name=other.name,
            at=at,
        )
        for other, reference in zip(others, references, strict=True)
    ]


CASE = Case("end-to-end", "deliveries a second, published to acknowledged", 5, _run)
SIZES = Case("sizes", "end to end by the size of messages", 3, _run_sizes, "bytes a message")
SUBSCRIBERS = Case(
    "subscribers", "end to end by the number of subscribers", 3, _run_subscribers, "subscribers"
)
