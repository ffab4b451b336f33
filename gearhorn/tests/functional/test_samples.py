# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Samples of the queues in metrics and on the page: what an operator sees of dead subscribers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.http import ask
from gearhorn.tests.functional.live_reports import until_all_copies_go
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand

HOSTILE = '<script>alert("1")</script>&\\\u202e' + "x" * 40


def sampled(process: Daemon) -> dict[Any, float]:
    """The metrics of the sample, by name and the value of their label, if they have one."""
    text = ask(process, "/metrics").text
    return {
        (sample.name.removeprefix("gearhorn_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def see(process: Daemon, condition: Callable[[dict[Any, float]], object]) -> dict[Any, float]:
    """Return the first sample for which something is so."""

    def look() -> dict[Any, float]:
        found = sampled(process)
        return found if condition(found) else {}

    return eventually(look)


def states(found: dict[Any, float]) -> dict[str, float]:
    return {key[1]: value for key, value in found.items() if key[0] == "queues"}


class Shop:
    """A daemon that samples each second, on two job servers."""

    def __init__(self, daemon: NewDaemon, start: Start, peer: NewPeer) -> None:
        self.servers = [start(Gearmand()), start(Gearmand())]
        self.daemon = daemon(
            self.servers,
            **{"http.listen": f"127.0.0.1:{free_port()}", "http.queue_interval": 1},  # type: ignore[arg-type]
        )
        until_all_copies_go(self.daemon, *self.servers)
        self._peer = peer
        self.client = peer(self.servers[0])

    def subscribe(self, topic: str, client_id: str) -> None:
        outcome = self.client.submit("register_fanout_subscriber", subscription(topic, client_id))
        assert outcome.completed

    def unsubscribe(self, topic: str, client_id: str) -> None:
        request = subscription(topic, client_id)
        assert self.client.submit("unregister_fanout_subscriber", request).completed

    def publish(self, topic: str, count: int = 1) -> None:
        for _ in range(count):
            request = message(topic, background=True)
            assert self.client.submit("fanout", request).completed

    def read(self, queue: str, *, where_it_is: bool) -> Peer:
        """Connect a worker of a queue, to the job server that has its copies or to the other."""
        one, two = self.servers
        has_it = one if one.admin.queue(queue).total else two
        reader = self._peer(has_it if where_it_is else (two if has_it is one else one))
        reader.can_do(queue)
        return reader


@pytest.fixture
def shop(daemon: NewDaemon, start: Start, peer: NewPeer) -> Shop:
    return Shop(daemon, start, peer)


def test_an_operator_sees_a_dead_subscriber_and_why_its_queue_grows(shop: Shop) -> None:
    for client_id in ("dead", "half", "slow", "gone", "idle"):
        shop.subscribe(client_id, "bob")
        if client_id != "idle":
            shop.publish(client_id, 2)
    reader = shop.read("slow_bob", where_it_is=True)
    shop.read("half_bob", where_it_is=False)
    shop.unsubscribe("gone", "bob")

    wanted = {"idle": 1, "backlogged": 1, "unread": 1, "half_read": 1, "orphaned": 1}
    found = see(shop.daemon, lambda found: states(found) == wanted)

    assert found["sample_complete",] == 1
    assert (found["topics",], found["subscriptions",]) == (4, 4)
    assert (found["copies_waiting",], found["copies_running",]) == (8, 0)
    assert found["queue_depth_max",] == 2
    assert found["topic_waiting", "dead"] == 2
    assert found["topic_unread_queues", "dead"] == 1
    assert found["topic_unread_queues", "half"] == 0
    assert found["topic_workers", "dead"] == 0
    assert found["topic_workers", "half"] == found["topic_workers", "slow"] == 1
    assert ("topic_waiting", "gone") not in found
    # What the page says is what is to be done.
    text = ask(shop.daemon, "/").text
    assert "No worker reads 1 queue in which copies wait. Start the receivers" in text
    assert "Connect receivers to all job servers" in text

    # The dead one's queue grows, and the slow one's is emptied.
    shop.publish("dead", 5)
    reader.take(2)
    later = see(
        shop.daemon,
        lambda found: found["topic_waiting", "dead"] == 7 and states(found)["idle"] == 2,
    )
    assert later["topic_nonempty_seconds", "dead"] > found["topic_nonempty_seconds", "dead"]
    assert later["queue_nonempty_seconds_max",] >= later["topic_nonempty_seconds", "dead"]
    assert later["sample_timestamp_seconds",] > found["sample_timestamp_seconds",]
    # It is shown with 0 for a while: a graph goes down, and does not end.
    assert later["topic_waiting", "slow"] == 0

    status = json.loads(ask(shop.daemon, "/status.json").text)
    assert status["queues"]["complete"] is True
    assert status["queues"]["top"][0]["topic"] == "dead"
    assert status["queues"]["top"][0]["waiting"] == 7
    assert {check["name"] for check in status["checks"] if not check["ok"]} == {
        "unread",
        "half-read",
        "orphaned",
    }
    assert status["ready"] is True

    # A job server that is away takes no sample from the others. What was in it stays.
    gone, there = shop.servers[1].address, shop.servers[0].address
    shop.servers[1].kill()
    away = see(
        shop.daemon,
        lambda found: (
            found["sample_complete",] == 0
            and found["look_age_seconds", gone] > found["look_age_seconds", there] + 1
        ),
    )
    assert away["copies_waiting",] == later["copies_waiting",]
    again = see(
        shop.daemon,
        # The sample comes some time after its look.
        lambda found: all(
            found[name] > away[name]
            for name in (("looks_total", there), ("sample_timestamp_seconds",))
        ),
    )
    assert again["look_seconds_total", there] > away["look_seconds_total", there] > 0
    assert again["looks_total", gone] == away["looks_total", gone] > 0


@pytest.mark.once
def test_hostile_names_of_topics_stay_text(shop: Shop) -> None:
    for topic in (HOSTILE, "y" * 90):
        shop.subscribe(topic, "bob")
        shop.publish(topic, 3)

    found = see(shop.daemon, lambda found: found.get(("copies_waiting",)) == 6)

    hostile, long = sorted(key[1] for key in found if key[0] == "topic_waiting")
    assert hostile.startswith('<script>alert("1")</script>&\\\\u202exxx')
    assert "~" in hostile
    assert len(long) == 80
    assert long.startswith("y" * 71 + "~")
    page = ask(shop.daemon, "/").text
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;" in page
    assert "<script" not in page
    assert "\u202e" not in page


@pytest.mark.once
def test_of_two_daemons_only_the_one_that_is_told_to_samples(shop: Shop, daemon: NewDaemon) -> None:
    other = daemon(shop.servers, **{"http.listen": f"127.0.0.1:{free_port()}"})  # type: ignore[arg-type]
    see(shop.daemon, lambda found: ("queues", "idle") in found)
    assert ("sample_complete",) not in sampled(other)
    assert "Not sampled by this daemon: [http] queue_interval is not set." in ask(other, "/").text
    assert json.loads(ask(other, "/status.json").text)["queues"] is None
