# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Reports of progress, and doing without: they get in the way of some clients."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from gearhorn import AsyncPublisher, Publisher
from gearhorn.tests import peer as wire
from gearhorn.tests.cli import Run
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.test_gearman_tool import gearman as gearman_tool

SLOW_S = 1.6
"""Long enough for a report of progress."""


@pytest.fixture
def slow(topic: Topic) -> Topic:
    """A topic whose one receiver takes its time."""
    topic.subscribe("bob")
    worker = topic.receiver("bob")

    def work() -> None:
        job = worker.grab(10)
        threading.Event().wait(SLOW_S)
        worker.complete(job)

    threading.Thread(target=work, daemon=True).start()
    return topic


@pytest.mark.parametrize(
    ("keys", "reported"),
    [
        ({}, True),
        ({"progress": True}, True),
        ({"progress": None}, True),
        ({"progress": False}, False),
        ({"progress": 0}, False),
    ],
)
def test_a_request_says_whether_it_wants_progress(
    slow: Topic, keys: dict[str, object], reported: bool
) -> None:
    outcome = slow.client.finish(slow.start(**keys))
    assert outcome.completed
    assert (wire.WORK_STATUS in [packet.type for packet in outcome.packets]) is reported


def test_the_report_that_the_tool_prints_is_json(slow: Topic) -> None:
    published = gearman_tool(slow, "fanout", slow.request("hello", progress=False))
    assert json.loads(published.stdout)["delivered"] == 1


@pytest.mark.parametrize("progress", [True, False])
def test_the_library_says_whether_it_wants_progress(slow: Topic, progress: bool) -> None:
    seen: list[tuple[int, int]] = []
    with Publisher(slow.server.address) as publisher:
        report = publisher.publish(
            slow.name,
            "hello",
            progress=progress,
            on_progress=lambda done, total: seen.append((done, total)),
        )
    assert report.delivered == 1
    assert bool(seen) is progress


def test_many_messages_without_progress(slow: Topic) -> None:
    async def publish() -> int:
        async with AsyncPublisher(slow.server.address) as publisher:
            outcomes = publisher.publish_many([(slow.name, "hello")], progress=False)
            return sum([1 async for _ in outcomes])

    assert asyncio.run(publish()) == 1


@pytest.mark.parametrize("option", ["--progress", "--no-progress"])
def test_the_command_says_whether_it_wants_progress(run: Run, slow: Topic, option: str) -> None:
    done = run("--format", "json", "publish", slow.name, "hello", option)
    assert json.loads(done.stdout)["delivered"] == 1
