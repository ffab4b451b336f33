# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Fan-outs in the background: done when every copy is queued."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.conftest import NewTopic, Topic, TopicWith
from gearhorn.tests.servers import Gearmand

NO_UNIQUE: dict[str, Any] = {"fanout.generate_unique": False}


def test_every_copy_is_queued_when_the_report_comes(topic: Topic) -> None:
    names = [f"c{number}" for number in range(40)]
    topic.subscribe(*names)

    outcome = topic.publish("please go home early today.", background=True)

    assert [packet.type for packet in outcome.packets] == [wire.WORK_COMPLETE]
    assert outcome.report == {"topic": topic.name, "subscribers": 40, "queued": 40, "failed": {}}
    status = topic.server.admin.status()
    assert all(status[topic.queue(name)].total == 1 for name in names)
    worker = topic.receiver(*names)
    assert worker.take(40) == [b"please go home early today."] * 40
    assert worker.try_grab() is None


def test_a_background_message_to_no_subscriber_is_a_success(topic: Topic) -> None:
    assert topic.publish(background=True).report == {
        "topic": topic.name,
        "subscribers": 0,
        "queued": 0,
        "failed": {},
    }


def test_a_background_job_of_the_publisher_is_fanned_out_too(topic: Topic) -> None:
    topic.subscribe("bob")
    topic.client.submit("fanout", topic.request("hello", background=True), background=True)
    assert topic.receiver("bob").take(1) == [b"hello"]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ('"please go home early today."', b"please go home early today."),
        ('""', b""),
        ('"\\u00e9 \U0001f600\\u0000\\n"', "é \U0001f600\0\n".encode()),
        ('{"b" :  1,\n\t"a": [ 1.0, 1e2 ,"\\u00e9" ] }', None),
        ('["é"]', None),
        ("null", None),
        ("false", None),
        ("0.10", None),
        ("12345678901234567890123", None),
    ],
)
def test_the_payload_arrives_as_it_stands(topic: Topic, value: str, sent: bytes | None) -> None:
    topic.subscribe("bob")
    request = f'{{"topic": "{topic.name}", "payload": {value}, "background": true}}'
    assert topic.client.submit("fanout", request).report["queued"] == 1
    assert topic.receiver("bob").take(1) == [value.encode() if sent is None else sent]


def test_base64_carries_bytes(topic: Topic) -> None:
    data = bytes(range(256))
    topic.subscribe("bob")
    topic.publish(base64.b64encode(data).decode(), encoding="base64", background=True)
    assert topic.receiver("bob").take(1) == [data]


def test_a_payload_may_be_large(topic: Topic) -> None:
    topic.subscribe("bob", "alice", "carol")
    payload = "é" * (3 << 19)
    for background in (True, False):
        worker = topic.receiver("bob", "alice", "carol")
        handle = topic.start(payload, background=background)
        assert worker.take(3, 20) == [payload.encode()] * 3
        assert topic.client.finish(handle).completed


def test_of_duplicate_keys_the_last_counts_and_null_is_nothing(topic: Topic) -> None:
    topic.subscribe("bob")
    keys = ("unique", "timeout", "priority", "gather", "encoding", "always_report")
    nothing = ", ".join(f'"{key}": null' for key in keys)
    request = (
        f'{{"topic": "elsewhere", "payload": 1, {nothing}, "background": false, '
        f'"payload": "last", "background": 1, "topic": "{topic.name}"}}'
    )
    assert topic.client.submit("fanout", request).report["queued"] == 1
    assert topic.receiver("bob").take(1) == [b"last"]


@pytest.mark.parametrize("value", ["0", '"x"', [0], {"a": 0}, -1])
def test_what_is_true_is_the_background(topic: Topic, value: object) -> None:
    topic.subscribe("bob")
    assert topic.publish(background=value).report["queued"] == 1


def test_copies_of_one_unique_are_coalesced_while_the_first_is_queued(topic: Topic) -> None:
    topic.subscribe("bob", "alice")
    for payload in ("first", "second"):
        report = topic.publish(payload, background=True, unique="news").report
        assert report["queued"] == 2
    assert topic.waiting("bob") == topic.waiting("alice") == 1

    worker = topic.receiver("bob")
    job = worker.grab()
    assert (job.unique, job.data) == (b"news", b"first")
    # Running counts as well.
    topic.publish("third", background=True, unique="news")
    worker.complete(job)
    assert worker.try_grab() is None

    topic.publish("fourth", background=True, unique="news")
    assert worker.take(1) == [b"fourth"]


def test_background_copies_have_the_priority_of_the_request(topic: Topic) -> None:
    topic.subscribe("bob")
    for priority in ("low", None, "normal", "high"):
        topic.publish(str(priority), background=True, priority=priority)
    assert topic.receiver("bob").take(4) == [b"high", b"None", b"normal", b"low"]


def test_background_messages_arrive_in_order(topic: Topic) -> None:
    topic.subscribe("bob", *(f"c{number}" for number in range(9)))
    handles = [topic.start(str(number), background=True) for number in range(500)]
    for handle in handles:
        assert topic.client.finish(handle).completed
    worker = topic.receiver("bob")
    assert worker.take(500) == [str(number).encode() for number in range(500)]


def test_a_full_queue_is_named_in_the_report(topic: Topic) -> None:
    topic.subscribe("bob", "alice", "carol")
    topic.publish(background=True)
    topic.server.admin.command(f"maxqueue {topic.queue('alice')} 1")

    outcome = topic.publish(background=True)

    report = {
        "topic": topic.name,
        "subscribers": 3,
        "queued": 2,
        "failed": {"alice": "queue_full"},
        "failed_count": 1,
    }
    assert [packet.type for packet in outcome.packets] == [wire.WORK_WARNING, wire.WORK_FAIL]
    assert outcome.report == report

    outcome = topic.publish(background=True, always_report=True)
    assert [packet.type for packet in outcome.packets] == [wire.WORK_COMPLETE]
    assert outcome.report == report
    assert topic.waiting("bob") == topic.waiting("carol") == 3
    assert topic.waiting("alice") == 1


def test_each_error_counts_for_the_copy_that_it_answers(topic: Topic) -> None:
    names = [f"c{number}" for number in range(100)]
    topic.subscribe(*names)
    topic.publish(background=True)
    full = set(names[::7])
    for name in full:
        topic.server.admin.command(f"maxqueue {topic.queue(name)} 1")

    # Several in one block, of other fan-outs too.
    handles = [topic.start(background=True) for _ in range(5)]

    for handle in handles:
        report = topic.client.finish(handle).report
        assert report["queued"] == 100 - len(full)
        assert set(report["failed"]) == full
    status = topic.server.admin.status()
    assert {name for name in names if status[topic.queue(name)].total == 1} == full


def test_copies_have_one_generated_unique_for_a_group(topic: Topic) -> None:
    names = [f"c{number}" for number in range(60)]
    topic.subscribe(*names)
    topic.publish("first", background=True)
    topic.publish("second", background=True)
    worker = topic.receiver(*names)
    jobs = [worker.grab() for _ in range(120)]
    uniques = {
        data: {job.unique for job in jobs if job.data == data} for data in (b"first", b"second")
    }
    (first,), (second,) = uniques.values()
    assert 0 < len(first) <= 48
    assert first != second


def test_the_daemon_generates_no_unique_where_it_is_told_so(topic_with: TopicWith) -> None:
    topic = topic_with(**NO_UNIQUE)
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    for background in (True, False):
        handle = topic.start(background=background)
        job = worker.grab()
        assert job.unique == b""
        worker.complete(job)
        assert topic.client.finish(handle).completed
    topic.publish(background=True, unique="mine")
    assert worker.grab().unique == b"mine"


def test_a_second_run_of_a_job_coalesces_with_the_first(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    # The daemon dies between jobs that it has taken, some of whose copies are queued.
    topic = new_topic(gearmand)
    first = daemon()
    names = [f"c{number}" for number in range(50)]
    topic.subscribe(*names)
    publisher = topic.peer()
    for number in range(200):
        publisher.submit(
            "fanout",
            topic.request(str(number), background=True),
            background=True,
            unique=f"job-{number}",
        )
        if number == 100:
            first.kill()
    daemon()
    topic.publish("last", background=True)

    worker = topic.receiver(*names)
    taken = worker.take(50 * 201, 60)
    assert worker.try_grab() is None
    expected = sorted([str(number).encode() for number in range(200)] * 50 + [b"last"] * 50)
    assert sorted(taken) == expected
