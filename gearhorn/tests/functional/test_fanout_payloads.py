# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Several messages in one request."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from gearhorn.tests.builders import encoded
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.conftest import NewTopic, Topic, TopicWith
from gearhorn.tests.peer import Outcome
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand


def publish(topic: Topic, payloads: object, **keys: object) -> Outcome:
    request = {"topic": topic.name, "payloads": payloads, "background": True, **keys}
    return topic.client.submit("fanout", encoded(request))


def test_every_subscriber_gets_every_message_in_order(topic: Topic) -> None:
    topic.subscribe("bob", "alice")
    report = publish(topic, ["one", {"two": 2}, "", "four"]).report
    assert report == {
        "topic": topic.name,
        "messages": 4,
        "subscribers": 2,
        "queued": 8,
        "failed": {},
    }
    for name in ("bob", "alice"):
        assert topic.receiver(name).take(4) == [b"one", b'{"two": 2}', b"", b"four"]


def test_ten_thousand_messages_keep_their_places_among_others(topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish("before", background=True)
    handle = topic.client.start(
        "fanout",
        encoded({"topic": topic.name, "payloads": list(range(10_000)), "background": True}),
    )
    topic.peer().submit("fanout", topic.request("after", background=True))
    assert topic.client.finish(handle, 30).report["queued"] == 10_000
    with topic.receiver("bob") as worker:
        got = worker.take(10_002, 60)
    assert got[0] == b"before"
    assert got[-1] == b"after"
    assert [int(data) for data in got[1:-1]] == list(range(10_000))


def test_to_no_subscriber_they_are_a_success(topic: Topic) -> None:
    report = publish(topic, ["one", "two"]).report
    assert (report["messages"], report["subscribers"], report["queued"]) == (2, 0, 0)


def test_encoding_holds_for_all_of_them(topic: Topic) -> None:
    topic.subscribe("bob")
    data = [bytes([number, 0, 255]) for number in range(3)]
    texts = [base64.b64encode(each).decode() for each in data]
    assert publish(topic, texts, encoding="base64").report["queued"] == 3
    assert topic.receiver("bob").take(3) == data


@pytest.mark.parametrize(
    ("keys", "code", "named"),
    [
        ({"payloads": []}, "invalid_payload", "payloads"),
        ({"payloads": [1] * 10_001}, "invalid_payload", "10000"),
        ({"payloads": ["%"], "encoding": "base64"}, "invalid_payload", "base64"),
        ({"payloads": "one"}, "wrong_type", "payloads must be an array"),
        ({"payloads": [1], "payload": 1}, "batch_conflict", "payload"),
        ({"payloads": [1], "background": False}, "batch_conflict", "background"),
        ({"payloads": [1], "unique": "u"}, "batch_conflict", "unique"),
        ({"payloads": None}, "missing_key", "payload"),
    ],
)
def test_what_cannot_be_is_refused(
    topic: Topic, keys: dict[str, object], code: str, named: str
) -> None:
    outcome = topic.client.submit(
        "fanout", encoded({"topic": topic.name, "background": True, **keys})
    )
    assert outcome.failed
    assert outcome.report["error"] == code
    assert named in outcome.report["message"]


def test_each_message_counts_for_the_limit_of_a_queue(topic_with: TopicWith) -> None:
    topic = topic_with(**{"limits.max_waiting": 100})
    topic.subscribe("dead", "quick")
    quick = topic.receiver("quick")
    report = publish(topic, list(range(1000)), always_report=True).report
    assert (report["messages"], report["subscribers"]) == (1000, 2)
    assert report["queued"] + report["failed_count"] == 2000
    # A subscriber whose worker waits has its queue counted as one that is worked off.
    assert report["failed"]["dead"] == "queue_full"
    (run,) = (row for row in report["failures"] if row[2] == "dead")
    assert run == [topic.waiting("dead"), 999, "dead", "queue_full"]
    assert 90 <= topic.waiting("dead") <= 100
    assert int(quick.take(1)[0]) == 0


def test_with_order_topic_the_next_waits_for_all_of_them(topic_with: TopicWith) -> None:
    topic = topic_with(**{"fanout.order": "topic"})
    topic.subscribe("bob")
    handle = topic.start("foreground")
    worker = topic.receiver("bob")
    held = worker.grab()
    waiting = topic.client.start(
        "fanout", encoded({"topic": topic.name, "payloads": [1, 2, 3], "background": True})
    )
    assert topic.waiting("bob") == 1
    worker.complete(held)
    assert topic.client.finish(handle).completed
    assert topic.client.finish(waiting).report["queued"] == 3
    assert worker.take(3) == [b"1", b"2", b"3"]


# With a journal.


def test_messages_of_a_journal_are_numbered_one_after_the_other(journaled: Topic) -> None:
    journaled.subscribe("bob")
    journaled.publish("first", background=True)
    report = publish(journaled, ["two", "three", "four"], id="batch").report
    assert (report["sequence"], report["messages"], report["queued"]) == (2, 3, 3)
    with journaled.receiver("bob") as worker:
        jobs = [worker.grab() for _ in range(4)]
    numbers = [int(job.unique.split(b".")[2]) for job in jobs]
    assert list(zip(numbers, (job.data for job in jobs), strict=True)) == [
        (1, b"first"),
        (2, b"two"),
        (3, b"three"),
        (4, b"four"),
    ]
    read = journaled.client.submit("fanout_read", {"topic": journaled.name}).report
    assert [message["payload"] for message in read["messages"]] == ["first", "two", "three", "four"]


def test_a_repeat_of_several_with_one_id_is_no_second_batch(journaled: Topic) -> None:
    journaled.subscribe("bob")
    first = publish(journaled, ["one", "two"], id="batch").report

    def repeated() -> dict[str, Any]:
        report: dict[str, Any] = publish(journaled, ["one", "two"], id="batch").report
        return report if report.get("duplicate") else {}

    # The record says that all is queued with the next write; until then copies coalesce.
    again = eventually(repeated)
    for key in ("messages", "subscribers", "queued", "journal", "sequence"):
        assert again[key] == first[key]
    assert journaled.receiver("bob").take(2) == [b"one", b"two"]
    eventually(lambda: journaled.waiting("bob") == 0)


def test_what_a_full_queue_does_not_take_of_a_journal_is_skipped(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    options: dict[str, Any] = {
        "journal.topics": "t*",
        "limits.max_waiting": 100,
        "limits.overflow": "skip",
    }
    daemon(**options)
    topic = new_topic(gearmand)
    topic.subscribe("dead")
    report = publish(topic, list(range(300)), always_report=True).report
    assert report["queued"] == topic.waiting("dead") <= 100
    assert report["queued"] + report["skipped"] == 300
    assert "failed_count" not in report


def test_one_that_is_too_large_for_a_journal_refuses_them_all(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    options: dict[str, Any] = {"journal.topics": "t*", "journal.max_message_bytes": 1024}
    daemon(**options)
    topic = new_topic(gearmand)
    outcome = publish(topic, ["small", "x" * 1025])
    assert outcome.report["error"] == "message_too_large"
