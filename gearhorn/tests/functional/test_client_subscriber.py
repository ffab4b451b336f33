# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Subscribing from Python, against real servers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gearhorn import AsyncSubscriber, Message, Subscriber, errors
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand


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


def test_no_message_comes_before_its_handler(topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish("early", background=True)
    subscriber = Subscriber(topic.server.address, register=False)
    subscriber.on(topic.name, client_id="alice")(lambda message: None)
    with running(subscriber):
        decorate = subscriber.on(topic.name, client_id="bob")
        subscriber.on(topic.name, client_id="carol")(lambda message: None)
        eventually(lambda: topic.server.admin.queue(topic.queue("carol")).workers == 1)
        assert topic.server.admin.queue(topic.queue("bob")) == (1, 0, 0)
        taken: list[str] = []
        decorate(lambda message: taken.append(message.text))
        eventually(lambda: taken == ["early"])


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
    ],
    ids=["raises", "returns nonsense", "returns no text"],
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
    subscriber = Subscriber(topic.server.address, "bob", ttl=3, concurrency=2)
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
            threading.Event().wait(0.2)
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


def test_a_subscriber_serves_once(gearmand: Gearmand) -> None:
    subscriber = Subscriber(gearmand.address, "bob", register=False)
    subscriber.on("t")(lambda message: None)
    subscriber.stop()
    subscriber.run()
    with pytest.raises(errors.Closed):
        subscriber.run()


def test_a_refused_registration_ends_it(topic: Topic) -> None:
    client = topic.client
    taken = subscription(f"{topic.name}_a", "b")
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
    request = message("t", gather=True, timeout=5)

    def delivered(client: Peer) -> bool:
        outcome = client.submit("fanout", request, timeout_s=20)
        return outcome.completed and outcome.report["delivered"] == 1

    with running(subscriber):
        client = peer(gearmand)
        eventually(lambda: delivered(client))
        gearmand.kill()
        gearmand.start()
        client = peer(gearmand)
        # As if the ttl had run out meanwhile.
        client.submit("unregister_fanout_subscriber", subscription("t", "bob"), timeout_s=20)
        eventually(lambda: delivered(client), 20)
        assert one.exit_code is None


@pytest.mark.parametrize("kind", [Subscriber, AsyncSubscriber])
async def test_a_subscriber_that_is_refused_takes_no_messages_of_another(
    topic: Topic, kind: Any
) -> None:
    owner = f"{topic.name}_b"
    registered = topic.client.submit("register_fanout_subscriber", subscription(owner, "c"))
    assert registered.completed
    texts = [f"message {number}" for number in range(5)]
    for text in texts:
        assert topic.client.submit("fanout", message(owner, text, background=True)).completed

    taken: list[str] = []
    subscriber = kind(topic.server.address, "b_c")
    subscriber.on(topic.name)(lambda message: taken.append(message.text))
    is_async = isinstance(subscriber, AsyncSubscriber)
    with pytest.raises(errors.QueueTaken):
        await (subscriber.run() if is_async else asyncio.to_thread(subscriber.run))

    assert taken == []
    assert topic.receiver("b_c").take(5) == [text.encode() for text in texts]
