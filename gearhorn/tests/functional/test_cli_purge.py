# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Emptying queues from a shell."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from gearhorn.cmd.cli import purge
from gearhorn.tests.cli import Run, gearhorn
from gearhorn.tests.conftest import NewDaemon, NewPeer
from gearhorn.tests.functional.conftest import NewTopic, Service, Topic
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand
from gearhorn.wire import admin
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings


def test_purging_what_nobody_reads(run: Run, topic: Topic) -> None:
    topic.subscribe("bob", "BOB")
    for _ in range(200):
        topic.client.start("fanout", topic.request(background=True))
    topic.publish(background=True)
    assert topic.waiting("bob") == 201

    done = run("purge", topic.name, "bob", stdin="n\n")
    assert done.returncode == 1
    assert (
        f"Discard 201 messages from {topic.queue('bob')} (bob is still registered)?" in done.stderr
    )
    assert topic.waiting("bob") == 201

    run("unregister", topic.name, "bob")
    done = run("purge", topic.name, "bob", stdin="y\n")
    assert (done.returncode, done.stdout) == (
        0,
        f"201 messages discarded from {topic.queue('bob')}.\n",
    )
    assert f"Discard 201 messages from {topic.queue('bob')}?" in done.stderr
    # The other one, whose name differs only in case, is untouched.
    assert topic.waiting("BOB") == 201
    done = run("purge", topic.name, "BOB", "--yes", "--format", "json")
    assert json.loads(done.stdout) == {"queue": topic.queue("BOB"), "discarded": 201}


def test_a_purged_queue_is_listed_no_more(run: Run, topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish(background=True)
    assert topic.queue("bob") in topic.server.admin.status()

    run("purge", topic.name, "bob", "--yes")

    assert topic.queue("bob") not in topic.server.admin.status()


def test_of_ended_subscriptions_those_that_were_purged_leave_no_name(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    daemon()
    topic = new_topic(gearmand)
    topic.subscribe("alice", "bob")
    topic.publish(background=True)
    with topic.receiver("alice") as alice:
        alice.take(1)
    for name in ("alice", "bob"):
        assert gearhorn([gearmand.address], "unregister", topic.name, name).returncode == 0
    gearhorn([gearmand.address], "purge", topic.name, "bob", "--yes")
    eventually(lambda: not gearmand.admin.queue(topic.queue("alice")).workers)

    done = gearhorn([gearmand.address], "purge", "--ended", "--yes")

    assert done.stdout == "1 empty queue removed.\n"
    assert not {topic.queue(name) for name in ("alice", "bob")} & set(gearmand.admin.status())


def test_purging_tells_the_publisher_that_waits(run: Run, topic: Topic) -> None:
    topic.subscribe("bob")
    worker = topic.receiver("alice")
    handle = topic.start()
    assert eventually(lambda: topic.waiting("bob"))

    assert "1 message discarded" in run("purge", topic.name, "bob", "--yes").stdout

    outcome = topic.client.finish(handle)
    assert outcome.report["failed"] == {"bob": "receiver_failed"}
    worker.close()


def test_purging_says_that_a_worker_reads_the_queue(run: Run, topic: Topic) -> None:
    with topic.receiver("bob"):
        done = run("purge", topic.name, "bob", stdin="n\n")

    assert "(1 worker at the moment)" in done.stderr


def test_purging_on_the_servers_that_answer(service: Service, topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish(background=True)
    away = f"127.0.0.1:{free_port()}"

    done = gearhorn([service.gearmand.address, away], "purge", topic.name, "bob", "--yes")

    assert done.returncode == 1
    assert "1 message discarded" in done.stdout
    assert away in done.stderr
    assert topic.waiting("bob") == 0


async def test_names_are_removed_by_what_is_in_use_then(
    gearmand: Gearmand, peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are many, what is to be removed last may have come into use meanwhile."""
    names = [f"t_name{number}" for number in range(20)]
    with peer() as worker:
        worker.can_do(*names)
        worker.echo()
    eventually(lambda: not any(state.workers for state in gearmand.admin.status().values()))
    client = peer()
    drop = admin.drop_functions

    async def drop_and_submit(*arguments: Any) -> tuple[int, int]:
        done = await drop(*arguments)
        client.start(names[-1], "came meanwhile", background=True)
        client.echo()
        return done

    monkeypatch.setattr(purge, "LOOK_EVERY_S", 0)
    monkeypatch.setattr(admin, "drop_functions", drop_and_submit)
    session: Any = SimpleNamespace(
        servers=[Address.parse(gearmand.address)], wire=ConnectionSettings()
    )
    assert await purge._drop_ended(session, names) == (19, [])
    assert set(gearmand.admin.status()) == {names[-1]}
