# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Registering subscribers and removing them."""

from __future__ import annotations

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.peer import Outcome
from gearhorn.tests.processes import eventually


def ask(topic: Topic, function: str, client_id: str) -> Outcome:
    return topic.client.submit(function, subscription(topic.name, client_id))


@pytest.mark.parametrize("register", ["register_fanout_subscriber", "subscribe_fanout"])
@pytest.mark.parametrize("unregister", ["unregister_fanout_subscriber", "unsubscribe_fanout"])
def test_registering_and_removing(topic: Topic, register: str, unregister: str) -> None:
    report = {"topic": topic.name, "client_id": "bob", "queue": f"{topic.name}_bob"}

    for _ in range(2):
        outcome = ask(topic, register, "bob")
        assert [packet.type for packet in outcome.packets] == [wire.WORK_COMPLETE]
        assert outcome.report == report
        assert topic.reached() == 1

    for _ in range(2):
        outcome = ask(topic, unregister, "bob")
        assert [packet.type for packet in outcome.packets] == [wire.WORK_COMPLETE]
        assert outcome.report == report
        assert topic.reached() == 0


def test_a_subscription_ends_by_itself_unless_it_is_renewed_or_made_permanent(
    topic: Topic,
) -> None:
    topic.subscribe("ends", "renewed", "permanent", "for-ever", ttl=0.5)
    topic.subscribe("renewed", ttl=3600)
    topic.subscribe("permanent")
    topic.subscribe("for-ever", ttl=None)
    topic.subscribe("shortened")
    topic.subscribe("shortened", ttl=0.5)

    eventually(lambda: topic.reached() == 3, 20, interval_s=0.1)

    with topic.receiver("ends", "shortened") as gone:
        while gone.try_grab():
            pass
        topic.publish("after", background=True)
        assert gone.try_grab() is None
    for client_id in ("renewed", "permanent", "for-ever"):
        assert topic.waiting(client_id)


def test_names_make_queues_of_up_to_512_bytes(topic: Topic) -> None:
    topic.name += "é"
    client_id = "é" * 240
    client_id += "c" * (512 - len(topic.queue(client_id).encode()))
    assert len(topic.queue(client_id).encode()) == 512

    topic.subscribe(client_id)
    assert topic.publish("long", background=True).report["queued"] == 1
    assert topic.receiver(client_id).take(1) == [b"long"]

    assert ask(topic, "subscribe_fanout", client_id + "c").refusal == "name_too_long"


@pytest.mark.parametrize("client_id", ["b b", "Ω😀", "a%s", "-", "\u2028", '"'])
def test_names_may_be_any_text(topic: Topic, client_id: str) -> None:
    assert ask(topic, "subscribe_fanout", client_id).report["queue"] == topic.queue(client_id)
    topic.publish("hello", background=True)
    assert topic.receiver(client_id).take(1) == [b"hello"]


def test_of_two_subscriptions_that_make_one_queue_the_second_is_refused(topic: Topic) -> None:
    first, second = subscription(topic.name, "b_c"), subscription(f"{topic.name}_b", "c")
    assert topic.client.submit("subscribe_fanout", first).completed

    assert topic.client.submit("subscribe_fanout", second).refusal == "queue_taken"

    # The first is still served, and its end sets the name free.
    assert topic.client.submit("subscribe_fanout", first).completed
    assert topic.client.submit("unsubscribe_fanout", first).completed
    assert topic.client.submit("subscribe_fanout", second).completed
    assert topic.client.submit("subscribe_fanout", first).refusal == "queue_taken"


@pytest.mark.parametrize(
    ("topic_name", "client_id"),
    [
        ("register", "fanout_subscriber"),
        ("register_fanout", "subscriber"),
        ("unregister", "fanout_subscriber"),
        ("subscribe", "fanout"),
        ("unsubscribe", "fanout"),
        ("__matchmaking_", "x"),
        ("__matchmaking_a", "b"),
        ("__MATCHMAKING", "x"),
        ("__MatchMaking_a", "b"),
    ],
)
def test_the_queues_of_the_daemons_are_reserved(
    topic: Topic, topic_name: str, client_id: str
) -> None:
    request = subscription(topic_name, client_id)
    assert topic.client.submit("subscribe_fanout", request).refusal == "reserved_queue"


def test_the_topic_of_the_daemons_is_reserved(topic: Topic) -> None:
    request = subscription("__matchmaking", "nobody")
    assert topic.client.submit("subscribe_fanout", request).refusal == "reserved_topic"
    # Removing what is not there succeeds, as anywhere.
    outcome = topic.client.submit("unsubscribe_fanout", request)
    assert outcome.report == {**request, "queue": "__matchmaking_nobody"}


def test_the_daemons_are_the_subscribers_of_the_matchmaking_topic(topic: Topic) -> None:
    notice = message("__matchmaking", {"topic": topic.name}, gather=True)
    outcome = topic.client.submit("fanout", notice)
    assert outcome.completed
    assert outcome.report["subscribers"] == outcome.report["delivered"] == 1
    (answer,) = outcome.report["results"].values()
    assert topic.name in answer


def test_a_notice_that_is_wrong_is_refused(topic: Topic) -> None:
    outcome = topic.client.submit("fanout", message("__matchmaking", "nonsense"))
    assert list(outcome.report["failed"].values()) == ["receiver_failed"]

    (daemon,) = topic.client.submit("fanout_query", {"query": "daemons"}).report["rows"]
    name = f"__matchmaking_{daemon['worker_id']}"
    assert topic.client.submit(name, {"client_id": "bob"}).refusal == "unknown_key"
    assert topic.client.submit(name, {"topic": topic.name}).completed
    assert topic.client.submit(name, json_of_bytes(65_000)).refusal == "name_too_long"
    assert topic.client.submit(name, json_of_bytes(70_000)).refusal == "message_too_large"


def test_a_registration_that_is_too_large_is_refused(topic: Topic) -> None:
    for function in ("subscribe_fanout", "unsubscribe_fanout"):
        for size in (70_000, 3_000_000):
            outcome = topic.client.submit(function, json_of_bytes(size))
            assert outcome.refusal == "message_too_large"
    topic.subscribe("bob")
    assert topic.reached() == 1


def json_of_bytes(size: int) -> str:
    return '{"topic": "' + "t" * (size - 13) + '"}'
