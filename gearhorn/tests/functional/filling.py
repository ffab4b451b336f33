# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Filling queues to their limits, and what publishers hear of it."""

from __future__ import annotations

from typing import Any

from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.peer import Outcome
from gearhorn.tests.processes import eventually

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
