# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Receivers that crash or freeze harm their own messages only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.processes import Process, eventually
from gearhorn.tests.servers import Gearmand

_RECEIVE = """
import sys
from gearhorn.tests.peer import Peer
with Peer(int(sys.argv[1]), timeout_s=3600) as peer, open(sys.argv[3], "ab", buffering=0) as out:
    peer.can_do(sys.argv[2])
    out.write(b"ready\\n")
    while True:
        job = peer.grab()
        out.write(job.data[:20] + b"\\n")
        peer.complete(job)
"""


class Receiver(Process):
    """A worker of one queue, which writes down how each message begins."""

    program = sys.executable
    package = "python3"

    def __init__(self, server: Gearmand, queue: str) -> None:
        super().__init__()
        self._server = server
        self._queue = queue
        self._received: Path = self.directory / "received"

    def command(self) -> Sequence[str]:
        arguments = (str(self._server.port), self._queue, str(self._received))
        return [sys.executable, "-c", _RECEIVE, *arguments]

    def is_ready(self) -> bool:
        return self._received.exists() and b"ready" in self._received.read_bytes()

    @property
    def received(self) -> list[str]:
        return self._received.read_text().splitlines()[1:]


def crash(topic: Topic, times: int) -> None:
    """A receiver that takes bob's copy and dies, again and again."""
    for _ in range(times):
        with topic.receiver("bob") as worker:
            assert worker.grab().data == b"hello"


def test_a_receiver_that_crashes_on_every_job(topic: Topic) -> None:
    topic.subscribe("bob", "alice")
    handle = topic.start(timeout=4)
    crash(topic, 3)
    assert topic.receiver("alice").take(1) == [b"hello"]
    crash(topic, 3)

    report = topic.client.finish(handle).report

    assert report["failed"] == {"bob": "timeout"}
    assert report["delivered"] == 1
    # It is still queued, for one that is sound.
    crash(topic, 1)
    assert topic.receiver("bob").take(1) == [b"hello"]
    # So is one in the background.
    topic.publish(background=True)
    crash(topic, 5)
    assert topic.receiver("bob").take(1) == [b"hello"]


def test_a_job_server_that_gives_up_a_job_whose_receivers_crash(
    start: Start, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    server = start(Gearmand("--job-retries=2"))
    daemon([server])
    topic = new_topic(server)
    topic.subscribe("bob")
    handle = topic.start(timeout=60)
    crash(topic, 2)
    assert topic.client.finish(handle).report["failed"] == {"bob": "receiver_failed"}
    assert topic.waiting("bob") == 0


def test_a_receiver_that_is_frozen(topic: Topic, start: Start) -> None:
    topic.subscribe("bob", "alice")
    bob = start(Receiver(topic.server, topic.queue("bob")))
    alice = topic.receiver("alice")
    bob.pause()

    handle = topic.start("first", timeout=2)
    assert alice.take(1) == [b"first"]
    assert topic.client.finish(handle).report["failed"] == {"bob": "timeout"}
    # More than fits between a job server and a worker that does not read.
    expected = [f"{number:020}" for number in range(50)]
    for text in expected:
        assert topic.publish(text + "x" * 200_000, background=True).report["queued"] == 2
    assert [data[:20].decode() for data in alice.take(50)] == expected
    assert bob.received == []

    bob.resume()
    eventually(lambda: bob.received == ["first", *expected])
    handle = topic.start("last")
    alice.take(1)
    assert topic.client.finish(handle).report["delivered"] == 2
