# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The numbers of the last sample of the queues, in a daemon that samples them."""

from collections.abc import Iterator

from gearhorn.daemon.guard.sampler import Sampler
from gearhorn.daemon.numbers.family import Family, by, one, plain


def sampled(sampler: Sampler) -> Iterator[Family]:
    """Yield what was sampled; before the first sample only that there is none."""
    if sampler.interval is None:
        return
    yield Family(
        "sample_complete",
        "gauge",
        "1 if the last try made a sample of all job servers.",
        one(int(sampler.complete)),
    )
    sample = sampler.last
    if sample is None:
        return
    yield from plain(
        "gauge",
        ("sample_timestamp_seconds", "When it was taken, since 1970.", sampler.taken_at),
        ("sample_duration_seconds", "How long it took.", sampler.took),
        ("topics", "Topics with subscribers.", sample.topics),
        ("subscriptions", "Their subscribers.", sample.subscriptions),
        ("copies_waiting", "Copies that no worker has taken.", sample.waiting),
        ("copies_running", "Copies that workers have.", sample.running),
        ("queue_depth_max", "The most copies that wait in a queue.", sample.deepest),
        (
            "queue_nonempty_seconds_max",
            "The longest time for which a queue was not seen empty.",
            sample.nonempty_s,
        ),
    )
    yield Family("queues", "gauge", "Queues by their state.", by(sample.states), ("state",))
    top = sample.top
    yield Family(
        "topic_waiting",
        "gauge",
        "Copies of the topic that no worker has taken.",
        by({topic.name: topic.waiting for topic in top}),
        ("topic",),
    )
    yield Family(
        "topic_workers",
        "gauge",
        "Workers of its queues.",
        by({topic.name: topic.workers for topic in top}),
        ("topic",),
    )
    yield Family(
        "topic_unread_queues",
        "gauge",
        "Its queues with copies and no worker.",
        by({topic.name: topic.unread for topic in top}),
        ("topic",),
    )
    yield Family(
        "topic_nonempty_seconds",
        "gauge",
        "The longest time for which one of them was not seen empty.",
        by({topic.name: topic.nonempty_s for topic in top}),
        ("topic",),
    )
