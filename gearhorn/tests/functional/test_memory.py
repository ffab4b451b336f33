# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The memory that requests, copies and results take, with real servers."""

from __future__ import annotations

from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.harm import (
    MEGABYTE,
    limited_to,
    peak_megabytes,
    resident_megabytes,
)
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand


def test_requests_whose_copies_are_queued_hold_nothing_while_they_wait(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    topic = new_topic(gearmand)
    # With it malloc gives back what is freed, and keeps no room below what came later.
    returned = {"MALLOC_MMAP_THRESHOLD_": "100000"}
    process = daemon(environment=returned, **limited_to(8 * MEGABYTE))
    topic.subscribe("bob")
    before = resident_megabytes(process)
    handles = [topic.start("x" * (7 * MEGABYTE), timeout=600) for _ in range(10)]
    # The window is of four of the largest messages.
    eventually(lambda: topic.waiting("bob") == 10)
    small = topic.start("small", timeout=600)
    eventually(lambda: topic.waiting("bob") == 11)
    eventually(lambda: resident_megabytes(process) < before + 28)

    assert [len(data) for data in topic.receiver("bob").take(11)] == [7 * MEGABYTE] * 10 + [5]
    for handle in (*handles, small):
        assert topic.client.finish(handle).report["delivered"] == 1


def test_a_burst_of_large_requests_after_small_ones_stays_with_the_job_server(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    topic = new_topic(gearmand)
    process = daemon(**limited_to(2 * MEGABYTE))
    client_ids = [f"c{number}" for number in range(20)]
    topic.subscribe(*client_ids)
    small = [topic.start("small", background=True) for _ in range(300)]
    for handle in small:
        assert topic.client.finish(handle).completed
    before = peak_megabytes(process)
    client = topic.peer()
    for _ in range(300):
        client.start("fanout", topic.request("small"), background=True)
    for _ in range(40):
        client.start("fanout", topic.request("x" * 2_000_000), background=True)
    eventually(lambda: topic.waiting(client_ids[-1]) == 640)
    # All forty would take 80 MB.
    assert peak_megabytes(process) < before + 24 * 2


def test_results_of_control_characters_take_no_more_than_others(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    topic = new_topic(gearmand)
    process = daemon(**limited_to(6 * MEGABYTE))
    client_ids = [f"c{number}" for number in range(6)]
    topic.subscribe(*client_ids)
    worker = topic.receiver(*client_ids)
    before = resident_megabytes(process)
    handle = topic.start("hello", gather=True)
    for job in [worker.grab() for _ in client_ids]:
        worker.complete(job, b"\x01" * (MEGABYTE - 1))
    outcome = topic.client.finish(handle, 30)
    # In JSON each takes almost six megabytes, of six that a report may carry.
    assert outcome.report["delivered"] == 1
    assert set(outcome.report["failed"].values()) == {"result_too_large"}
    assert peak_megabytes(process) < before + 8 * 6
