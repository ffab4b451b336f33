# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Daemons and their job servers: several, other kinds, over TLS, lost and found."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.fake import Conversation, FakeServer, fake_server
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.live_reports import until_all_copies_go
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually, free_port, until
from gearhorn.tests.servers import Gearmand, GearServer, Stunnel

FAST: dict[str, Any] = {"gearman.reconnect_max": 0.2, "gearman.connect_timeout": 2}
SHORT_LEASES: dict[str, Any] = {"matchmaking.cache_ttl": 0.2}
SOON_LOST: dict[str, Any] = {
    **FAST,
    "gearman.liveness_interval": 0.1,
    "gearman.liveness_timeout": 2,
}


# Several job servers.


def test_jobs_are_taken_from_every_server_and_a_queue_lives_on_one(
    start: Start, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    servers = [start(Gearmand()), start(Gearmand())]
    # The second to start answers no registration before the lists are too old that the store
    # may have forgotten about.
    for listed in (servers, servers[::-1]):
        until_all_copies_go(daemon(listed, **SHORT_LEASES), *servers)
    here, there = new_topic(servers[0]), new_topic(servers[1])
    there.name = here.name
    names = [f"c{number}" for number in range(30)]
    here.subscribe(*names)

    for number in range(8):
        publisher = (here, there)[number % 2]
        assert publisher.publish(str(number), background=True).report["queued"] == 30

    status = [server.admin.status() for server in servers]
    counts = [
        {name: s[here.queue(name)].total for name in names if here.queue(name) in s} for s in status
    ]
    assert all(counts)
    assert not counts[0].keys() & counts[1].keys()
    assert counts[0] | counts[1] == dict.fromkeys(names, 8)


def test_a_server_that_is_away_holds_up_nothing_and_is_found_when_it_comes(
    start: Start, gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    port = free_port()
    process = daemon([f"127.0.0.1:{port}", gearmand], **FAST)
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    assert topic.publish(background=True).report["queued"] == 1
    assert len(re.findall(f"127.0.0.1:{port}: away", process.log)) == 1

    later = start(Gearmand(port=port))
    eventually(lambda: "fanout" in later.admin.status())
    elsewhere = new_topic(later)
    elsewhere.subscribe("alice")
    assert elsewhere.publish(background=True).report["queued"] == 1
    eventually(lambda: f"127.0.0.1:{port}: connected" in process.log)


def test_when_a_server_dies_the_fan_out_names_what_was_lost_and_goes_on_elsewhere(
    start: Start, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    servers = [start(Gearmand()), start(Gearmand())]
    daemon(servers, **FAST)
    topic, elsewhere = new_topic(servers[0]), new_topic(servers[1])
    elsewhere.name = topic.name
    names = [f"c{number}" for number in range(20)]
    topic.subscribe(*names)
    handle = topic.start(timeout=60)
    eventually(
        lambda: sum(t.waiting(name) for t in (topic, elsewhere) for name in names) == len(names)
    )
    lost = {name for name in names if elsewhere.waiting(name)}

    servers[1].kill()
    kept = topic.receiver(*(set(names) - lost))
    kept.take(len(names) - len(lost))

    report = topic.client.finish(handle).report
    assert report["failed"] == dict.fromkeys(lost, "server_lost")
    assert report["delivered"] == len(names) - len(lost)
    # The next one goes to the server that is left.
    assert topic.publish("next", background=True).report["queued"] == len(names)
    assert topic.receiver(*names).take(len(names)) == [b"next"] * len(names)


async def copies_of(server: Conversation) -> list[wire.Packet]:
    first = await server.receive()
    await server.settle()
    return [first] + [await server.receive() for _ in range(server.pending)]


async def submitting(server: FakeServer) -> Conversation:
    """The connection, of a daemon's four, that copies are sent on."""
    # The daemon, a process of its own, may take a while to say anything on it.
    await until(lambda: any(there.options for there in server.open), 20.0)
    return next(there for there in server.open if there.options)


@pytest.mark.parametrize("background", [True, False])
async def test_copies_that_a_dying_server_has_not_taken_go_to_the_next(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic, background: bool
) -> None:
    async with fake_server() as dying:
        process = await asyncio.to_thread(
            daemon, [gearmand, str(dying.address)], wait_ready=False, **FAST
        )
        conversation = await submitting(dying)
        await asyncio.to_thread(process.wait_ready)
        topic = new_topic(gearmand)
        names = [f"c{number}" for number in range(40)]

        def publish() -> bytes:
            topic.subscribe(*names)
            return topic.start(background=background)

        handle = await asyncio.to_thread(publish)
        swallowed = await copies_of(conversation)
        assert 0 < len(swallowed) < 40
        # It takes one, for which nothing more can be done, and dies.
        conversation.send(wire.JOB_CREATED, b"H:1")
        await conversation.settle()
        taken = swallowed[0].args[0].split(b"\0")[0].decode().rpartition("_")[2]
        await dying.stop()

        def finish() -> Any:
            worker = topic.receiver(*names)
            worker.take(39)
            assert worker.try_grab() is None
            return topic.client.finish(handle).report

        report = await asyncio.to_thread(finish)
        if background:
            assert report["queued"] == 40
        else:
            assert report["failed"] == {taken: "server_lost"}


# Connections.


def test_the_daemon_names_itself_to_the_job_server(gearmand: Gearmand, daemon: NewDaemon) -> None:
    process = daemon()
    known = [w for w in gearmand.admin.workers() if w.client_id.startswith(process.worker_id)]
    functions = [worker.functions for worker in known if worker.functions]
    assert {"fanout"} in functions
    assert any({"subscribe_fanout", "unsubscribe_fanout"} <= names for names in functions)
    own = [names for names in functions if "__matchmaking" in " ".join(names)]
    assert {f"__matchmaking_{known[0].client_id}"} in own
    # The mark of its store has a connection to itself.
    (mark,) = (names for names in own if "__matchmaking_store_" in " ".join(names))
    assert len(mark) == 1


def test_a_frozen_server_counts_as_lost_and_is_found_again(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    process = daemon(**SOON_LOST)
    gearmand.pause()
    eventually(lambda: "away (no answer for 2 seconds)" in process.log)
    gearmand.resume()
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    assert topic.publish(background=True).report["queued"] == 1
    assert process.log.count(": away") == 1


def test_functions_can_have_other_names(
    gearmand: Gearmand, daemon: NewDaemon, peer: NewPeer
) -> None:
    names = ("register", "subscribe", "unregister", "unsubscribe", "fanout")
    options: dict[str, Any] = {f"functions.{name}": f"my.{name}" for name in names}
    options["matchmaking.topic"] = "my.daemons"
    daemon(**options)
    client = peer()
    for function in ("my.register", "my.subscribe"):
        assert client.submit(function, subscription("t", "bob")).completed
    report = client.submit("my.fanout", message("t", background=1)).report
    assert report["queued"] == 1
    for topic, client_id in (("my.daemons", "x"), ("My.Daemons", "x"), ("my.daemons_x", "y")):
        outcome = client.submit("my.subscribe", subscription(topic, client_id))
        assert outcome.refusal in ("reserved_topic", "reserved_queue")
    for function in ("my.unregister", "my.unsubscribe"):
        assert client.submit(function, subscription("t", "bob")).completed
    assert "fanout" not in gearmand.admin.status()


# TLS.


def test_job_servers_are_reached_over_tls(
    start: Start, gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    tunnel = start(Stunnel(gearmand.port, verify_client=True))
    options: dict[str, Any] = {
        "gearman.tls_ca": tunnel.ca,
        "gearman.tls_cert": tunnel.client_certificate,
        "gearman.tls_key": tunnel.client_key,
    }
    daemon([f"localhost:{tunnel.port}"], **options)
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    assert topic.publish("é" * 300_000, background=True).report["queued"] == 1
    handle = topic.start("hidden")
    assert topic.receiver("bob").take(2)[1] == b"hidden"
    assert topic.client.finish(handle).completed


def test_tls_1_3_is_spoken(start: Start, gearmand: Gearmand, daemon: NewDaemon) -> None:
    tunnel = start(Stunnel(gearmand.port, tls_version="TLSv1.3"))
    options: dict[str, Any] = {"gearman.tls_ca": tunnel.ca}
    daemon([f"localhost:{tunnel.port}"], **options)
    assert "fanout" in gearmand.admin.status()


@pytest.mark.parametrize("wrong", ["name", "authority", "no certificate of its own"])
def test_a_server_that_is_not_who_it_should_be_is_refused(
    start: Start, gearmand: Gearmand, daemon: NewDaemon, wrong: str
) -> None:
    names = ["elsewhere.example"] if wrong == "name" else ["localhost"]
    tunnel = start(Stunnel(gearmand.port, names=names, verify_client=wrong.startswith("no ")))
    other = start(Stunnel(gearmand.port))
    ca = other.ca if wrong == "authority" else tunnel.ca
    process = daemon(
        [f"localhost:{tunnel.port}"], wait_ready=False, **{**FAST, "gearman.tls_ca": ca}
    )
    eventually(lambda: f"job server localhost:{tunnel.port}: away" in process.log)
    if not wrong.startswith("no "):
        assert "certificate verify failed" in process.log
    assert "fanout" not in gearmand.admin.status()
    assert "READY=1" not in process.notifications
    process.stop()


# Other job servers.


def test_the_job_server_of_gear_will_do(start: Start, daemon: NewDaemon) -> None:
    server = start(GearServer())
    process = daemon([server.address], **SOON_LOST)
    with Peer(server.port) as client, Peer(server.port) as worker:
        worker.send(wire.CAN_DO, "t_bob")
        assert client.submit("subscribe_fanout", subscription("t", "bob")).completed
        outcome = client.submit("fanout", message("t", "one", background=True))
        assert outcome.report["queued"] == 1
        handle = client.start("fanout", message("t", "two", gather=True))
        for data in (b"one", b"two"):
            job = worker.grab()
            assert job.data == data
            worker.complete(job, b"got " + data)
        assert client.finish(handle).report["results"] == {"bob": "got two"}
        assert client.submit("fanout", {"topic": "t"}).refusal == "missing_key"
        # It answers what it is asked to see whether it is alive.
        with pytest.raises(AssertionError):
            eventually(lambda: ": away" in process.log, 2.5)
    assert process.stop() == 0
    assert ": away" not in process.log
