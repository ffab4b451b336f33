# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Handlers that raise and are called again, against real servers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from gearhorn import AsyncSubscriber, Message, Subscriber, errors
from gearhorn.tests.conftest import NewPeer
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.failing import Failing, pausing
from gearhorn.tests.functional.programs import line_of, running_program
from gearhorn.tests.functional.subscribing import Running, running
from gearhorn.tests.processes import eventually
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand

LONG = 600.0
"""A backoff, in seconds, that no test waits for."""


@pytest.fixture(params=[Subscriber, AsyncSubscriber])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_handler_that_raised_is_called_again_with_the_same_message(
    topic: Topic, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic.subscribe("bob")
    handler = Failing(times=2)
    subscriber = kind(topic.server.address, "bob")
    subscriber.on(topic.name, retries=2, backoff=0.01)(handler)
    with running(subscriber):
        report = topic.publish("hello", gather=True).report
        # Tries are counted for each message.
        assert topic.publish("again").completed
    assert report["results"] == {"bob": "hello"}
    assert handler.seen == ["hello"] * 3 + ["again"]
    assert "failed in try 2 of 3: calling it again in 0.0 seconds" in caplog.text
    assert "ERROR" not in {record.levelname for record in caplog.records}


def test_the_message_has_failed_after_the_last_try(
    topic: Topic, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic.subscribe("bob")
    handler = Failing()
    subscriber = kind(topic.server.address, "bob")
    subscriber.on(topic.name, retries=2, backoff=0.01)(handler)
    with running(subscriber):
        assert topic.publish("hello").report["failed"] == {"bob": "receiver_failed"}
    assert handler.seen == ["hello"] * 3
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


def test_a_result_that_cannot_be_sent_is_a_failure_like_any_other(topic: Topic, kind: Any) -> None:
    topic.subscribe("bob")
    results: list[Any] = [object(), "at last"]
    subscriber = kind(topic.server.address, "bob")
    subscriber.on(topic.name, retries=1, backoff=0.01)(lambda message: results.pop(0))
    with running(subscriber):
        assert topic.publish("hello", gather=True).report["results"] == {"bob": "at last"}


def test_a_message_keeps_its_place_during_a_pause(topic: Topic, kind: Any) -> None:
    topic.subscribe("bob")
    handler = Failing(times=2)
    for text in ("first", "second"):
        topic.publish(text, background=True)
    subscriber = kind(topic.server.address, "bob")
    subscriber.on(topic.name, retries=2, backoff=0.05)(handler)
    with running(subscriber):
        eventually(lambda: topic.waiting("bob") == 0)
    assert handler.seen == ["first"] * 3 + ["second"]


def test_a_pause_holds_up_no_other_place(topic: Topic, kind: Any) -> None:
    topic.subscribe("bob")
    handler = Failing(times=1)
    topic.publish("first", background=True)
    subscriber = kind(topic.server.address, "bob", concurrency=2)
    subscriber.on(topic.name, retries=1, backoff=LONG)(handler)
    with running(subscriber):
        pausing(topic, handler)
        for _ in range(5):
            assert topic.publish("other").completed
        assert topic.waiting("bob") == 1


def test_a_pause_leaves_what_comes_to_other_subscribers(
    gearmand: Gearmand, peer: NewPeer, kind: Any
) -> None:
    """However many messages were fetched ahead before it."""
    client, other = peer(), peer()
    subscriber = kind(gearmand.address, "bob", register=False)

    @subscriber.on("t", retries=1, backoff=LONG)  # type: ignore[untyped-decorator]
    def handle(message: Message) -> None:
        if message.text == "fail":
            raise ValueError

    for number in range(500):
        client.start("t_bob", str(number), background=True)
    with running(subscriber):
        eventually(lambda: gearmand.admin.queue("t_bob").total == 0)
        client.start("t_bob", "fail", background=True)
        # The pause has begun once it counts as the time that messages take.
        eventually(lambda: subscriber._reception.pace.seconds > 1)
        for number in range(20):
            client.start("t_bob", str(number), background=True)
        other.can_do("t_bob")
        # All but one that is fetched ahead.
        assert len(other.take(19)) == 19


def test_stop_ends_a_pause_and_another_subscriber_gets_the_message(topic: Topic, kind: Any) -> None:
    topic.subscribe("bob")
    handler = Failing()
    subscriber = kind(topic.server.address, "bob")
    subscriber.on(topic.name, retries=1, backoff=LONG)(handler)
    handle = topic.start("hello")
    with running(subscriber):
        pausing(topic, handler)
    assert topic.receiver("bob").take(1) == [b"hello"]
    assert topic.client.finish(handle).report["delivered"] == 1
    assert handler.seen == ["hello"]


def test_a_message_that_fails_while_its_subscriber_stops_is_left_to_another(
    topic: Topic, kind: Any
) -> None:
    topic.subscribe("bob")
    begun, stopped = threading.Event(), threading.Event()
    subscriber = kind(topic.server.address, "bob")

    class Told(kind):  # type: ignore[misc]
        """It says when it is stopped."""

        def stop(self) -> None:
            super().stop()
            stopped.set()

    subscriber = Told(topic.server.address, "bob")

    def fail_late() -> None:
        begun.set()
        assert stopped.wait(20)
        raise ValueError

    def handle(message: Message) -> Any:
        return asyncio.to_thread(fail_late) if kind is AsyncSubscriber else fail_late()

    subscriber.on(topic.name, retries=1, backoff=LONG)(handle)
    topic.publish("hello", background=True)
    with running(subscriber):
        assert begun.wait(20)
    assert topic.receiver("bob").take(1) == [b"hello"]


@pytest.mark.parametrize("name", ["Subscriber", "AsyncSubscriber"])
def test_another_subscriber_gets_the_message_of_a_process_that_dies_in_a_pause(
    topic: Topic, name: str
) -> None:
    topic.subscribe("bob")
    run = "subscriber.run()" if name == "Subscriber" else "asyncio.run(subscriber.run())"
    program = f"""
subscriber = {name}(server, "bob", register=False)

@subscriber.on(topic, retries=1, backoff={LONG})
def handle(message):
    say("failing")
    raise ValueError

{run}
"""
    topic.publish("hello", background=True)
    with running_program(program, topic.server.address, topic.name) as it:
        assert line_of(it) == "failing"
        it.kill()
        assert topic.receiver("bob").take(1) == [b"hello"]


def test_a_message_whose_connection_is_lost_in_a_pause_is_tried_from_the_start(
    gearmand: Gearmand, proxied_gearmand: Proxy, peer: NewPeer, kind: Any
) -> None:
    client = peer()
    client.start("t_bob", "hello", background=True)
    handler = Failing()
    subscriber = kind(proxied_gearmand.address, "bob", register=False)
    subscriber.on("t", retries=1, backoff=LONG)(handler)
    with running(subscriber):
        assert handler.called.wait(20)
        handler.called.clear()
        proxied_gearmand.reset()
        # Its place is free again too, though the pause is not over.
        assert handler.called.wait(20)
        assert handler.seen == ["hello"] * 2
        assert gearmand.admin.queue("t_bob").total == 1


def test_a_handler_that_answered_before_it_raised_is_not_called_again(
    topic: Topic, kind: Any
) -> None:
    topic.subscribe("bob")
    calls: list[str] = []
    subscriber = kind(topic.server.address, "bob")

    def handle(message: Message) -> None:
        calls.append(message.text)
        if message.text == "fail":
            message.fail()
        else:
            message.ack()
        raise ValueError

    subscriber.on(topic.name, retries=5, backoff=0.01, dead_letter="unused")(handle)
    with running(subscriber):
        assert topic.publish("hello").completed
        # For good, as it says.
        assert topic.publish("fail").report["failed"] == {"bob": "receiver_failed"}
        assert topic.publish("hello").completed
    assert calls == ["hello", "fail", "hello"]


def test_a_message_that_is_answered_in_a_pause_is_done(topic: Topic, kind: Any) -> None:
    topic.subscribe("bob")
    kept: list[Message] = []
    subscriber = kind(topic.server.address, "bob")

    def handle(message: Message) -> None:
        kept.append(message)
        raise ValueError

    subscriber.on(topic.name, retries=5, backoff=3)(handle)
    with running(subscriber):
        handle_of_job = topic.start("hello")
        eventually(lambda: kept)
        kept[0].ack()
        assert topic.client.finish(handle_of_job).completed
        handle_of_job = topic.start("next")
        eventually(lambda: len(kept) == 2)
        kept[1].ack()
        assert topic.client.finish(handle_of_job).completed
    assert [message.text for message in kept] == ["hello", "next"]


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_a_handler_that_ends_the_program_is_not_called_again(
    topic: Topic, kind: Any, raised: BaseException
) -> None:
    topic.subscribe("bob")
    handler = Failing(error=lambda: raised)
    topic.publish("hello", background=True)
    subscriber = kind(topic.server.address, "bob")
    subscriber.on(topic.name, retries=5, backoff=0.01, dead_letter="unused")(handler)
    it = Running(subscriber)
    it.join()
    assert it.raised is raised
    assert handler.seen == ["hello"]
    assert topic.receiver("bob").take(1) == [b"hello"]


async def test_a_run_that_is_cancelled_in_a_pause_leaves_the_message(topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish("hello", background=True)
    handler = Failing()
    subscriber = AsyncSubscriber(topic.server.address, "bob")
    subscriber.on(topic.name, retries=1, backoff=LONG)(handler)
    task = asyncio.create_task(subscriber.run())
    await asyncio.to_thread(pausing, topic, handler)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert topic.receiver("bob").take(1) == [b"hello"]


@pytest.mark.parametrize("options", [{"retries": 1}, {"dead_letter": "dead"}], ids=str)
async def test_who_iterates_cannot_have_them(topic: Topic, kind: Any, options: Any) -> None:
    subscriber = kind(topic.server.address, "bob", register=False)
    subscriber.on(topic.name, **options)
    is_async = isinstance(subscriber, AsyncSubscriber)
    with pytest.raises(errors.ConfigurationError, match="need a handler"):
        await (anext(aiter(subscriber)) if is_async else asyncio.to_thread(list, subscriber))


def test_a_topic_that_comes_while_a_program_iterates_cannot_have_them_either(topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish("hello", background=True)
    subscriber = Subscriber(topic.server.address, "bob", register=False)
    subscriber.on(topic.name)
    for message in subscriber:
        message.ack()
        with pytest.raises(errors.ConfigurationError, match="need a handler"):
            subscriber.on("another", retries=1)
        subscriber.stop()
