# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Queues that are full: what a publisher sees, and what reaches the job server."""

from __future__ import annotations

from gearhorn.tests.functional.conftest import TopicWith


def test_a_queue_that_nobody_reads_is_filled_to_its_limit_and_not_beyond(
    topic_with: TopicWith,
) -> None:
    topic = topic_with(**{"limits.max_waiting": 100})
    topic.subscribe("dead")
    handles = [topic.start("m", background=True) for _ in range(300)]
    outcomes = [topic.client.finish(handle, 30) for handle in handles]
    assert sum(outcome.completed for outcome in outcomes) == 100
    assert topic.waiting("dead") == 100
    last = outcomes[-1].report
    assert last["failed"] == {"dead": "queue_full"}
