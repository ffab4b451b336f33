# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A subscriber with so many queues that they are dealt out to several connections."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest

from gearhorn import AsyncSubscriber, Message, Subscriber
from gearhorn.tests.builders import message
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.packets import SUBMIT_JOB_BG
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand
from gearhorn.wire import shares

TOPICS = [f"topic{number}" for number in range(12)]
SHARES = 3


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "FULL", len(TOPICS) // SHARES)


def subscribing(server: Gearmand) -> Sequence[set[str]]:
    """Return the functions of each connection that has some of a subscriber."""
    return [
        worker.functions
        for worker in server.admin.workers()
        if worker.client_id.startswith("gearhorn-subscriber-") and worker.functions
    ]


class Kept:
    """A handler that keeps the texts of each topic, in order."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self.texts: dict[str, list[str]] = defaultdict(list)
        self.started = threading.Event()

    def __call__(self, message: Message) -> str:
        self.texts[message.topic].append(message.text)
        self.started.set()
        time.sleep(self._seconds)
        return message.text

    def count(self) -> int:
        return sum(map(len, self.texts.values()))


@pytest.mark.parametrize("kind", [Subscriber, AsyncSubscriber])
def test_every_queue_is_on_one_connection_and_its_messages_come_in_order(
    gearmand: Gearmand, peer: NewPeer, kind: type[Subscriber | AsyncSubscriber]
) -> None:
    filler = peer()
    for number in range(200):
        for topic in TOPICS:
            filler.send(SUBMIT_JOB_BG, f"{topic}_bob", "", str(number))
    filler.echo()
    handle = Kept()
    subscriber = kind(gearmand.address, "bob", register=False)
    for topic in TOPICS:
        subscriber.on(topic)(handle)
    with running(subscriber):
        eventually(lambda: handle.count() == 200 * len(TOPICS))
        connections = subscribing(gearmand)
        assert len(connections) == SHARES
        assert Counter(name for names in connections for name in names) == {
            f"{topic}_bob": 1 for topic in TOPICS
        }
    assert handle.texts == {topic: [str(number) for number in range(200)] for topic in TOPICS}
    # All were answered before it ended.
    assert gearmand.admin.total(f"{topic}_bob" for topic in TOPICS) == 0


def test_few_queues_are_on_one_connection(gearmand: Gearmand) -> None:
    subscriber = Subscriber(gearmand.address, "bob", register=False)
    topics = TOPICS[: len(TOPICS) // SHARES]
    for topic in topics:
        subscriber.on(topic)(lambda message: None)
    with running(subscriber):
        eventually(lambda: [len(names) for names in subscribing(gearmand)] == [len(topics)])


def test_topics_come_and_go_while_it_runs(
    gearmand: Gearmand, peer: NewPeer, daemon: NewDaemon
) -> None:
    daemon()
    client = peer()
    handle = Kept()
    subscriber = Subscriber(gearmand.address, "bob")
    subscriber.on(TOPICS[0])(handle)

    def reached(topic: str) -> bool:
        outcome = client.submit("fanout", message(topic, gather=True), timeout_s=20)
        return bool(outcome.report["delivered"])

    def registered() -> set[str]:
        rows = client.submit("fanout_query", {"query": "topics"}).report["rows"]
        return {row["topic"] for row in rows} & {*TOPICS}

    with running(subscriber):
        eventually(lambda: reached(TOPICS[0]))
        for topic in TOPICS[1:]:
            subscriber.on(topic)(handle)
        eventually(lambda: sum(map(len, subscribing(gearmand))) == len(TOPICS))
        assert all(reached(topic) for topic in TOPICS)
        for topic in TOPICS[1::2]:
            subscriber.off(topic)
        eventually(lambda: sum(map(len, subscribing(gearmand))) == len(TOPICS) // 2)
        # Until a daemon has taken it away, a registration would have a copy wait for nobody.
        eventually(lambda: registered() == {*TOPICS[::2]})
        assert [reached(topic) for topic in TOPICS] == [True, False] * (len(TOPICS) // 2)
        for topic in TOPICS[1::2]:
            subscriber.on(topic)(handle)
        eventually(lambda: sum(map(len, subscribing(gearmand))) == len(TOPICS))
        # In the room that was left: a program whose topics change makes no more connections.
        assert len(subscribing(gearmand)) == SHARES
        assert all(reached(topic) for topic in TOPICS)


def test_a_server_that_was_away_has_all_queues_again(start: Start, peer: NewPeer) -> None:
    gearmand = start(Gearmand())
    subscriber = Subscriber(gearmand.address, "bob", register=False)
    for topic in TOPICS:
        subscriber.on(topic)(lambda message: message.text)
    with running(subscriber):
        eventually(lambda: sum(map(len, subscribing(gearmand))) == len(TOPICS))
        gearmand.kill()
        gearmand.start()
        eventually(lambda: sum(map(len, subscribing(gearmand))) == len(TOPICS))
        client = peer(gearmand)
        for topic in TOPICS:
            assert client.submit(f"{topic}_bob", "again").completed


@pytest.mark.parametrize("arguments", [(), ("--round-robin",)], ids=["default", "round robin"])
def test_a_quiet_topic_is_served_beside_busy_ones_on_every_connection(
    start: Start, peer: NewPeer, arguments: Sequence[str]
) -> None:
    gearmand = start(Gearmand(*arguments))
    quiet, *busy = TOPICS
    filler = peer(gearmand)
    for number in range(200):
        for topic in busy:
            filler.send(SUBMIT_JOB_BG, f"{topic}_bob", "", str(number))
    filler.echo()
    handle = Kept(0.001)
    subscriber = Subscriber(gearmand.address, "bob", register=False)
    for topic in TOPICS:
        subscriber.on(topic)(handle)
    client = peer(gearmand)
    with running(subscriber):
        handle.started.wait(10)
        for number in range(5):
            before = handle.count()
            assert client.submit(f"{quiet}_bob", str(number)).completed
            # Far fewer than wait.
            assert handle.count() - before < 600
        # All of that while the others had messages.
        assert gearmand.admin.total(f"{topic}_bob" for topic in busy) > 0
        eventually(lambda: handle.count() == 200 * len(busy) + 5)
