# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Subscribers whose registration the store has lost, against real servers."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from gearhorn import AsyncSubscriber, Subscriber
from gearhorn.client import subscriptions
from gearhorn.tests.builders import subscription
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, Redis


@pytest.mark.parametrize("kind", [Subscriber, AsyncSubscriber])
def test_a_registration_that_was_removed_comes_back_while_its_subscriber_runs(
    topic: Topic, kind: Any
) -> None:
    subscriber = kind(topic.server.address, "bob", renew=0.3)
    subscriber.on(topic.name)(lambda message: None)
    with running(subscriber):
        eventually(lambda: topic.reached() == 1)
        request = subscription(topic.name, "bob")
        assert topic.client.submit("unregister_fanout_subscriber", request).completed
        eventually(lambda: topic.reached() == 1)


def test_a_store_that_was_emptied_gets_its_registrations_again(
    gearmand: Gearmand, redis: Redis, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    one = daemon(store_url=redis.url)
    topic = new_topic(gearmand)
    subscriber = Subscriber(gearmand.address, "bob", renew=0.3)
    subscriber.on(topic.name)(lambda message: None)
    with running(subscriber):
        eventually(lambda: topic.reached() == 1)
        one.stop()
        redis.ask("FLUSHALL")
        # To the subscriber nothing happened: its job server was there all the time.
        one.start()
        eventually(lambda: topic.reached() == 1)


def test_a_short_ttl_is_renewed_in_time_though_renew_is_long(topic: Topic) -> None:
    subscriber = Subscriber(topic.server.address, "bob", ttl=0.6, renew=300)
    subscriber.on(topic.name)(lambda message: None)
    with running(subscriber):
        eventually(lambda: topic.reached() == 1)
        request = subscription(topic.name, "bob")
        assert topic.client.submit("unregister_fanout_subscriber", request).completed
        eventually(lambda: topic.reached() == 1)


@pytest.mark.parametrize("kind", [Subscriber, AsyncSubscriber])
def test_it_registers_again_every_five_minutes_unless_told_otherwise(kind: Any) -> None:
    assert inspect.signature(kind).parameters["renew"].default == 300


def test_while_no_daemon_answers_one_request_waits_and_not_more(
    gearmand: Gearmand,
    daemon: NewDaemon,
    new_topic: NewTopic,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(subscriptions, "ANSWER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(subscriptions, "RETRY_S", 0.05)
    one = daemon()
    topic = new_topic(gearmand)
    one.stop()
    subscriber = Subscriber(gearmand.address, "bob")
    subscriber.on(topic.name)(lambda message: None)
    with running(subscriber):
        eventually(lambda: caplog.text.count("bob is not registered yet") >= 3)
        assert gearmand.admin.queue("register_fanout_subscriber").total == 1
        one.start()
        eventually(lambda: topic.reached() == 1)
