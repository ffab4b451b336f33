# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Fan-outs in the foreground: results, failures and progress, as the publisher hears of them."""

from __future__ import annotations

import time

from gearhorn.tests import packets as wire
from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.functional.conftest import NewTopic, Topic, TopicWith
from gearhorn.tests.servers import Gearmand, Redis


def test_results_are_gathered(topic: Topic) -> None:
    topic.subscribe("bob", "alice", "carol", "dave")
    worker = topic.receiver("bob", "alice", "carol", "dave")
    handle = topic.start(gather=True)
    for job in [worker.grab() for _ in range(4)]:
        name = job.function.decode().rpartition("_")[2]
        if name == "bob":
            worker.complete(job, "é")
        elif name == "alice":
            worker.data(job, "one, ")
            worker.data(job, b"two\0, ")
            worker.complete(job, "three")
        elif name == "carol":
            worker.complete(job, b"\xff\0")
        else:
            worker.data(job, "in vain")
            worker.fail(job)

    assert topic.client.finish(handle).report == {
        "topic": topic.name,
        "subscribers": 4,
        "delivered": 3,
        "failed": {"dave": "receiver_failed"},
        "failed_count": 1,
        "results": {"bob": "é", "alice": "one, two\0, three", "carol": {"base64": "/wA="}},
    }


def test_a_result_that_is_too_large_is_named(topic_with: TopicWith) -> None:
    topic = topic_with(**{"fanout.max_message_bytes": 4000})
    topic.subscribe("bob", "alice")
    worker = topic.receiver("bob", "alice")
    for parts in (
        [b"x" * 4001],
        [b"x" * 100_000],
        [b"x" * 2500, b"x" * 2500],
        [b"", b"x" * 50_000],
    ):
        handle = topic.start(gather=True)
        for job in [worker.grab(), worker.grab()]:
            if job.function == topic.queue("alice").encode():
                worker.complete(job, "short")
                continue
            for part in parts[:-1]:
                worker.data(job, part)
            worker.complete(job, parts[-1])
        report = topic.client.finish(handle).report
        assert report == {
            "topic": topic.name,
            "subscribers": 2,
            "delivered": 1,
            "failed": {"bob": "result_too_large"},
            "failed_count": 1,
            "results": {"alice": "short"},
        }

        # Nobody looks at the size of what is not gathered.
        handle = topic.start()
        for job in [worker.grab(), worker.grab()]:
            worker.complete(job, parts[-1])
        assert topic.client.finish(handle).report["delivered"] == 2


def test_the_publisher_hears_how_far_it_is_after_a_second(topic: Topic) -> None:
    topic.subscribe("bob", "alice", "carol")
    worker = topic.receiver("bob", "alice")
    begun = [time.monotonic()]
    handles = [topic.start()]
    worker.take(2)
    time.sleep(0.4)
    begun.append(time.monotonic())
    handles.append(topic.start())
    worker.take(2)

    # Each has a first second of its own, in which nothing is said.
    for since, handle in zip(begun, handles, strict=True):
        packet = topic.client.about(handle)
        assert time.monotonic() - since >= 1.0
        assert (packet.type, packet.args[1:]) == (wire.WORK_STATUS, [b"2", b"3"])

    assert topic.receiver("carol").take(2) == [b"hello"] * 2
    for handle in handles:
        assert all(progress == (2, 3) for progress in topic.client.finish(handle).progress)


def test_nothing_is_said_before_the_list_is_known(
    start: Start, gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    store = start(Redis())
    daemon(store_url=store.url)
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    store.pause()
    handle = topic.start(timeout=30)
    topic.client.expect_silence(1.5)
    store.resume()

    worker = topic.receiver("bob")
    job = worker.grab()
    packet = topic.client.about(handle)
    assert (packet.type, packet.args[1:]) == (wire.WORK_STATUS, [b"0", b"1"])
    worker.complete(job)
    assert topic.client.finish(handle).report["delivered"] == 1
