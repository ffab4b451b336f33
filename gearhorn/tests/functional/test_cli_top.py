# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn top``, as it is and on a screen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from gearhorn.tests import packets
from gearhorn.tests.cli import COMMAND, Run, gearhorn
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import NewTopic, Service, Topic
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import free_port
from gearhorn.tests.servers import Gearmand, Redis
from gearhorn.tests.terminal import Terminal


def test_rates_queues_and_each_daemon(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    one, two = daemon(), daemon()
    topic = new_topic(gearmand)
    topic.subscribe("alice", "bob")
    worker = topic.receiver("alice")
    topic.publish(background=True)
    worker.grab()
    topic.publish(background=True)

    done = gearhorn([gearmand.address], "top", "--once", "--interval", "0.3", "--format", "json")

    assert done.returncode == 0, done
    frame = json.loads(done.stdout)
    assert frame["topics"] == [
        {
            "topic": topic.name,
            "subscribers": 2,
            "waiting": 3,
            "change": 0,
            "running": 1,
            "unread": 1,
        }
    ]
    assert [(row["client_id"], row["waiting"]) for row in frame["unread"]] == [("bob", 2)]
    assert {row["worker_id"] for row in frame["daemons"]} == {one.worker_id, two.worker_id}
    # Each has told it of itself.
    assert all(row["state"] == "live" and row["uptime"] > 0 for row in frame["daemons"])
    assert all(row["missing"] is None for row in frame["daemons"])
    # Of queries alone: nobody has published meanwhile.
    assert frame["rates"]["fanouts"] == 0
    assert frame["rates"]["requests"] > 0
    assert frame["waiting"] == 3


def test_frames_where_standard_input_was_closed(topic: Topic) -> None:
    top = [*COMMAND, "--server", topic.server.address, "top", "--interval", "0.1"]
    call = ["sh", "-c", 'exec "$@" <&-', "sh", *top]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as showing:
        try:
            assert showing.stdout is not None
            assert "copies queued" in showing.stdout.readline()
        finally:
            showing.kill()


def test_frames_one_after_the_other(run: Run, topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish(background=True)

    done = run("top", "--count", "2", "--interval", "0.1", "--most", "100000")

    assert done.returncode == 0, done
    assert done.stdout.count("copies queued ") == 2
    assert re.search(rf"^{topic.name} +1 +1 +\+0 +0 +1$", done.stdout, re.MULTILINE)
    assert "Without a worker\n" in done.stdout
    assert "\x1b" not in done.stdout


def test_without_a_job_server_top_ends_with_4() -> None:
    done = gearhorn([f"127.0.0.1:{free_port()}"], "top", "--once", "--interval", "0.1")
    assert done.returncode == 4
    assert done.stdout.count("ERROR ") == 1
    assert "Daemons\nunknown\n" in done.stdout


def test_without_a_daemon_top_ends_with_4(gearmand: Gearmand) -> None:
    done = gearhorn([gearmand.address], "top", "--once", "--interval", "0.1")
    assert done.returncode == 4
    assert done.stdout.count("ERROR no daemon serves ") == 1
    assert "Topics by waiting\nunknown\n" in done.stdout


def test_what_nobody_knows_without_the_store_is_unknown(
    daemon: NewDaemon, gearmand: Gearmand, start: Start
) -> None:
    redis = start(Redis())
    daemon(store_url=redis.url)
    redis.kill()
    done = gearhorn([gearmand.address], "top", "--once", "--interval", "0.1")
    assert done.stdout.count("ERROR ") == 1
    assert "Daemons\nunknown\n" in done.stdout
    assert "Topics by waiting\nunknown\n" in done.stdout


# Beside daemons of older releases.


class OlderDaemon:
    """A daemon that knows no counters, and takes nothing but notices in its own function."""

    def __init__(self, peer: Peer, worker_id: str, daemons: Sequence[str] = ()) -> None:
        self._peer, self._own = peer, f"__matchmaking_{worker_id}".encode()
        self._rows: dict[str, list[dict[str, Any]]] = {
            "status": [
                {
                    "worker_id": worker_id,
                    "version": "1.0",
                    "uptime": 50.0,
                    "store_fault": None,
                    "servers": {},
                    "fanouts": 7,
                    "requests": 1,
                    "cached_topics": 0,
                    "functions": {},
                    "matchmaking_topic": "__matchmaking",
                    "cache_ttl": 10.0,
                    "daemon_ttl": 60.0,
                }
            ],
            "daemons": [{"worker_id": name, "age": 1.0, "barred": False} for name in daemons],
            "topics": [{"topic": "memos", "subscribers": 1}],
            "subscribers": [{"client_id": "bob", "queue": "memos_bob", "expires_in": None}],
        }
        peer.can_do(self._own, *[b"fanout_query"] * bool(daemons))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                job = self._peer.grab(60)
            except (OSError, ValueError):
                return
            query = json.loads(job.data)["query"]
            if job.function == self._own:
                refusal = {"error": "unknown_key", "message": "unknown key 'query'"}
                self._peer.send(packets.WORK_WARNING, job.handle, json.dumps(refusal))
                self._peer.fail(job)
            else:
                page = {"query": query, "rows": self._rows[query], "next": None}
                self._peer.complete(job, json.dumps(page))


def test_a_daemon_of_an_older_release_that_answers(gearmand: Gearmand, peer: NewPeer) -> None:
    OlderDaemon(peer(), "older", ["older"])
    peer().submit("memos_bob", "hello", background=True)

    done = gearhorn([gearmand.address], "top", "--once", "--interval", "0.1")

    assert done.returncode == 0, done
    # Nobody knows the rates. All else is there.
    first, second, note, *others = done.stdout.splitlines()
    assert first.startswith("fanouts -  copies queued -  ")
    assert second.startswith("in hand: fanouts 7, requests 1; waiting for subscribers: 1")
    assert note.startswith("NOTE of an older release, ")
    assert note.endswith(": older")
    assert re.search(r"^older +live +7 +1 +50 s +-$", "\n".join(others), re.MULTILINE)
    assert re.search(r"^memos +1 +1 +\+0 +0 +1$", "\n".join(others), re.MULTILINE)
    done = gearhorn([gearmand.address], "top", "--once", "--interval", "0.1", "--format", "json")
    frame = json.loads(done.stdout)
    assert set(frame["rates"].values()) == {None}
    assert frame["daemons"][0]["missing"] == "older_release"


def test_a_daemon_beside_older_ones_and_some_that_are_silent(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    one, two, three = (daemon() for _ in range(3))
    for killed in (two, three):
        killed.kill()
    # The second goes on as one that was not upgraded.
    OlderDaemon(peer(), two.worker_id)

    top = ("top", "--once", "--interval", "0.1")
    text = gearhorn([gearmand.address], *top).stdout
    frame = json.loads(gearhorn([gearmand.address], *top, "--format", "json").stdout)

    # The rates are those of the one that tells them.
    assert re.match(r"fanouts 0\.0/s  .*  requests [\d.]+/s\n", text)
    assert f"counters; the rates are without: {two.worker_id}\n" in text
    assert f"\nWARNING no answer, and all numbers are without: {three.worker_id}\n" in text
    assert re.search(rf"^{two.worker_id} +live +- +- +- +-$", text, re.MULTILINE)
    assert {row["worker_id"]: row["missing"] for row in frame["daemons"]} == {
        one.worker_id: None,
        two.worker_id: "older_release",
        three.worker_id: "no_answer",
    }
    assert frame["rates"]["requests"] > 0


@pytest.mark.once
def test_a_screen_with_keys(service: Service, topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish(background=True)
    environment = {
        **os.environ,
        "GEARHORN_SERVERS": service.gearmand.address,
        "COLUMNS": "100",
        "LINES": "60",
    }
    with Terminal([*COMMAND, "top", "--interval", "0.2"], environment) as screen:
        screen.until("Topics by waiting")
        screen.write("s")
        screen.until("Topics by change")
        screen.write(f"/{topic.name}\r")
        screen.until(f"Topics by change, with '{topic.name}'")
        screen.write("\r")
        screen.until(f"Subscribers of {topic.name}")
        screen.until("bob")
        screen.write("\x1b")
        screen.until("Topics by change")
        screen.write("q")
        screen.until("\x1b[?1049l")
        assert screen.process.wait(20) == 0
