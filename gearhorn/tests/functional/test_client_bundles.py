# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages that the library sends together."""

from __future__ import annotations

import asyncio
import json
import threading

from gearhorn import AsyncPublisher, Publisher, errors
from gearhorn.tests.functional.conftest import Topic, TopicWith
from gearhorn.tests.peer import Peer
from gearhorn.tests.servers import Gearmand


def test_many_messages_arrive_in_order_and_each_has_its_report(topic: Topic) -> None:
    topic.subscribe("bob", "alice")
    many = [(topic.name, str(number)) for number in range(3000)]
    with Publisher(topic.server.address, timeout=30) as publisher:
        reports = list(publisher.publish_many(many, background=True))

    assert len(reports) == 3000
    assert {(report.subscribers, report.queued) for report in reports} == {(2, 2)}
    # They were far fewer jobs.
    for name in ("bob", "alice"):
        with topic.receiver(name) as worker:
            assert [int(data) for data in worker.take(3000, 60)] == list(range(3000))


def test_threads_that_publish_at_once_share_requests(topic: Topic) -> None:
    topic.subscribe("bob")
    with Publisher(topic.server.address, timeout=30) as publisher:

        def publish(number: int) -> None:
            for _ in range(20):
                assert publisher.publish(topic.name, str(number), background=True).queued == 1

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(topic.receiver("bob").take(400, 30)) == sorted(
        str(number).encode() for number in range(20) for _ in range(20)
    )


async def test_what_goes_alone_keeps_its_place(topic: Topic) -> None:
    topic.subscribe("bob")
    async with AsyncPublisher(topic.server.address, timeout=30) as publisher:
        calls = [
            publisher.publish(
                topic.name,
                str(n),
                background=True,
                priority="normal" if n % 3 else None,
                id=f"{topic.name}-{n}" if n % 5 == 0 else None,
            )
            for n in range(200)
        ]
        assert {report.queued for report in await asyncio.gather(*calls)} == {1}
    assert [int(data) for data in topic.receiver("bob").take(200, 30)] == list(range(200))


def test_a_full_queue_fails_those_messages_that_it_did_not_take(topic_with: TopicWith) -> None:
    topic = topic_with(**{"limits.max_waiting": 100})
    topic.subscribe("dead")
    many = [(topic.name, str(number)) for number in range(500)]
    with Publisher(topic.server.address, timeout=30) as publisher:
        found = list(publisher.publish_many(many, background=True, return_exceptions=True))
    failed = [isinstance(one, errors.PartialFailure) for one in found]
    assert failed.count(False) == topic.waiting("dead") <= 100
    for one in found:
        if isinstance(one, errors.PartialFailure):
            assert one.report.failed == {"dead": "queue_full"}


def test_one_that_is_too_large_fails_alone(topic_with: TopicWith) -> None:
    topic = topic_with(**{"fanout.max_message_bytes": 65536})
    topic.subscribe("bob")
    many = [(topic.name, "x" * (70_000 if number == 7 else 10)) for number in range(20)]
    with Publisher(topic.server.address, timeout=30) as publisher:
        found = list(publisher.publish_many(many, background=True, return_exceptions=True))
    assert [isinstance(one, errors.MessageTooLarge) for one in found] == [
        number == 7 for number in range(20)
    ]


def test_messages_of_a_bundle_have_numbers_of_their_own_in_a_journal(journaled: Topic) -> None:
    journaled.subscribe("bob")
    many = [(journaled.name, str(number)) for number in range(1, 301)]
    with Publisher(journaled.server.address, timeout=30) as publisher:
        reports = list(publisher.publish_many(many, background=True))
    assert [report.sequence for report in reports] == list(range(1, 301))
    with journaled.receiver("bob") as worker:
        jobs = [worker.grab() for _ in range(300)]
    assert [int(job.data) for job in jobs] == list(range(1, 301))
    assert [int(job.unique.split(b".")[2]) for job in jobs] == list(range(1, 301))


def test_a_daemon_of_the_release_before_is_sent_single_messages(gearmand: Gearmand) -> None:
    topic = "t"
    with (
        Publisher(gearmand.address, timeout=30) as publisher,
        Peer(gearmand.port, gearmand.host) as worker,
    ):
        worker.can_do("fanout")
        found: list[int | None] = []
        thread = threading.Thread(
            target=lambda: found.extend(
                report.subscribers
                for report in publisher.publish_many(
                    [(topic, str(number)) for number in range(10)], background=True
                )
            )
        )
        thread.start()
        got: list[str] = []
        while len(got) < 10:
            job = worker.grab()
            request = json.loads(job.data)
            unknown = {"payloads", "id"} & request.keys()
            if unknown:
                refusal = {"error": "unknown_key", "message": f"unknown key {unknown}"}
                worker.warning(job, json.dumps(refusal))
                worker.fail(job)
            else:
                got.append(request["payload"])
                report = {"topic": topic, "subscribers": 1, "queued": 1, "failed": {}}
                worker.complete(job, json.dumps(report))
        thread.join()
    assert got == [str(number) for number in range(10)]
    assert found == [1] * 10
