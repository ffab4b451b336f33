# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Subscribing from Python without a handler, and on asyncio, against real servers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import uvloop

from gearhorn import AsyncPublisher, AsyncSubscriber, Message, Subscriber
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.processes import eventually


def test_iteration_with_explicit_answers(topic: Topic) -> None:
    topic.subscribe("bob")
    subscriber = Subscriber(topic.server.address, "bob")
    subscriber.on(topic.name)
    handles = [topic.start(text, gather=True) for text in ("one", "two", "three")]
    kept = []
    for message in subscriber:
        kept.append(message)
        if len(kept) == 3:
            break
        # More come though none is answered.
    assert [message.text for message in kept] == ["one", "two", "three"]
    assert all(not message.answered for message in kept)
    # They went back when the loop was left.
    again = Subscriber(topic.server.address, "bob")
    again.on(topic.name)
    for message in again:
        if message.text == "two":
            message.fail()
        else:
            message.ack(message.text.upper())
        handles.pop()
        if not handles:
            again.stop()
    assert topic.waiting("bob") == 0


def test_stop_ends_an_iteration_that_waits(topic: Topic) -> None:
    subscriber = Subscriber(topic.server.address, "bob", unregister=True)
    subscriber.on(topic.name)

    def stop_once_it_waits() -> None:
        eventually(lambda: topic.server.admin.queue(topic.queue("bob")).workers)
        subscriber.stop()

    thread = threading.Thread(target=stop_once_it_waits)
    thread.start()
    assert list(subscriber) == []
    thread.join()
    assert topic.reached() == 0


async def test_an_asyncio_program_subscribes(topic: Topic) -> None:
    topic.subscribe("bob", "al")
    subscriber = AsyncSubscriber(topic.server.address, "bob", concurrency=10)
    together = 0
    barrier = asyncio.Event()

    @subscriber.on(topic.name)
    async def handle(message: Message) -> str:
        nonlocal together
        together += 1
        if together == 10:
            barrier.set()
        await asyncio.wait_for(barrier.wait(), 10)
        return message.text

    @subscriber.on(topic.name, client_id="al")
    def broken(message: Message) -> None:
        raise LookupError(message.text)

    handles = [topic.start(str(number), gather=True) for number in range(10)]
    task = asyncio.create_task(subscriber.run())
    outcomes = await asyncio.to_thread(lambda: [topic.client.finish(h) for h in handles])
    subscriber.stop()
    await asyncio.wait_for(task, 20)
    for number, outcome in enumerate(outcomes):
        assert outcome.report["results"] == {"bob": str(number)}
        assert outcome.report["failed"] == {"al": "receiver_failed"}


async def test_an_asyncio_program_iterates(topic: Topic) -> None:
    subscriber = AsyncSubscriber(topic.server.address, "bob", unregister=True)
    subscriber.on(topic.name)
    await asyncio.to_thread(topic.subscribe, "bob")
    handle = topic.start("hello", gather=True)
    async for message in subscriber:
        message.ack([message.text])
        subscriber.stop()
    outcome = await asyncio.to_thread(topic.client.finish, handle)
    assert outcome.report["results"] == {"bob": '["hello"]'}
    assert await asyncio.to_thread(topic.reached) == 0


def test_a_program_on_uvloop_publishes_and_subscribes(topic: Topic) -> None:
    topic.subscribe("bob", "al")

    async def receive(subscriber: AsyncSubscriber) -> None:
        async for message in subscriber:
            message.ack(f"{message.client_id} has {message.text}")

    async def program() -> list[Any]:
        subscriber = AsyncSubscriber(topic.server.address, register=False)
        subscriber.on(topic.name, client_id="bob")
        subscriber.on(topic.name, client_id="al")
        receiving = asyncio.create_task(receive(subscriber))
        async with AsyncPublisher(topic.server.address) as publisher:
            many = [(topic.name, str(number)) for number in range(500)]
            reports = [report async for report in publisher.publish_many(many, gather=True)]
        subscriber.stop()
        await receiving
        return [report.results for report in reports]

    assert uvloop.run(program()) == [
        {"bob": f"bob has {number}", "al": f"al has {number}"} for number in range(500)
    ]


async def test_what_was_acknowledged_last_is_sent_before_the_end(topic: Topic) -> None:
    topic.subscribe("bob")
    subscriber = AsyncSubscriber(topic.server.address, "bob", register=False)
    subscriber.on(topic.name)
    handles = [topic.start(str(number), gather=True) for number in range(3)]
    received = 0
    async for message in subscriber:
        message.ack(message.text)
        received += 1
        if received == 3:
            break
    outcomes = await asyncio.to_thread(lambda: [topic.client.finish(h) for h in handles])
    assert [outcome.report["results"]["bob"] for outcome in outcomes] == ["0", "1", "2"]
