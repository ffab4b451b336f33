# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages that a subscriber gives up, and their dead letters, against real servers."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from gearhorn import AsyncSubscriber, Subscriber
from gearhorn.client import dead_letters
from gearhorn.tests.builders import subscription
from gearhorn.tests.cli import gearhorn
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.conftest import NewTopic, Topic, TopicWith
from gearhorn.tests.functional.failing import Failing, held, pausing
from gearhorn.tests.functional.subscribing import Running, running
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, Redis


@pytest.fixture(params=[Subscriber, AsyncSubscriber])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def dead(topic: Topic, *, subscribe: bool = True) -> str:
    """The name of the topic's dead-letter topic, which ops has subscribed."""
    name = f"{topic.name}-dead"
    if subscribe:
        request = subscription(name, "ops")
        assert topic.client.submit("register_fanout_subscriber", request).completed
    return name


def letters(topic: Topic, count: int = 1) -> list[dict[str, Any]]:
    """The dead letters that ops gets, which there must be."""
    with topic.peer() as worker:
        worker.can_do(f"{topic.name}-dead_ops")
        taken = [json.loads(data) for data in worker.take(count)]
        # They are gone once the server has read that they are done.
        worker.echo()
        return taken


def no_letter(topic: Topic) -> bool:
    return topic.server.admin.queue(f"{topic.name}-dead_ops").total == 0


def failing(topic: Topic, kind: Any = Subscriber, **options: Any) -> Any:
    """A subscriber whose handler fails each message, with its dead letters for ops."""
    subscriber = kind(topic.server.address, "bob", register=False, **options)
    subscriber.on(topic.name, dead_letter=f"{topic.name}-dead")(
        Failing(error=lambda: ValueError("no such office"))
    )
    return subscriber


def test_what_is_given_up_is_published_with_its_error(topic: Topic, kind: Any) -> None:
    topic.subscribe("bob")
    to = dead(topic)
    subscriber = kind(topic.server.address, "bob")
    subscriber.on(topic.name, retries=2, backoff=0.01, dead_letter=to)(
        Failing(error=lambda: ValueError("no such office"))
    )
    before = time.time()
    with running(subscriber):
        assert topic.publish('Żółw said "¡adiós!"\0').report["failed"] == {"bob": "receiver_failed"}
        # It was queued before the job was answered.
        assert not no_letter(topic)
    (letter,) = letters(topic)
    assert before - 1 < letter.pop("time") < time.time() + 1
    assert letter == {
        "topic": topic.name,
        "client_id": "bob",
        "attempts": 3,
        "error": "ValueError: no such office",
        "payload": 'Żółw said "¡adiós!"\0',
    }


def test_bytes_that_are_no_text_are_in_base64(topic: Topic, kind: Any) -> None:
    topic.subscribe("bob")
    dead(topic)
    payload = base64.b64encode(b"\xff\0").decode()
    with running(failing(topic, kind)):
        topic.publish(payload, encoding="base64")
    (letter,) = letters(topic)
    assert (letter["payload"], letter["encoding"], letter["attempts"]) == (payload, "base64", 1)


def test_a_success_leaves_no_letter(topic: Topic) -> None:
    topic.subscribe("bob")
    to = dead(topic)
    subscriber = Subscriber(topic.server.address, "bob")
    subscriber.on(topic.name, retries=1, backoff=0.01, dead_letter=to)(Failing(times=1))
    with running(subscriber):
        assert topic.publish("hello").completed
    assert no_letter(topic)


@pytest.mark.once
def test_the_letters_can_be_listened_to(topic: Topic) -> None:
    """`gearhorn listen` on the dead-letter topic shows them."""
    topic.subscribe("bob")
    dead(topic)
    with running(failing(topic)):
        topic.publish("hello")
    arguments = ("listen", f"{topic.name}-dead", "--as", "ops", "--count", "1")
    listening = gearhorn([topic.server.address], *arguments)
    assert json.loads(listening.stdout)["payload"] == "hello"


@pytest.mark.once
def test_a_message_that_is_given_up_twice_has_one_letter_while_that_is_queued(
    topic: Topic,
) -> None:
    """As if a subscriber died after the letter and before the answer."""
    topic.subscribe("bob")
    dead(topic)
    queue = topic.queue("bob")
    with running(failing(topic)):
        for payload in ("hello", "hello", "another", "hello"):
            topic.client.submit(queue, payload, unique="memo-1")
    # One unique for two messages joins no letters.
    assert sorted(letter["payload"] for letter in letters(topic, 2)) == ["another", "hello"]
    assert no_letter(topic)


@pytest.mark.once
def test_messages_without_a_unique_have_letters_of_their_own(topic: Topic) -> None:
    topic.subscribe("bob")
    dead(topic)
    with running(failing(topic)):
        for _ in range(3):
            topic.client.submit(topic.queue("bob"), "hello")
    assert len(letters(topic, 3)) == 3


def test_a_letter_that_is_refused_is_sent_without_the_payload(
    topic_with: TopicWith, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic = topic_with(**{"fanout.max_message_bytes": 3000})
    topic.subscribe("bob")
    dead(topic)
    # In the letter each takes six bytes.
    payload = base64.b64encode(b"\x01" * 1500).decode()
    with running(failing(topic, kind)):
        topic.publish(payload, encoding="base64")
    (letter,) = letters(topic)
    assert letter["payload_omitted"] == 1500
    assert not {"payload", "encoding"} & letter.keys()
    assert "without its payload: message_too_large: " in caplog.text


def test_where_nobody_gets_a_letter_the_message_fails_and_the_log_says_why(
    topic: Topic, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    topic.subscribe("bob")
    with running(failing(topic, kind)):
        assert topic.publish("hello").report["failed"] == {"bob": "receiver_failed"}
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "the handler of" in errors[0]
    assert errors[1].startswith("there is no dead letter of")
    assert errors[1].endswith(
        f"'{topic.name}-dead' takes neither it (nobody subscribes to it) "
        "nor one without its payload (nobody subscribes to it)"
    )


@pytest.mark.once
def test_one_of_several_readers_is_enough(topic: Topic) -> None:
    """The queue of another is full."""
    topic.subscribe("bob")
    to = dead(topic)
    full = topic.peer()
    topic.client.submit("register_fanout_subscriber", subscription(to, "full"))
    full.can_do(f"{to}_full")
    topic.server.admin.command(f"maxqueue {to}_full 1")
    topic.client.start(f"{to}_full", "in the way", background=True)
    with running(failing(topic)):
        topic.publish("hello")
    assert letters(topic)[0]["payload"] == "hello"
    assert no_letter(topic)


@pytest.mark.once
def test_a_letter_that_no_queue_takes_is_no_letter(
    topic: Topic, caplog: pytest.LogCaptureFixture
) -> None:
    topic.subscribe("bob")
    to = dead(topic)
    with topic.peer() as ops:
        ops.can_do(f"{to}_ops")
        topic.server.admin.command(f"maxqueue {to}_ops 1")
        topic.client.start(f"{to}_ops", "in the way", background=True)
        with running(failing(topic)):
            assert topic.publish("hello").report["failed"] == {"bob": "receiver_failed"}
    assert "1 of 1 receivers" in caplog.text
    assert "ops (not_queued)" in caplog.text


def test_no_daemon_is_waited_for(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic, kind: Any
) -> None:
    one = daemon()
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    dead(topic)
    topic.publish("hello", background=True)
    one.kill()
    with running(failing(topic, kind)):
        eventually(lambda: gearmand.admin.queue("fanout").total == 1)
        assert held(topic)
        one.start()
        assert letters(topic)[0]["payload"] == "hello"
        eventually(lambda: topic.waiting("bob") == 0)


@pytest.mark.once
def test_a_store_that_is_away_is_waited_for(
    gearmand: Gearmand, redis: Redis, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    daemon(store_url=redis.url)
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    dead(topic)
    topic.publish("hello", background=True)
    redis.kill()
    with running(failing(topic)):
        eventually(lambda: gearmand.admin.queue("fanout").running == 1)
        assert held(topic)
        redis.start()
        assert letters(topic)[0]["payload"] == "hello"
        eventually(lambda: topic.waiting("bob") == 0)


def crowded(gearmand: Gearmand, daemon: NewDaemon, topic: Topic) -> Any:
    """A daemon that stands still, with a function `fanout` that takes no more jobs."""
    one = daemon()
    topic.subscribe("bob")
    dead(topic)
    topic.publish("hello", background=True)
    one.pause()
    gearmand.admin.command("maxqueue fanout 1")
    in_the_way = json.dumps({"topic": "other", "payload": ""})
    topic.client.start("fanout", in_the_way, background=True)
    return one


def test_a_letter_that_cannot_be_sent_yet_is_sent_again(
    gearmand: Gearmand,
    daemon: NewDaemon,
    new_topic: NewTopic,
    kind: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(dead_letters, "RETRY_S", 0.01)
    topic = new_topic(gearmand)
    one = crowded(gearmand, daemon, topic)
    with running(failing(topic, kind)):
        eventually(lambda: "every connected job server refused" in caplog.text)
        assert held(topic)
        one.resume()
        assert letters(topic)[0]["payload"] == "hello"
        eventually(lambda: topic.waiting("bob") == 0)
    # Once, however often it was tried.
    assert caplog.text.count("every connected job server refused") == 1


def test_stop_ends_the_pause_of_a_letter_that_cannot_be_sent_yet(
    gearmand: Gearmand,
    daemon: NewDaemon,
    new_topic: NewTopic,
    kind: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(dead_letters, "RETRY_S", 600)
    monkeypatch.setattr(dead_letters, "MAX_RETRY_S", 600)
    topic = new_topic(gearmand)
    crowded(gearmand, daemon, topic)
    with running(failing(topic, kind)):
        eventually(lambda: "every connected job server refused" in caplog.text)
        assert held(topic)
    assert topic.receiver("bob").take(1) == [b"hello"]


def test_a_subscriber_that_ends_before_its_letter_is_answered_leaves_the_message(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic, kind: Any
) -> None:
    one = daemon()
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    dead(topic)
    topic.publish("hello", background=True)
    one.kill()
    it = Running(failing(topic, kind, drain_timeout=0.1))
    eventually(lambda: gearmand.admin.queue("fanout").total == 1)
    it.stop()
    it.join()
    assert it.raised is None
    assert topic.receiver("bob").take(1) == [b"hello"]


@pytest.mark.once
def test_letters_go_to_daemons_with_functions_of_other_names(topic_with: TopicWith) -> None:
    topic = topic_with(**{"functions.fanout": "spread"})
    topic.subscribe("bob")
    dead(topic)
    topic.client.start(topic.queue("bob"), "hello", background=True)
    with running(failing(topic, fanout_function="spread")):
        assert letters(topic)[0]["payload"] == "hello"


@pytest.mark.once
def test_a_handler_that_is_given_later_has_what_it_was_given_with(topic: Topic) -> None:
    topic.subscribe("bob")
    to = dead(topic)
    handler = Failing()
    subscriber = Subscriber(topic.server.address, "bob")
    subscriber.on(topic.name, retries=1, backoff=600)(handler)
    topic.publish("first", background=True)
    with running(subscriber):
        pausing(topic, handler)
        subscriber.on(topic.name, dead_letter=to)(handler)
        # The one in hand keeps what it began with.
        assert no_letter(topic)
    again = Subscriber(topic.server.address, "bob", register=False)
    again.on(topic.name)(handler)
    again.on(topic.name, dead_letter=to)(handler)
    with running(again):
        assert letters(topic)[0]["payload"] == "first"
