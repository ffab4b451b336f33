# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Failures of which a publisher in the background hears nothing: the log has them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from gearhorn.daemon import limited_log
from gearhorn.tests import packets as wire
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.peer import Outcome
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand


@pytest.fixture
def one(daemon: NewDaemon) -> Daemon:
    return daemon()


@pytest.fixture
def topic(one: Daemon, gearmand: Gearmand, new_topic: NewTopic) -> Topic:
    return new_topic(gearmand)


def warnings(daemon: Daemon, code: str) -> list[str]:
    return re.findall(rf"WARNING \S+limited_log \[-\] {code}: (.*)", daemon.log)


def in_background(topic: Topic, function: str, request: dict[str, Any] | bytes) -> None:
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    topic.client.send(wire.SUBMIT_JOB_BG, function.encode(), b"", data)


@pytest.mark.parametrize("function", ["fanout", "register_fanout_subscriber", "unsubscribe_fanout"])
def test_a_refused_job_is_in_the_log(topic: Topic, one: Daemon, function: str) -> None:
    in_background(topic, function, {"topic": topic.name, "colour": "red"})
    (line,) = eventually(lambda: warnings(one, "unknown_key"))
    assert line.startswith(f"refused a job of {function} for topic '{topic.name}': unknown key")


def test_a_refused_query_is_in_the_log(topic: Topic, one: Daemon) -> None:
    in_background(topic, "fanout_query", {"query": "weather"})
    (line,) = eventually(lambda: warnings(one, "invalid_query"))
    assert line.startswith("refused a job of fanout_query: query must be one of")
    # Nor does it stand there a second time, with the class of the error.
    assert "errors." not in line


def test_a_request_without_a_topic_is_in_the_log(topic: Topic, one: Daemon) -> None:
    in_background(topic, "fanout", b"nonsense")
    (line,) = eventually(lambda: warnings(one, "invalid_json"))
    assert line.startswith("refused a job of fanout: the request is not JSON")


def test_a_flood_of_refusals_is_counted(topic: Topic, one: Daemon) -> None:
    for _ in range(500):
        in_background(topic, "fanout", {"topic": topic.name, "colour": "red"})
    in_background(topic, "fanout", {"topic": topic.name})
    eventually(lambda: warnings(one, "missing_key"))
    assert len(warnings(one, "unknown_key")) == limited_log.LINES
    one.stop()
    last = warnings(one, "unknown_key")[-1]
    assert last == f"{500 - limited_log.LINES} more in the last 60 seconds"


def answer(topic: Topic, copies: int, packet: int) -> None:
    worker = topic.receiver("bob", "alice")
    for _ in range(copies):
        job = worker.grab()
        worker.send(packet, job.handle)


def test_a_fan_out_of_which_no_copy_arrived_is_in_the_log(topic: Topic, one: Daemon) -> None:
    topic.subscribe("bob", "alice")
    in_background(topic, "fanout", {"topic": topic.name, "payload": 1, "timeout": 20})
    answer(topic, 2, wire.WORK_FAIL)
    (line,) = eventually(lambda: warnings(one, "receiver_failed"))
    assert (
        line == f"every copy for topic '{topic.name}' failed, 2 in all, the first for this reason"
    )


def test_copies_that_nobody_takes_are_in_the_log(topic: Topic, one: Daemon) -> None:
    topic.subscribe("bob")
    in_background(topic, "fanout", {"topic": topic.name, "payload": 1, "timeout": 0.2})
    (line,) = eventually(lambda: warnings(one, "timeout"))
    assert line.endswith("failed, 1 in all, the first for this reason")


def test_a_fan_out_that_reached_somebody_is_not_in_the_log(topic: Topic, one: Daemon) -> None:
    topic.subscribe("bob", "alice")
    handle = topic.start(timeout=20)
    worker = topic.receiver("bob", "alice")
    worker.send(wire.WORK_FAIL, worker.grab().handle)
    worker.complete(worker.grab())
    outcome: Outcome = topic.client.finish(handle)
    assert outcome.report["failed_count"] == 1
    assert topic.publish(background=True).completed
    one.stop()
    (line,) = [line for line in one.log.splitlines() if "WARNING" in line]
    assert "the store was empty: made a new one" in line
