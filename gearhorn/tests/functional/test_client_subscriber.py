# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Subscribing from Python, against real servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from gearhorn import AsyncPublisher, AsyncSubscriber, Message, Subscriber, errors
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand


@contextlib.contextmanager
def running(subscriber: Subscriber) -> Iterator[None]:
    """The subscriber runs in a thread until the end of the block."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            subscriber.run()
        except errors.GearhornError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        subscriber.stop()
        thread.join(20)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


def test_it_registers_and_its_handler_answers(topic: Topic) -> None:
    subscriber = Subscriber(topic.server.address, "bob")

    @subscriber.on(topic.name)
    def handle(message: Message) -> Any:
        return {"for": message.client_id, "text": message.text}

    with running(subscriber):
        eventually(lambda: topic.reached() == 1)
        report = topic.publish("hello", gather=True).report
    assert json.loads(report["results"]["bob"]) == {"for": "bob", "text": "hello"}
    # It asked for nothing else: it stays registered.
    assert topic.reached() == 1


def test_it_unregisters_when_it_is_asked_to(topic: Topic) -> None:
    subscriber = Subscriber(topic.server.address, "bob", unregister=True)
    subscriber.on(topic.name)(lambda message: None)
    with running(subscriber):
        eventually(lambda: topic.reached() == 1)
    assert topic.reached() == 0


def test_one_serves_many_client_ids_that_come_and_go(topic: Topic) -> None:
    client_ids = [f"client{number}" for number in range(50)]
    subscriber = Subscriber(topic.server.address)

    def handle(message: Message) -> str:
        return f"{message.client_id} has {message.text}"

    for client_id in client_ids[:49]:
        subscriber.on(topic.name, client_id=client_id)(handle)
    with running(subscriber):
        eventually(lambda: topic.reached() == 49)
        subscriber.on(topic.name, client_id=client_ids[49])(handle)
        eventually(lambda: topic.reached() == 50)
        results = topic.publish("it", gather=True).report["results"]
        assert results == {client_id: f"{client_id} has it" for client_id in client_ids}
        subscriber.off(topic.name, client_id="client7")
        eventually(lambda: topic.reached() == 49)
        queue = topic.queue("client7")
        eventually(lambda: topic.server.admin.queue(queue).workers == 0)
        assert topic.publish("it").report["delivered"] == 49


def test_a_client_that_goes_may_come_back_at_once(topic: Topic) -> None:
    subscriber = Subscriber(topic.server.address, "bob")
    subscriber.on(topic.name)(lambda message: "first")
    with running(subscriber):
        eventually(lambda: topic.reached() == 1)
        for _ in range(20):
            subscriber.off(topic.name)
            subscriber.on(topic.name)(lambda message: "second")

        def result() -> str | None:
            found: str | None = topic.publish("?", gather=True).report["results"].get("bob")
            return found

        eventually(lambda: result() == "second")


def test_a_message_that_is_too_large_fails(topic: Topic, caplog: pytest.LogCaptureFixture) -> None:
    topic.subscribe("bob")
    subscriber = Subscriber(topic.server.address, "bob", max_message_bytes=100_000)
    subscriber.on(topic.name)(lambda message: str(len(message.payload)))
    with running(subscriber):
        assert topic.publish("x" * 100_001).report["failed"] == {"bob": "receiver_failed"}
        report = topic.publish("x" * 90_000, gather=True).report
    assert report["results"] == {"bob": "90000"}
    assert "too large" in caplog.text


@pytest.mark.parametrize(
    "broken",
    [
        lambda message: 1 / 0,
        lambda message: object(),
        lambda message: "\ud800",
        lambda message: exit(1),
    ],
    ids=["raises", "returns nonsense", "returns no text", "exits"],
)
def test_what_goes_wrong_in_a_handler_harms_only_its_message(
    topic: Topic, broken: Callable[[Message], Any], caplog: pytest.LogCaptureFixture
) -> None:
    subscriber = Subscriber(topic.server.address, "bob")
    subscriber.on(topic.name)(
        lambda message: broken(message) if message.text == "bad" else message.text
    )
    topic.subscribe("bob")
    with running(subscriber):
        assert topic.publish("bad").report["failed"] == {"bob": "receiver_failed"}
        assert topic.publish("good", gather=True).report["results"] == {"bob": "good"}
    assert "handler" in caplog.text


def test_a_blocked_handler_holds_up_neither_others_nor_renewals(topic: Topic) -> None:
    release = threading.Event()
    subscriber = Subscriber(topic.server.address, "bob", ttl=1.5, concurrency=2)
    subscriber.on(topic.name)(
        lambda message: message.text != "block" or (release.wait(20) and None)
    )
    with running(subscriber):
        eventually(lambda: topic.reached() == 1)
        handle = topic.start("block")
        eventually(lambda: topic.server.admin.queue(topic.queue("bob")).running == 1)
        for _ in range(20):
            # Longer than the ttl, all in all.
            assert topic.publish("quick").report == {
                "topic": topic.name,
                "subscribers": 1,
                "delivered": 1,
                "failed": {},
            }
            threading.Event().wait(0.1)
        release.set()
        assert topic.client.finish(handle).completed


def test_a_registration_with_a_ttl_ends_with_its_subscriber(topic: Topic) -> None:
    subscriber = Subscriber(topic.server.address, "bob", ttl=0.5)
    subscriber.on(topic.name)(lambda message: None)
    with running(subscriber):
        eventually(lambda: topic.reached() == 1)
    eventually(lambda: topic.reached() == 0, 20)


def test_messages_are_acknowledged_only_after_the_handler(topic: Topic) -> None:
    topic.subscribe("bob")
    handled = threading.Event()
    subscriber = Subscriber(topic.server.address, "bob")
    subscriber.on(topic.name)(lambda message: handled.wait(20) and None)
    with running(subscriber):
        handle = topic.start("hello")
        eventually(lambda: topic.server.admin.queue(topic.queue("bob")).running == 1)
        topic.client.echo()
        assert topic.waiting("bob") == 1
        handled.set()
        assert topic.client.finish(handle).completed


def test_a_slow_subscriber_leaves_messages_to_another(gearmand: Gearmand, peer: NewPeer) -> None:
    client, other = peer(), peer()
    for number in range(50):
        client.start("t_bob", str(number), background=True)
    release = threading.Event()
    subscriber = Subscriber(gearmand.address, "bob", register=False)
    subscriber.on("t")(lambda message: release.wait(20) and None)
    with running(subscriber):
        eventually(lambda: gearmand.admin.queue("t_bob").running)
        other.can_do("t_bob")
        # All but the one in its handler and one that is fetched ahead.
        assert len(other.take(48)) == 48
        release.set()


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
    timer = threading.Timer(0.5, subscriber.stop)
    timer.start()
    assert list(subscriber) == []
    assert topic.reached() == 0
    timer.join()


def test_a_subscriber_serves_once(gearmand: Gearmand) -> None:
    subscriber = Subscriber(gearmand.address, "bob", register=False)
    subscriber.on("t")(lambda message: None)
    subscriber.stop()
    subscriber.run()
    with pytest.raises(errors.Closed):
        subscriber.run()


def test_a_refused_registration_ends_it(topic: Topic) -> None:
    client = topic.client
    taken = {"topic": f"{topic.name}_a", "client_id": "b"}
    assert client.submit("register_fanout_subscriber", taken).completed
    subscriber = Subscriber(topic.server.address, "a_b")
    subscriber.on(topic.name)(lambda message: None)
    with pytest.raises(errors.QueueTaken) as raised:
        subscriber.run()
    assert raised.value.report.error == "queue_taken"


def test_a_lost_server_is_served_again(start: Start, peer: NewPeer, daemon: NewDaemon) -> None:
    """Functions and registrations are there again after the server was away."""
    gearmand = start(Gearmand())
    one = daemon([gearmand])
    subscriber = Subscriber(gearmand.address, "bob", ttl=60)
    subscriber.on("t")(lambda message: message.text)
    publish = {"topic": "t", "payload": "hello", "gather": True, "timeout": 5}

    def delivered(client: Peer) -> bool:
        outcome = client.submit("fanout", publish, timeout_s=20)
        return outcome.completed and outcome.report["delivered"] == 1

    with running(subscriber):
        client = peer(gearmand)
        eventually(lambda: delivered(client))
        gearmand.kill()
        gearmand.start()
        client = peer(gearmand)
        # As if the ttl had run out meanwhile.
        unregister = {"topic": "t", "client_id": "bob"}
        client.submit("unregister_fanout_subscriber", unregister, timeout_s=20)
        eventually(lambda: delivered(client), 20)
        assert one.exit_code is None


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


@pytest.mark.parametrize("kind", [Subscriber, AsyncSubscriber])
async def test_a_subscriber_that_is_refused_takes_no_messages_of_another(
    topic: Topic, kind: Any
) -> None:
    owner = {"topic": f"{topic.name}_b", "client_id": "c"}
    assert topic.client.submit("register_fanout_subscriber", owner).completed
    texts = [f"message {number}" for number in range(5)]
    for text in texts:
        request = {"topic": owner["topic"], "payload": text, "background": True}
        assert topic.client.submit("fanout", request).completed

    taken: list[str] = []
    subscriber = kind(topic.server.address, "b_c")
    subscriber.on(topic.name)(lambda message: taken.append(message.text))
    is_async = isinstance(subscriber, AsyncSubscriber)
    with pytest.raises(errors.QueueTaken):
        await (subscriber.run() if is_async else asyncio.to_thread(subscriber.run))

    assert taken == []
    assert topic.receiver("b_c").take(5) == [text.encode() for text in texts]
