# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Fan-outs in the foreground: done when every receiver has answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.functional.conftest import NewTopic, Topic, TopicWith
from gearhorn.tests.peer import Outcome
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

SMALL: dict[str, Any] = {"fanout.max_message_bytes": 4000}
SHORT_TIMEOUT: dict[str, Any] = {"fanout.timeout": 0.3}


def types_of(outcome: Outcome) -> list[int]:
    return [packet.type for packet in outcome.packets if packet.type != wire.WORK_STATUS]


def failed(topic: Topic, reason: str, count: int = 1, of: int = 1) -> dict[str, Any]:
    return {
        "topic": topic.name,
        "subscribers": of,
        "delivered": of - count,
        "failed": {"bob": reason},
        "failed_count": count,
    }


def test_the_report_comes_when_every_receiver_has_answered(topic: Topic) -> None:
    topic.subscribe("bob", "alice")
    bob, alice = topic.receiver("bob"), topic.receiver("alice")
    handle = topic.start("please go home early today.", progress=False)

    first, second = bob.grab(), alice.grab()
    assert first.data == second.data == b"please go home early today."
    alice.complete(second, "ignored")
    topic.client.expect_silence(0.1)
    bob.data(first, "also ignored")
    bob.warning(first, "and this")
    bob.status(first, 1, 2)
    topic.client.expect_silence(0.1)
    bob.complete(first)

    outcome = topic.client.finish(handle)
    assert [packet.type for packet in outcome.packets] == [wire.WORK_COMPLETE]
    assert outcome.report == {"topic": topic.name, "subscribers": 2, "delivered": 2, "failed": {}}


def test_no_subscriber_is_a_success(topic: Topic) -> None:
    assert topic.publish().report == {
        "topic": topic.name,
        "subscribers": 0,
        "delivered": 0,
        "failed": {},
    }
    assert topic.publish(gather=True).report["results"] == {}


def test_a_job_in_the_background_may_wait_for_receivers(topic: Topic) -> None:
    topic.subscribe("bob")
    topic.client.submit("fanout", topic.request("hello"), background=True)
    assert topic.receiver("bob").take(1) == [b"hello"]


@pytest.mark.parametrize("always_report", [False, True])
@pytest.mark.parametrize(
    ("answer", "reason"), [("fail", "receiver_failed"), ("exception", "receiver_exception")]
)
def test_a_receiver_that_fails_is_named(
    topic: Topic, answer: str, reason: str, always_report: bool
) -> None:
    topic.subscribe("bob", "alice")
    worker = topic.receiver("bob", "alice")
    handle = topic.start(always_report=always_report)
    for job in [worker.grab(), worker.grab()]:
        if job.function == topic.queue("bob").encode():
            getattr(worker, answer)(job)
        else:
            worker.complete(job)

    outcome = topic.client.finish(handle)

    assert outcome.report == failed(topic, reason, of=2)
    if always_report:
        assert types_of(outcome) == [wire.WORK_COMPLETE]
    else:
        assert types_of(outcome) == [wire.WORK_WARNING, wire.WORK_FAIL]


def test_a_receiver_that_does_not_answer_in_time_still_gets_its_copy(topic: Topic) -> None:
    topic.subscribe("bob", "alice")
    alice = topic.receiver("alice")
    handle = topic.start("late", timeout=2)
    alice.take(1)

    outcome = topic.client.finish(handle)
    assert outcome.report == failed(topic, "timeout", of=2)

    # What comes after the report, an answer too, disturbs nothing.
    bob = topic.receiver("bob")
    job = bob.grab()
    assert job.data == b"late"
    bob.complete(job, "too late")
    handle = topic.start("next", gather=True)
    for worker in (bob, alice):
        job = worker.grab()
        worker.complete(job, b"about " + job.data)
    outcome = topic.client.finish(handle)
    assert outcome.report["results"] == {"bob": "about next", "alice": "about next"}


def test_the_time_that_receivers_have_is_configured(topic_with: TopicWith) -> None:
    topic = topic_with(**SHORT_TIMEOUT)
    topic.subscribe("bob")
    assert topic.publish().report == failed(topic, "timeout")


def test_a_report_counts_all_failures_and_lists_a_thousand(topic: Topic) -> None:
    names = [f"c{number}" for number in range(1003)]
    topic.subscribe(*names)
    report = topic.publish(timeout=0.01).report
    assert report["subscribers"] == report["failed_count"] == 1003
    assert report["delivered"] == 0
    assert len(report["failed"]) == 1000
    assert set(report["failed"].values()) == {"timeout"}
    assert set(report["failed"]) < set(names)


def test_the_copy_of_a_worker_that_dies_goes_to_another(topic: Topic) -> None:
    topic.subscribe("bob")
    first = topic.receiver("bob")
    handle = topic.start("hello")
    assert first.grab().data == b"hello"
    first.close()

    assert topic.receiver("bob").take(1) == [b"hello"]

    assert topic.client.finish(handle).report["delivered"] == 1


def test_a_request_that_is_too_large_is_refused(topic_with: TopicWith) -> None:
    topic = topic_with(**SMALL)
    topic.subscribe("bob")
    fits = "x" * (4000 - len(topic.request("", background=True)))
    for payload in (fits + "x", "x" * 30_000, "x" * 2_000_000):
        outcome = topic.publish(payload, background=True)
        assert types_of(outcome) == [wire.WORK_WARNING, wire.WORK_FAIL]
        assert outcome.refusal == "message_too_large"
        assert topic.waiting("bob") == 0
    assert topic.publish(fits, background=True).report["queued"] == 1


def test_foreground_and_background_copies_of_one_unique_do_not_join(topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish("background", background=True, unique="news")
    handle = topic.start("foreground", unique="news")
    worker = topic.receiver("bob")
    jobs = [worker.grab(), worker.grab()]

    assert {job.data for job in jobs} == {b"background", b"foreground"}
    uniques = {job.data: job.unique for job in jobs}
    assert uniques[b"background"] == b"news"
    assert uniques[b"foreground"].startswith(b"news-")
    assert len(uniques[b"foreground"]) < 64
    for job in jobs:
        worker.complete(job)
    assert topic.client.finish(handle).completed


def test_a_persistent_queue_takes_every_foreground_copy_without_a_unique(
    start: Start, daemon: NewDaemon, new_topic: NewTopic, tmp_path: Path
) -> None:
    # It keeps background jobs, one for each function and unique.
    queue = f"--libsqlite3-db={tmp_path / 'queue.db'}"
    server = start(Gearmand("--queue-type=libsqlite3", queue))
    daemon([server])
    topic = new_topic(server)
    topic.subscribe("bob")
    texts = ["one", "two", "three"]
    handles = [topic.start(text, gather=True) for text in texts]
    worker = topic.receiver("bob")
    for text in texts:
        job = worker.grab()
        assert (job.unique, job.data) == (b"", text.encode())
        worker.complete(job, text.upper())
    reports = [topic.client.finish(handle).report for handle in handles]
    assert [report["results"]["bob"] for report in reports] == ["ONE", "TWO", "THREE"]


def test_the_longest_unique_is_taken(topic: Topic) -> None:
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    handle = topic.start("payload", unique="é" * 24)
    job = worker.grab()
    assert job.data == b"payload"
    assert job.unique.startswith(("é" * 24).encode())
    worker.complete(job)
    assert topic.client.finish(handle).completed


@pytest.mark.parametrize("answers", ["complete", "fail", "exception"])
def test_fan_outs_that_are_coalesced_both_end(topic: Topic, answers: str) -> None:
    topic.subscribe("bob")
    handles = [topic.start(payload, unique="news", gather=True) for payload in ("one", "two")]
    # Its copy is behind theirs.
    topic.publish("three", background=True)
    worker = topic.receiver("bob")
    job = worker.grab()
    assert job.data == b"one"
    worker.data(job, "a ")
    if answers == "complete":
        worker.complete(job, "result")
    else:
        getattr(worker, answers)(job)

    for handle in handles:
        report = topic.client.finish(handle).report
        if answers == "complete":
            assert report["results"] == {"bob": "a result"}
        else:
            assert report["failed_count"] == 1
    assert worker.take(1) == [b"three"]
    assert worker.try_grab() is None


def test_a_publisher_that_leaves_leaves_no_ghost_behind(topic: Topic) -> None:
    topic.subscribe("bob")
    with topic.peer() as leaving:
        leaving.start("fanout", topic.request("first", unique="news"))
        worker = topic.receiver("bob")
        job = worker.grab()
    worker.complete(job)
    # Until it has ended, the second copy would be the same job.
    eventually(lambda: topic.waiting("bob") == 0)
    handle = topic.start("second", unique="news")
    assert worker.take(1) == [b"second"]
    assert topic.client.finish(handle).completed


def test_foreground_copies_have_the_priority_of_the_request(topic: Topic) -> None:
    topic.subscribe("bob")
    handles = [topic.start(priority, priority=priority) for priority in ("low", "normal", "high")]
    # Each is queued once the daemon has taken a later job of the same connection.
    topic.publish("last", background=True, priority="low")
    assert topic.receiver("bob").take(4) == [b"high", b"normal", b"low", b"last"]
    assert all(topic.client.finish(handle).completed for handle in handles)


def test_messages_arrive_in_order(topic: Topic) -> None:
    topic.subscribe("bob", "alice")
    handles = [topic.start(str(number)) for number in range(300)]
    expected = [str(number).encode() for number in range(300)]
    assert topic.receiver("bob").take(300) == expected
    assert topic.receiver("alice").take(300) == expected
    assert all(topic.client.finish(handle).completed for handle in handles)


def test_always_report_takes_refusals_too(topic: Topic) -> None:
    outcome = topic.publish(always_report=True, priority="urgent")
    assert types_of(outcome) == [wire.WORK_COMPLETE]
    assert outcome.report["error"] == "invalid_priority"
    outcome = topic.publish(always_report=False, priority="urgent")
    assert types_of(outcome) == [wire.WORK_WARNING, wire.WORK_FAIL]
    assert outcome.refusal == "invalid_priority"
