# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Reports of progress, and doing without: they get in the way of some clients."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from gearhorn import AsyncPublisher, Publisher
from gearhorn.tests import packets as wire
from gearhorn.tests.cli import Run
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.gearman_tool import gearman as gearman_tool

SILENCE_S = 2.5
"""More than the two seconds within which a first report of progress comes."""


@pytest.fixture
def answer() -> threading.Event:
    """Has the receiver answer."""
    return threading.Event()


@pytest.fixture
def slow(topic: Topic, answer: threading.Event) -> Topic:
    """A topic whose one receiver answers when the test says so."""
    topic.subscribe("bob")
    worker = topic.receiver("bob")

    def work() -> None:
        job = worker.grab(10)
        answer.wait(20)
        worker.complete(job)

    threading.Thread(target=work, daemon=True).start()
    return topic


@pytest.fixture
def silence(answer: threading.Event) -> None:
    """The receiver answers once a report of progress would have come."""
    threading.Timer(SILENCE_S, answer.set).start()


@pytest.mark.parametrize("keys", [{}, {"progress": True}, {"progress": None}])
def test_progress_is_reported(
    slow: Topic, answer: threading.Event, keys: dict[str, object]
) -> None:
    handle = slow.start(**keys)
    assert slow.client.about(handle, 20).type == wire.WORK_STATUS
    answer.set()
    assert slow.client.finish(handle).completed


@pytest.mark.usefixtures("silence")
def test_a_request_that_wants_no_progress_gets_the_report_alone(slow: Topic) -> None:
    outcome = slow.client.finish(slow.start(progress=False))
    assert [packet.type for packet in outcome.packets] == [wire.WORK_COMPLETE]


@pytest.mark.usefixtures("silence")
def test_the_report_that_the_tool_prints_is_json(slow: Topic) -> None:
    published = gearman_tool(slow, "fanout", slow.request("hello", progress=False))
    assert json.loads(published.stdout)["delivered"] == 1


def test_the_library_tells_of_progress(slow: Topic, answer: threading.Event) -> None:
    with Publisher(slow.server.address) as publisher:
        report = publisher.publish(slow.name, "hello", on_progress=lambda *_: answer.set())
    assert report.delivered == 1
    assert answer.is_set()


@pytest.mark.usefixtures("silence")
def test_the_library_can_do_without_progress(slow: Topic) -> None:
    seen: list[tuple[int, int]] = []
    with Publisher(slow.server.address) as publisher:
        report = publisher.publish(
            slow.name,
            "hello",
            progress=False,
            on_progress=lambda done, total: seen.append((done, total)),
        )
    assert report.delivered == 1
    assert not seen


@pytest.mark.usefixtures("silence")
def test_many_messages_without_progress(slow: Topic) -> None:
    async def publish() -> int:
        async with AsyncPublisher(slow.server.address) as publisher:
            outcomes = publisher.publish_many([(slow.name, "hello")], progress=False)
            return sum([1 async for _ in outcomes])

    assert asyncio.run(publish()) == 1


@pytest.mark.parametrize("option", ["--progress", "--no-progress"])
def test_the_command_takes_the_option(
    run: Run, slow: Topic, answer: threading.Event, option: str
) -> None:
    answer.set()
    done = run("--format", "json", "publish", slow.name, "hello", option)
    assert json.loads(done.stdout)["delivered"] == 1
