# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A busy topic does not starve a quiet one of the same subscriber.

Of one connection's functions gearmand serves the last registered first, unless it
runs with --round-robin, which is always on from 2.0.0 on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from gearhorn import Message, Subscriber
from gearhorn.tests.conftest import NewPeer, Start
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.packets import SUBMIT_JOB_BG
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand
from gearhorn.wire import framing
from gearhorn.wire.connection import Connection

BUSY = 2000
HANDLER_S = 0.001
SOON = 400
"""A quiet topic has its turn before so many messages of a busy one: some tenths of a second, but
on a slow machine, where all take longer."""


class Handler:
    """Takes its time over each message, and keeps what it was given, in order."""

    def __init__(self, seconds: float = HANDLER_S) -> None:
        self._seconds = seconds
        self.started = threading.Event()
        self.messages: list[tuple[str, str]] = []

    def __call__(self, message: Message) -> None:
        self.messages.append((message.topic, message.text))
        self.started.set()
        time.sleep(self._seconds)

    def others_first(self, client: Peer, topic: str, text: str) -> int:
        """Send a message, and return how many others were handled before, while it waited."""
        before = len(self.messages)
        assert client.submit(f"{topic}_bob", text).completed
        return self.messages.index((topic, text)) - before


def queue(filler: Peer, topics: Sequence[str], count: int) -> None:
    for number in range(count):
        for topic in topics:
            filler.send(SUBMIT_JOB_BG, f"{topic}_bob", "", str(number))
    filler.echo()


@pytest.fixture(params=[(), ("--round-robin",)], ids=["default", "round robin"])
def server(request: pytest.FixtureRequest, start: Start) -> Gearmand:
    return start(Gearmand(*request.param))


@pytest.mark.parametrize("order", [("quiet", "busy", "idle"), ("idle", "busy", "quiet")])
def test_a_quiet_topic_is_served_beside_a_busy_one(
    server: Gearmand, peer: NewPeer, order: Sequence[str]
) -> None:
    client = peer(server)
    queue(peer(server), ["busy"], BUSY)
    handle = Handler()
    subscriber = Subscriber(server.address, "bob", register=False)
    for topic in order:
        subscriber.on(topic)(handle)
    with running(subscriber):
        handle.started.wait(10)
        waits = [handle.others_first(client, "quiet", str(number)) for number in range(5)]
        # All of that while the busy one had messages.
        assert server.admin.queue("busy_bob").total > 0
        eventually(lambda: len(handle.messages) == BUSY + 5, 60)
    assert max(waits) < SOON
    # The turns requeue nothing: each message was handled once.
    assert len(set(handle.messages)) == BUSY + 5


def test_functions_are_registered_anew_only_where_the_server_does_not_take_turns(
    start: Start, server: Gearmand, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = ["one", "two", "three"]
    queue(peer(server), topics, BUSY)
    sent: list[bytes] = []
    write = Connection.write

    def record(connection: Connection, data: bytes) -> None:
        sent.append(data)
        write(connection, data)

    monkeypatch.setattr(Connection, "write", record)
    handled: Counter[str] = Counter()
    shares: list[Counter[str]] = []

    def handle(message: Message) -> None:
        handled[message.topic] += 1
        if handled.total() == BUSY:
            shares.append(Counter(handled))
        time.sleep(HANDLER_S / 2)

    subscriber = Subscriber(server.address, "bob", register=False)
    for topic in topics:
        subscriber.on(topic)(handle)
    with running(subscriber):
        eventually(lambda: sum(handled.values()) == 3 * BUSY, 40)
    times = b"".join(sent).count(framing.pack(framing.CAN_DO, b"one_bob"))
    if "--round-robin" in server.arguments or Gearmand.takes_turns():
        assert times == 1
        # In turn, one by one, but for what was given before all were registered.
        assert max(shares[0].values()) - min(shares[0].values()) <= 3
    else:
        assert times > 3
    # What was tried to find out has left nothing.
    assert set(server.admin.status()) == {f"{topic}_bob" for topic in topics}


@pytest.mark.slow
def test_busy_topics_share(server: Gearmand, peer: NewPeer) -> None:
    topics = ["one", "two", "three", "four"]
    queue(peer(server), topics, 1000)
    handle = Handler()
    subscriber = Subscriber(server.address, "bob", register=False)
    for topic in topics:
        subscriber.on(topic)(handle)
    with running(subscriber):
        eventually(lambda: len(handle.messages) == 4000, 60)
    in_order = [topic for topic, _ in handle.messages]
    halfway = Counter(in_order[:2000])
    assert min(halfway[topic] for topic in topics) > 200
    # Handlers take a millisecond: all have had a turn within a second.
    assert set(in_order[:1000]) == set(topics)
    assert len(set(handle.messages)) == 4000


def test_slow_handlers_do_not_keep_a_quiet_topic_waiting(server: Gearmand, peer: NewPeer) -> None:
    """Few messages are fetched ahead of a slow handler, and topics take turns."""
    client = peer(server)
    queue(peer(server), ["busy"], 30)
    handle = Handler(0.1)
    subscriber = Subscriber(server.address, "bob", register=False)
    subscriber.on("quiet")(handle)
    subscriber.on("busy")(handle)
    with running(subscriber):
        handle.started.wait(10)
        assert handle.others_first(client, "quiet", "?") < 10


def test_a_quiet_server_is_served_beside_a_busy_one(start: Start, peer: NewPeer) -> None:
    busy, quiet = start(Gearmand()), start(Gearmand())
    queue(peer(busy), ["t"], BUSY)
    handle = Handler()
    subscriber = Subscriber([busy.address, quiet.address], "bob", register=False)
    subscriber.on("t")(handle)
    client = peer(quiet)
    with running(subscriber):
        handle.started.wait(10)
        waits = [handle.others_first(client, "t", f"quiet {number}") for number in range(5)]
        assert busy.admin.queue("t_bob").total > 0
        eventually(lambda: busy.admin.queue("t_bob").total == 0, 60)
    assert max(waits) < SOON


def test_a_topic_can_be_left_while_it_is_busy(server: Gearmand, peer: NewPeer) -> None:
    """CANT_DO requeues what is held: it is sent when nothing is."""
    queue(peer(server), ["one", "two"], BUSY)
    handled: Counter[tuple[str, str]] = Counter()
    subscriber = Subscriber(server.address, "bob", register=False)
    for topic in ("one", "two"):
        subscriber.on(topic)(lambda message: handled.update([(message.topic, message.text)]))
    with running(subscriber):
        eventually(lambda: len(handled) > 100)
        subscriber.off("two")
        eventually(lambda: server.admin.queue("two_bob").workers == 0)
        eventually(lambda: server.admin.queue("one_bob").total == 0)
        left = server.admin.queue("two_bob").total
        assert Counter(topic for topic, _ in handled) == {"one": BUSY, "two": BUSY - left}
        # And be taken up again.
        subscriber.on("two")(lambda message: handled.update([(message.topic, message.text)]))
        eventually(lambda: server.admin.queue("two_bob").total == 0)
    assert len(handled) == 2 * BUSY
    assert set(handled.values()) == {1}
