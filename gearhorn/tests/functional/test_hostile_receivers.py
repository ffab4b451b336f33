# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Hostile receivers do the daemon no harm."""

from __future__ import annotations

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.conftest import NewTopic, Service, Topic
from gearhorn.tests.functional.harm import (
    MEGABYTE,
    assert_serves,
    limited_to,
    peak_megabytes,
    resident_megabytes,
)
from gearhorn.tests.servers import Gearmand


def test_receivers_may_send_anything_about_their_copies(topic: Topic) -> None:
    topic.subscribe("bob", "alice")
    worker = topic.receiver("bob", "alice")
    handle = topic.start("hello", gather=True, timeout=30)
    jobs = [worker.grab(), worker.grab()]
    bob, alice = sorted(jobs, key=lambda job: job.function, reverse=True)
    for done, total in (("", ""), ("x", "y"), ("-1", "0"), ("9" * 500, "1"), ("5", "3")):
        worker.send(wire.WORK_STATUS, bob.handle, done, total)
    for data in (b"", b"\0", b"\0\0", b"\xff", b"\xed\xa0\x80", b"a\0b"):
        worker.warning(bob, data)
        worker.data(bob, data)
    # About a copy that is not this worker's, and about none: gearmand answers with an ERROR.
    worker.send(wire.WORK_COMPLETE, b"H:nobody:12345", b"")
    worker.send(wire.WORK_DATA, b"", b"")
    worker.complete(alice, b"\0\x01\x7f")
    worker.complete(bob, b"\xff\0end")
    report = topic.client.finish(handle).report
    assert report["delivered"] == 2
    assert report["results"]["alice"] == "\0\x01\x7f"
    assert set(report["results"]["bob"]) == {"base64"}
    assert_serves(topic)


def test_parts_of_nothing_without_end_take_no_memory(topic: Topic, service: Service) -> None:
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    handle = topic.start("hello", gather=True)
    job = worker.grab()
    before = resident_megabytes(service.daemon)
    part = wire.request(wire.WORK_DATA, job.handle, b"")
    for _ in range(100):
        worker.send_raw(part * 5000)
    worker.complete(job, "end")
    outcome = topic.client.finish(handle, 60)
    assert outcome.report["results"] == {"bob": "end"}
    assert resident_megabytes(service.daemon) < before + 30


@pytest.mark.parametrize(
    ("byte", "fits"),
    [
        (b"x", 64 * MEGABYTE - len('""')),
        (b"\0", (64 * MEGABYTE - len('""')) // len(r"\u0000")),
        (b"\xff", (64 * MEGABYTE - len('{"base64":""}')) // 4 * 3),
    ],
    ids=["text", "control characters", "bytes"],
)
@pytest.mark.slow
def test_a_result_of_64_megabytes_is_gathered_or_refused(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic, byte: bytes, fits: int
) -> None:
    topic = new_topic(gearmand)
    process = daemon(**limited_to(64 * MEGABYTE))
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    before = resident_megabytes(process)
    for size, sound in ((fits, True), (fits + 1, False), (64 * MEGABYTE, False)):
        handle = topic.start("hello", gather=True)
        job = worker.grab()
        half = size // 2
        worker.data(job, byte * half)
        worker.complete(job, byte * (size - half))
        report = topic.client.finish(handle, 60).report
        assert report.get("failed") == ({} if sound else {"bob": "result_too_large"})
        if sound:
            result = report["results"]["bob"]
            if byte == b"\xff":
                assert len(result["base64"]) == size // 3 * 4
            else:
                assert result == byte.decode() * size
    assert peak_megabytes(process) < before + 8 * 64
    assert_serves(topic)


def test_many_results_take_no_more_memory_than_a_few(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    topic = new_topic(gearmand)
    process = daemon(**limited_to(8 * MEGABYTE))
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    before = resident_megabytes(process)
    handles = [topic.start("hello", gather=True) for _ in range(30)]
    jobs = [worker.grab() for _ in handles]
    for job in jobs:
        worker.data(job, b"x" * (7 * MEGABYTE))
    # The daemon has read them when it has read what comes after them.
    worker.complete(jobs[0])
    first = topic.client.finish(handles[0]).report
    assert len(first["results"]["bob"]) == 7 * MEGABYTE
    assert peak_megabytes(process) < before + 150
    for job in jobs[1:]:
        worker.complete(job)
    refused = sum("failed_count" in topic.client.finish(h).report for h in handles[1:])
    assert refused == 26
    # What was held is free again.
    handle = topic.start("hello", gather=True)
    worker.complete(worker.grab(), b"x" * (8 * MEGABYTE - 2))
    assert topic.client.finish(handle).completed
