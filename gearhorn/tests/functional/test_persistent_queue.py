# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What gearmand's SQLite queue keeps, and what its other limits do: facts that pages name."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path

import gear
import pytest

from gearhorn import Publisher
from gearhorn.tests.builders import message
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.peer import ServerError
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once


class Persistent(Gearmand):
    """With a SQLite queue, in files that may get no larger than it is told."""

    def __init__(self, directory: Path) -> None:
        super().__init__("--queue-type=libsqlite3", f"--libsqlite3-db={directory / 'queue.db'}")

    def command(self) -> Sequence[str]:
        # A file that gets too large is an error then, as on a full disk, and not the end.
        return ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", *super().command()]

    def limit_files(self, size: int) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture
def persistent(start: Start, tmp_path: Path) -> Persistent:
    return start(Persistent(tmp_path))


def test_of_background_jobs_without_a_unique_one_survives(
    persistent: Persistent, peer: NewPeer
) -> None:
    client = peer(persistent)
    for number in range(5):
        client.start("fanout", message("memos", str(number)), background=True)
        client.start("with-unique", message("memos", "same"), background=True, unique=f"u{number}")
    assert persistent.admin.queue("fanout").total == 5
    persistent.restart()
    assert persistent.admin.queue("fanout").total == 1
    assert persistent.admin.queue("with-unique").total == 5


@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")
def test_what_the_gearman_tool_submits_has_a_unique_and_what_gear_submits_has_none(
    persistent: Persistent,
) -> None:
    client = gear.Client("publisher")
    client.addServer(persistent.host, persistent.port)
    client.waitForServer()
    tool = ["gearman", "-h", persistent.host, "-p", str(persistent.port), "-b"]
    for number in range(3):
        client.submitJob(gear.TextJob("by-gear", str(number)), background=True)
        subprocess.run([*tool, "-f", "by-tool", str(number)], check=True, timeout=20)
    client.shutdown()
    persistent.restart()
    assert persistent.admin.queue("by-gear").total == 1
    assert persistent.admin.queue("by-tool").total == 3


def test_copies_of_what_the_library_publishes_all_survive(
    persistent: Persistent, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    daemon([persistent])
    topic = new_topic(persistent)
    topic.subscribe("bob")
    with Publisher(persistent.address) as publisher:
        for number in range(5):
            publisher.publish(topic.name, str(number), background=True)
    persistent.restart()
    assert topic.waiting("bob") == 5


def test_a_copy_that_was_not_queued_may_be_there_after_all(
    persistent: Persistent, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    daemon([persistent])
    topic = new_topic(persistent)
    topic.subscribe("bob")
    assert topic.publish("before", background=True).completed

    persistent.limit_files(4096)
    assert topic.publish("full", background=True).report["failed"] == {"bob": "not_queued"}
    persistent.limit_files(resource.RLIM_INFINITY)
    # gearmand goes on refusing, and writes what it refuses.
    for _ in range(3):
        report = topic.publish("room again", background=True).report
        assert report["failed"] == {"bob": "not_queued"}
    assert topic.waiting("bob") == 1

    persistent.restart()
    assert topic.waiting("bob") > 1


def test_a_bound_on_a_queue_that_is_not_there_yet_does_nothing(
    gearmand: Gearmand, peer: NewPeer
) -> None:
    client = peer()
    assert gearmand.admin.command("maxqueue memos_bob 1") == ["OK"]
    for number in range(3):
        client.start("memos_bob", str(number), background=True)
    assert gearmand.admin.queue("memos_bob").total == 3
    # Now it holds.
    assert gearmand.admin.command("maxqueue memos_bob 1") == ["OK"]
    with pytest.raises(ServerError):
        client.start("memos_bob", "more", background=True)


def test_a_bound_is_forgotten_when_gearmand_restarts(gearmand: Gearmand, peer: NewPeer) -> None:
    peer().start("memos_bob", "first", background=True)
    gearmand.admin.command("maxqueue memos_bob 1")
    gearmand.restart()
    client = peer()
    for number in range(3):
        client.start("memos_bob", str(number), background=True)
    assert gearmand.admin.queue("memos_bob").total == 3
