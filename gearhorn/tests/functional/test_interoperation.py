# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The client library beside other clients and workers: libgearman's and Python's."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import gear
import gearman  # type: ignore[import-untyped]
import pytest

from gearhorn import Message, Publisher, Subscriber
from gearhorn.tests.builders import encoded, subscription
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.gearman_tool import ToolWorker
from gearhorn.tests.functional.gearman_tool import gearman as gearman_tool
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.processes import eventually

MEMO = "please go home early today.\n\tŻółw, ¡adiós!\n"


@pytest.fixture
def received(topic: Topic) -> Iterator[list[str]]:
    """The texts that bob has received, by the library's subscriber."""
    texts: list[str] = []
    subscriber = Subscriber(topic.server.address, "bob")

    @subscriber.on(topic.name)
    def handle(message: Message) -> str:
        texts.append(message.text)
        return message.text.upper()

    with running(subscriber):
        eventually(lambda: topic.reached() == 1)
        eventually(lambda: topic.waiting("bob") == 0)
        texts.clear()
        yield texts


def test_a_tool_receives_what_the_library_publishes(topic: Topic, start: Start) -> None:
    topic.subscribe("bob", "alice")
    workers = [start(ToolWorker(topic, name, "tee", "/dev/stderr")) for name in ("bob", "alice")]
    with Publisher(topic.server.address) as publisher:
        report = publisher.publish(topic.name, MEMO, gather=True)
        assert report.results == {"bob": MEMO, "alice": MEMO}
    for worker in workers:
        assert worker.log == MEMO


@pytest.mark.parametrize("background", [False, True])
def test_the_library_receives_what_a_tool_publishes(
    topic: Topic, received: list[str], background: bool
) -> None:
    published = gearman_tool(topic, "fanout", topic.request(MEMO, background=background))
    assert published.returncode == 0
    assert '"subscribers":1' in published.stdout
    eventually(lambda: received == [MEMO])


def test_the_library_receives_what_a_tool_puts_into_its_queue(
    topic: Topic, received: list[str]
) -> None:
    """Without a fan-out: a subscriber is a worker like any other."""
    published = gearman_tool(topic, topic.queue("bob"), "directly")
    assert published.stdout == "DIRECTLY"
    assert received == ["directly"]


class Job(gear.Job):  # type: ignore[misc]
    """A job of gear's whose end can be waited for."""

    def __init__(self, function: str, data: str) -> None:
        super().__init__(function.encode(), data.encode())
        self.done = threading.Event()


class GearClient(gear.Client):  # type: ignore[misc]
    def handleWorkComplete(self, packet: gear.Packet) -> gear.Job:  # noqa: N802
        job = super().handleWorkComplete(packet)
        job.done.set()
        return job


def publish_by_gear(topic: Topic, function: str, data: str) -> str:
    client = GearClient("interoperation")
    client.addServer(topic.server.host, topic.server.port)
    client.waitForServer()
    job = Job(function, data)
    try:
        client.submitJob(job)
        assert job.done.wait(10)
        return b"".join(job.data).decode()
    finally:
        client.shutdown()


def publish_by_pygearman(topic: Topic, function: str, data: str) -> str:
    client = gearman.GearmanClient([topic.server.address])
    try:
        request = client.submit_job(function, data, poll_timeout=10)
        assert request.state == gearman.JOB_COMPLETE
        result: str | bytes = request.result
        return result.decode() if isinstance(result, bytes) else result
    finally:
        client.shutdown()


# gear uses names of its standard library that are going.
pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")
PUBLISH = pytest.mark.parametrize("publish", [publish_by_gear, publish_by_pygearman])
Publish = Callable[[Topic, str, str], str]


@PUBLISH
def test_other_python_clients_publish(topic: Topic, received: list[str], publish: Publish) -> None:
    report = json.loads(publish(topic, "fanout", topic.request(MEMO, gather=True)))
    assert report["results"] == {"bob": MEMO.upper()}
    assert received == [MEMO]


@PUBLISH
def test_other_python_clients_use_the_aliases(topic: Topic, publish: Publish) -> None:
    request = encoded(subscription(topic.name, "bob")).decode()
    answer = json.loads(publish(topic, "subscribe_fanout", request))
    assert answer["queue"] == topic.queue("bob")
    assert topic.reached() == 1
    publish(topic, "unsubscribe_fanout", request)
    assert topic.reached() == 0


def test_the_library_uses_the_aliases(topic: Topic) -> None:
    subscriber = Subscriber(
        topic.server.address,
        "bob",
        unregister=True,
        register_function="subscribe_fanout",
        unregister_function="unsubscribe_fanout",
    )
    subscriber.on(topic.name)(lambda message: None)
    with running(subscriber):
        eventually(lambda: topic.reached() == 1)
    assert topic.reached() == 0
