# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Each finding of doctor about queues, provoked."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from gearhorn import Subscriber
from gearhorn.tests.builders import message
from gearhorn.tests.cli import gearhorn
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.diagnosis import doctor, growing, publish, register
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, Redis


def test_a_backlog_of_the_daemons(daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer) -> None:
    options: dict[str, Any] = {"fanout.max_in_flight": 1, "fanout.order": "topic"}
    daemon(**options)
    client = peer()
    register(client, "memos", "bob")
    client.start("fanout", message("memos", timeout=30))
    # They wait for its end, and fill the window.
    request = message("memos", background=True)
    for _ in range(5):
        client.start("fanout", request)
    with growing(gearmand, "fanout", request):
        found = doctor([gearmand.address])

    assert found.findings["backlog"][0]["subject"] == "fanout"


def test_a_queue_that_nobody_reads(daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer) -> None:
    daemon()
    client = peer()
    register(client, "memos", "bob")
    publish(client, "memos", 3)

    found = doctor([gearmand.address])

    assert found.exit_code == 1
    finding = found.only("queue-unread")
    assert finding["subject"] == "memos_bob"
    assert finding["text"].startswith("3 messages")


def test_a_queue_that_only_grows(daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer) -> None:
    daemon()
    client, worker = peer(), peer()
    register(client, "memos", "bob")
    worker.can_do("memos_bob")
    publish(client, "memos", 3)
    # As daemons do: fan-outs might wait for one, and grow as well.
    with growing(gearmand, "memos_bob", "hello"):
        found = doctor([gearmand.address])

    assert found.only("queue-grows")["subject"] == "memos_bob"


def test_a_receiver_on_one_server_of_two(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer, start: Start
) -> None:
    other = start(Gearmand())
    daemon([gearmand, other])
    register(peer(), "memos", "bob")
    peer().can_do("memos_bob")

    found = doctor([gearmand.address, other.address])

    assert other.address in found.only("queue-half-read")["text"]


def test_a_receiver_that_is_not_registered(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    daemon()
    register(peer(), "memos", "bob")
    peer().can_do("memos_alice")

    found = doctor([gearmand.address])

    assert found.only("queue-unregistered")["subject"] == "memos_alice"


def test_a_subscriber_whose_topic_is_gone_from_the_store(
    daemon: NewDaemon, gearmand: Gearmand
) -> None:
    daemon()
    subscriber = Subscriber(gearmand.address, "bob", register=False)
    subscriber.on("memos")(lambda message: None)
    with running(subscriber):
        eventually(lambda: gearmand.admin.queue("memos_bob").workers)
        found = doctor([gearmand.address])

    assert found.exit_code == 1
    finding = found.only("queue-unregistered")
    assert finding["subject"] == "memos_bob"
    assert "a Subscriber reads memos_bob" in finding["text"]


def test_workers_on_what_may_be_queues_of_a_store_that_was_emptied(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    daemon()
    peer().can_do("memos_bob", "memos_the boss", "reverse", "_hidden")

    found = doctor([gearmand.address])

    # They may be another application's.
    assert found.exit_code == 0
    finding = found.only("queue-unregistered")
    assert finding["level"] == "note"
    assert "memos_bob, memos_the boss" in finding["text"]
    assert "reverse" not in finding["text"]


def test_a_queue_that_belongs_to_nobody(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    daemon()
    client = peer()
    register(client, "memos", "bob")
    client.submit("memos_departed", "x", background=True)
    client.submit("resize_image", "x", background=True)

    orphaned = doctor([gearmand.address]).findings["queue-orphaned"]

    assert {finding["subject"]: finding["level"] for finding in orphaned} == {
        "memos_departed": "warning",
        # Perhaps another application's.
        "resize_image": "note",
    }


@pytest.mark.parametrize("discard_after", [None, 3600])
def test_what_an_ended_subscription_left(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer, discard_after: int | None
) -> None:
    options: dict[str, Any] = {"limits.discard_after": discard_after}
    daemon(**options)
    client = peer()
    for name in ("alice", "the boss"):
        register(client, "memos", name)
    publish(client, "memos")
    for name in ("alice", "the boss"):
        subscription = {"topic": "memos", "client_id": name}
        assert client.submit("unregister_fanout_subscriber", subscription).completed

    orphaned = doctor([gearmand.address]).findings["queue-orphaned"]

    # No other subscriber shows that it is no other application's.
    assert {finding["level"] for finding in orphaned} == {"warning"}
    advice = {finding["subject"]: finding["advice"] for finding in orphaned}
    assert advice["memos_the boss"].endswith(": gearhorn purge memos 'the boss'")
    assert ("discard it 60 min after" in advice["memos_alice"]) == (discard_after is not None)
    command = shlex.split(advice["memos_alice"].rpartition(": gearhorn ")[2])
    assert gearhorn([gearmand.address], *command, "--yes").returncode == 0
    assert gearmand.admin.queue("memos_alice").total == 0


def test_a_queue_that_is_a_function_of_the_daemons(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    first = daemon()
    register(peer(), "my", "fanout")
    first.stop()
    options: dict[str, Any] = {"functions.fanout": "my_fanout"}
    daemon(**options)

    found = doctor([gearmand.address], "--function", "fanout=my_fanout")

    assert found.only("collision")["subject"] == "my_fanout"


def test_subscriptions_that_share_a_queue(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer, redis_server: Redis, key_prefix: str
) -> None:
    daemon()
    client = peer()
    register(client, "a_b", "c")
    register(client, "a", "x")
    # Past the claims on queue names, which refuse it.
    redis_server.ask("SADD", f"{key_prefix}topic:a", "b_c")

    found = doctor([gearmand.address])

    assert found.only("collision")["subject"] == "a_b_c"
