# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Handlers that end the program, against real servers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from gearhorn import AsyncSubscriber, Message, Subscriber
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.subscribing import Running
from gearhorn.tests.processes import eventually

KINDS = [Subscriber, AsyncSubscriber]
EXITS = [SystemExit(3), KeyboardInterrupt()]


def queued(topic: Topic, *texts: str) -> None:
    topic.subscribe("bob")
    for text in texts:
        assert topic.publish(text, background=True).completed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raised", EXITS, ids=["SystemExit", "KeyboardInterrupt"])
def test_a_handler_that_ends_the_program_ends_run_and_leaves_its_message(
    topic: Topic, kind: Any, raised: BaseException
) -> None:
    queued(topic, "before", "end", "after")
    handled: list[str] = []
    subscriber = kind(topic.server.address, "bob")

    def handle(message: Message) -> None:
        if message.text == "end":
            raise raised
        handled.append(message.text)

    subscriber.on(topic.name)(handle)

    running = Running(subscriber)
    running.join()

    assert running.raised is raised
    assert handled == ["before"]
    # Its own and what was fetched ahead, in any order.
    assert sorted(topic.receiver("bob").take(2)) == [b"after", b"end"]


@pytest.mark.parametrize("kind", KINDS)
def test_handlers_beside_it_finish_their_message_and_begin_no_other(
    topic: Topic, kind: Any
) -> None:
    queued(topic, "slow", "end", *["later"] * 5)
    slow_runs, ending = threading.Event(), threading.Event()

    class Told(kind):  # type: ignore[misc]
        """It says when it is stopped."""

        def stop(self) -> None:
            super().stop()
            ending.set()

    subscriber = Told(topic.server.address, "bob", concurrency=2)
    handled: list[str] = []

    def finish(text: str) -> None:
        if text == "slow":
            slow_runs.set()
            assert ending.wait(20)
        else:
            assert slow_runs.wait(20)
            raise SystemExit(text)

    def handle(message: Message) -> None:
        finish(message.text)
        handled.append(message.text)

    async def handle_elsewhere(message: Message) -> None:
        await asyncio.to_thread(finish, message.text)
        handled.append(message.text)

    subscriber.on(topic.name)(handle if kind is Subscriber else handle_elsewhere)
    running = Running(subscriber)
    running.join()

    assert isinstance(running.raised, SystemExit)
    assert running.raised.code == "end"
    assert handled == ["slow"]
    assert sorted(topic.receiver("bob").take(6)) == [b"end", *[b"later"] * 5]


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_ends_the_program_while_it_is_stopped(topic: Topic, kind: Any) -> None:
    queued(topic, "end")
    subscriber = kind(topic.server.address, "bob", drain_timeout=60)

    def handle(message: Message) -> None:
        subscriber.stop()
        raise SystemExit

    subscriber.on(topic.name)(handle)

    running = Running(subscriber)
    # It does not wait for drain_timeout: nobody is going to answer.
    running.join()

    assert isinstance(running.raised, SystemExit)
    assert topic.receiver("bob").take(1) == [b"end"]


def test_an_iteration_that_the_program_leaves_by_exiting(topic: Topic) -> None:
    queued(topic, "before", "end")
    subscriber = Subscriber(topic.server.address, "bob")
    subscriber.on(topic.name)

    def serve() -> None:
        for message in subscriber:
            if message.text == "end":
                sys.exit(3)
            message.ack()

    with pytest.raises(SystemExit):
        serve()
    assert topic.receiver("bob").take(1) == [b"end"]


def test_an_iteration_on_asyncio_that_the_program_leaves_by_exiting(topic: Topic) -> None:
    queued(topic, "before", "end")

    async def serve() -> None:
        subscriber = AsyncSubscriber(topic.server.address, "bob")
        subscriber.on(topic.name)
        async for message in subscriber:
            if message.text == "end":
                sys.exit(3)
            message.ack()

    with pytest.raises(SystemExit):
        asyncio.run(serve())
    assert topic.receiver("bob").take(1) == [b"end"]


PROGRAM = """
import sys
from gearhorn import Subscriber
subscriber = Subscriber(sys.argv[1], "bob", concurrency=3)
subscriber.on(sys.argv[2])(lambda message: sys.exit(7))
subscriber.run()
"""


def test_a_program_whose_handler_exits_ends_with_its_code(topic: Topic) -> None:
    queued(topic, "end")
    arguments = [sys.executable, "-c", PROGRAM, topic.server.address, topic.name]
    done = subprocess.run(arguments, timeout=30, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
    eventually(lambda: topic.server.admin.queue(topic.queue("bob")).running == 0)
    assert topic.waiting("bob") == 1
