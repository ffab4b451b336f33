# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Emptying queues from a shell."""

from __future__ import annotations

import json

from gearhorn.tests.cli import Run, gearhorn
from gearhorn.tests.functional.conftest import Service, Topic
from gearhorn.tests.processes import eventually, free_port


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

    assert "(1 worker read it at the moment)" in done.stderr


def test_purging_on_the_servers_that_answer(service: Service, topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish(background=True)
    away = f"127.0.0.1:{free_port()}"

    done = gearhorn([service.gearmand.address, away], "purge", topic.name, "bob", "--yes")

    assert done.returncode == 1
    assert "1 message discarded" in done.stdout
    assert away in done.stderr
    assert topic.waiting("bob") == 0
