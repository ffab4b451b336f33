# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What clients say of their queues and hear of full ones, with a worker in a daemon's place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gearhorn import AsyncPublisher, AsyncSubscriber, Publisher, Subscriber, errors
from gearhorn.tests.cli import Result, gearhorn
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.peer import Peer

pytestmark = pytest.mark.once

LIMITS = {"max_waiting": 100, "overflow": "skip", "remove_idle": 60.5}


@pytest.fixture
def function(topic: Topic) -> str:
    """A function of the test's own, that a daemon would have."""
    return f"function of {topic.name}".replace(" ", "_")


@pytest.fixture
def registrar(topic: Topic, function: str) -> Peer:
    peer = topic.peer()
    peer.can_do(function)
    return peer


def take(worker: Peer, answer: dict[str, Any]) -> Any:
    """Answer a request as a daemon does, and return it."""
    job = worker.grab()
    worker.complete(job, json.dumps(answer))
    return json.loads(job.data)


def registration(topic: Topic) -> dict[str, Any]:
    return {"topic": topic.name, "client_id": "bob", "queue": topic.queue("bob")}


@pytest.mark.parametrize("limits", [LIMITS, {"overflow": "refuse"}, {}])
@pytest.mark.parametrize("kind", [Subscriber, AsyncSubscriber])
def test_a_subscriber_says_its_limits_each_time_and_nothing_else(
    topic: Topic, function: str, registrar: Peer, kind: Any, limits: dict[str, Any]
) -> None:
    subscriber = kind(topic.server.address, "bob", renew=0.1, register_function=function, **limits)
    subscriber.on(topic.name)(lambda message: None)
    with running(subscriber):
        for _ in range(2):
            said = take(registrar, registration(topic))
            assert said == {"topic": topic.name, "client_id": "bob", **limits}


@pytest.mark.parametrize(
    "command", [["register", "TOPIC", "bob"], ["listen", "TOPIC", "--as", "bob", "--count", "1"]]
)
def test_the_commands_say_limits(
    topic: Topic, function: str, registrar: Peer, command: Sequence[str]
) -> None:
    words = [topic.name if word == "TOPIC" else word for word in command]
    words += ["--max-waiting", "100", "--overflow", "skip", "--remove-idle", "60.5"]
    topic.peer().start(topic.queue("bob"), "a message for listen")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            gearhorn, [topic.server.address], *words, GEARHORN_FUNCTIONS=f"register={function}"
        )
        assert take(registrar, registration(topic)).items() >= LIMITS.items()
        assert running.result(30).returncode == 0


@pytest.fixture
def publish(topic: Topic, function: str, registrar: Peer) -> Any:
    """``gearhorn publish``, whose request is answered with a report."""

    def publish(report: dict[str, Any], *options: str) -> Result:
        with ThreadPoolExecutor(1) as pool:
            words = ["publish", topic.name, "hello", *options]
            running = pool.submit(
                gearhorn, [topic.server.address], *words, GEARHORN_FUNCTIONS=f"fanout={function}"
            )
            take(registrar, {"topic": topic.name, "subscribers": 3, **report})
            return running.result(30)

    return publish


def test_publish_shows_how_many_were_skipped(publish: Any) -> None:
    done = publish({"queued": 2, "skipped": 1}, "--background")
    assert (done.returncode, done.stdout) == (0, "Queued for 2 of 3 subscribers, 1 skipped.\n")
    done = publish({"delivered": 0, "skipped": 3})
    assert (done.returncode, done.stdout) == (0, "0 of 3 subscribers answered, 3 skipped.\n")
    done = publish({"queued": 2, "skipped": 1}, "--background", "--format", "json")
    assert json.loads(done.stdout)["skipped"] == 1


def test_publish_names_the_subscribers_whose_queues_are_full(publish: Any) -> None:
    report = {"queued": 1, "failed": {"bob": "queue_full"}, "failed_count": 1, "skipped": 1}
    done = publish(report, "--background")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "Queued for 1 of 3 subscribers, 1 skipped."
    assert "queue_full" in done.stdout


def test_a_publisher_is_told_of_full_queues(topic: Topic, function: str, registrar: Peer) -> None:
    with (
        Publisher(topic.server.address, function=function) as publisher,
        ThreadPoolExecutor(1) as pool,
    ):
        skipped = pool.submit(publisher.publish, topic.name, "hello", background=True)
        take(registrar, {"topic": topic.name, "subscribers": 2, "queued": 1, "skipped": 1})
        assert skipped.result(30).skipped == 1
        failing = pool.submit(publisher.publish, topic.name, "hello", background=True)
        job = registrar.grab()
        report = {"topic": topic.name, "subscribers": 3, "queued": 1}
        failed = {"failed": {"bob": "queue_full"}, "failed_count": 1, "skipped": 1}
        registrar.warning(job, json.dumps({**report, **failed}))
        registrar.fail(job)
        with pytest.raises(errors.PartialFailure, match=r"bob \(queue_full\); 1 more") as told:
            failing.result(30)
        assert told.value.report.skipped == 1


async def test_an_async_publisher_is_told_of_full_queues(
    topic: Topic, function: str, registrar: Peer
) -> None:
    async with AsyncPublisher(topic.server.address, function=function) as publisher:
        with ThreadPoolExecutor(1) as pool:
            answer = {"topic": topic.name, "subscribers": 2, "queued": 1, "skipped": 1}
            answering = pool.submit(take, registrar, answer)
            report = await publisher.publish(topic.name, "hello", background=True)
            answering.result(30)
    assert report.skipped == 1
