# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The order of messages: what waits for what, and what does not."""

from __future__ import annotations

from typing import Any

from gearhorn.tests.builders import subscription
from gearhorn.tests.functional.conftest import NewTopic, Topic, TopicWith
from gearhorn.tests.processes import eventually

BY_TOPIC: dict[str, Any] = {"fanout.order": "topic"}
TWO_PLACES: dict[str, Any] = {"fanout.max_in_flight": 2}


def test_a_receiver_that_never_answers_holds_up_nothing_else(
    topic: Topic, new_topic: NewTopic
) -> None:
    other = new_topic(topic.server)
    topic.subscribe("bob", "mute")
    other.subscribe("alice")
    bob, alice = topic.receiver("bob"), other.receiver("alice")
    handle = topic.start("first", timeout=60)

    assert bob.take(1) == [b"first"]
    later = topic.start("second", timeout=60)
    assert bob.take(1) == [b"second"]
    elsewhere = other.start("elsewhere")
    assert alice.take(1) == [b"elsewhere"]
    assert other.client.finish(elsewhere).completed
    assert other.publish(background=True).completed

    assert topic.receiver("mute").take(2) == [b"first", b"second"]
    assert topic.client.finish(handle).completed
    assert topic.client.finish(later).completed


def test_registrations_and_notices_go_on_when_every_place_is_taken(topic_with: TopicWith) -> None:
    # In the background they wait in the window for the end of the one before.
    topic = topic_with(**BY_TOPIC, **TWO_PLACES)
    topic.subscribe("mute")
    handles = [topic.start("first", timeout=60)]
    eventually(lambda: topic.waiting("mute") == 1)
    handles += [topic.start(str(number), background=True) for number in range(4)]
    # Further ones wait in the job server.
    eventually(lambda: topic.server.admin.queue("fanout") == (5, 3, 1))

    topic.subscribe("bob")
    removed = topic.client.submit("unsubscribe_fanout", subscription(topic.name, "bob"))
    assert removed.completed
    functions = topic.server.admin.status()
    own = next(n for n in functions if n.startswith("__matchmaking_") and "_store_" not in n)
    assert topic.client.submit(own, {"topic": topic.name}).completed
    assert topic.server.admin.queue("fanout") == (5, 3, 1)

    # Whoever answers makes room for the next.
    assert topic.receiver("mute").take(5) == [b"first", b"0", b"1", b"2", b"3"]
    assert all(topic.client.finish(handle).completed for handle in handles)


def test_of_one_topic_so_many_have_copies_out_and_the_others_wait_in_hand(
    topic_with: TopicWith,
) -> None:
    topic = topic_with(**TWO_PLACES)
    topic.subscribe("mute")
    handles = [topic.start(str(number), timeout=60) for number in range(4)]
    eventually(lambda: topic.server.admin.queue("fanout") == (4, 4, 1))
    eventually(lambda: topic.waiting("mute") == 2)

    # Whoever answers gives the next its turn, and what is in the background needs none.
    topic.publish("background", background=True)
    taken = topic.receiver("mute").take(5)
    assert [data for data in taken if data != b"background"] == [b"0", b"1", b"2", b"3"]
    assert taken.index(b"background") == 2
    assert all(topic.client.finish(handle).completed for handle in handles)


def test_a_turn_comes_when_the_time_of_another_is_up(topic_with: TopicWith) -> None:
    topic = topic_with(**TWO_PLACES)
    topic.subscribe("mute")
    handles = [topic.start(str(number), timeout=0.2) for number in range(5)]
    for handle in handles:
        assert topic.client.finish(handle).report["failed"] == {"mute": "timeout"}


def test_with_the_order_of_the_topic_those_in_the_foreground_wait_outside_the_window(
    topic_with: TopicWith, new_topic: NewTopic
) -> None:
    topic = topic_with(**BY_TOPIC, **TWO_PLACES)
    other = new_topic(topic.server)
    topic.subscribe("bob")
    handles = [topic.start(str(number), timeout=60) for number in range(5)]
    eventually(lambda: topic.server.admin.queue("fanout") == (5, 5, 1))
    eventually(lambda: topic.waiting("bob") == 1)
    assert other.reached() == 0
    assert topic.waiting("bob") == 1

    assert topic.receiver("bob").take(5) == [b"0", b"1", b"2", b"3", b"4"]
    assert all(topic.client.finish(handle).completed for handle in handles)


def test_with_the_order_of_the_topic_the_next_waits_for_the_end(
    topic_with: TopicWith, new_topic: NewTopic
) -> None:
    topic = topic_with(**BY_TOPIC)
    other = new_topic(topic.server)
    topic.subscribe("bob", "alice")
    other.subscribe("carol")
    bob, alice, carol = topic.receiver("bob"), topic.receiver("alice"), other.receiver("carol")
    handles = [topic.start(str(number), timeout=60) for number in range(3)]
    elsewhere = other.start("elsewhere", timeout=60)

    assert carol.take(1) == [b"elsewhere"]
    assert other.client.finish(elsewhere).completed
    for number, handle in enumerate(handles):
        assert bob.take(1) == [str(number).encode()]
        # What starts later on another topic has ended, and this has not begun.
        assert other.publish(background=True).completed
        assert bob.try_grab() is None
        assert alice.take(1) == [str(number).encode()]
        assert topic.client.finish(handle).completed


def test_with_the_order_of_the_topic_failures_and_empty_topics_go_on(topic_with: TopicWith) -> None:
    topic = topic_with(**BY_TOPIC)
    handles = [topic.start(str(number)) for number in range(500)]
    for handle in handles:
        assert topic.client.finish(handle).report["subscribers"] == 0

    topic.subscribe("mute")
    handles = [topic.start(str(number), timeout=0.05) for number in range(3)]
    handles.append(topic.start("last", background=True))
    for handle in handles[:3]:
        assert topic.client.finish(handle).report["failed"] == {"mute": "timeout"}
    assert topic.client.finish(handles[3]).completed
    assert topic.receiver("mute").take(4) == [b"0", b"1", b"2", b"last"]


def test_with_the_order_of_the_topic_a_publisher_that_leaves_holds_up_nobody(
    topic_with: TopicWith,
) -> None:
    topic = topic_with(**BY_TOPIC)
    topic.subscribe("bob")
    with topic.peer() as leaving:
        leaving.start("fanout", topic.request("first", timeout=0.2))
        eventually(lambda: topic.waiting("bob"))
    handle = topic.start("second")
    # The copy goes on, and whoever comes next waits for its end.
    bob = topic.receiver("bob")
    assert bob.take(2) == [b"first", b"second"]
    assert topic.client.finish(handle).completed
