# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Filling queues to their limits, and what publishers hear of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.peer import Outcome
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

FEW: dict[str, Any] = {"limits.max_waiting": 100}


def publish(topic: Topic, count: int, payload: object = "m", **keys: Any) -> list[Outcome]:
    """Publish messages in the background, all at once."""
    handles = [topic.start(payload, background=True, **keys) for _ in range(count)]
    return [topic.client.finish(handle, 60) for handle in handles]


def refused(outcomes: list[Outcome], client_id: str) -> int:
    """How many messages were not sent to a subscriber because its queue is full."""
    failures = [outcome.report["failed"] for outcome in outcomes if outcome.failed]
    assert all(set(failed.values()) == {"queue_full"} for failed in failures)
    return sum(client_id in failed for failed in failures)


def sent(outcomes: list[Outcome], client_id: str) -> int:
    """How many messages were sent to a subscriber."""
    return len(outcomes) - refused(outcomes, client_id)


def fill(topic: Topic, client_id: str) -> list[Outcome]:
    """Publish until a queue is full."""
    outcomes: list[Outcome] = []

    def publish_more() -> int:
        more = publish(topic, 20)
        outcomes.extend(more)
        return refused(more, client_id)

    eventually(publish_more)
    return outcomes


def fill_up(
    topic: Topic,
    *client_ids: str,
    most: float = 100,
    payload: object = "m",
    servers: Sequence[Gearmand] = (),
) -> list[Outcome]:
    """Publish until queues are full and stay so.

    One that nobody serves may count as full before it is, as messages that were under way during
    a look count twice, and is open again at the next look. From seven eighths of its limit on it
    stays full.

    :param most: the jobs that each may hold.
    :param servers: those that they are on, if not on that of the topic alone.
    """
    queues = [topic.queue(client_id) for client_id in client_ids]
    outcomes: list[Outcome] = []

    def stay_full() -> bool:
        more = publish(topic, 5, payload)
        outcomes.extend(more)
        if not all(refused(more[-1:], client_id) for client_id in client_ids):
            return False
        # Where there are many functions this takes a while.
        depths = [server.admin.totals(queues) for server in servers or [topic.server]]
        return all(sum(depth) >= 7 / 8 * most for depth in zip(*depths, strict=True))

    eventually(stay_full, 60)
    return outcomes


def reaches(topic: Topic, client_id: str) -> bool:
    (outcome,) = publish(topic, 1)
    return not refused([outcome], client_id)


def row(topic: Topic, client_id: str) -> dict[str, Any]:
    query = {"query": "subscribers", "topic": topic.name}
    rows = topic.client.submit("fanout_query", query).report["rows"]
    (found,) = (row for row in rows if row["client_id"] == client_id)
    return dict(found)


def work_off(topic: Topic, client_id: str, jobs: int) -> None:
    """Take so many jobs from a queue, and leave."""
    with topic.receiver(client_id) as worker:
        for _ in range(jobs):
            worker.complete(worker.grab())
