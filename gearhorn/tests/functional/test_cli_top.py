# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn top``, as it is and on a screen."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time

import pytest

from gearhorn.tests.cli import COMMAND, Run, gearhorn
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.conftest import NewTopic, Service, Topic
from gearhorn.tests.processes import free_port
from gearhorn.tests.servers import Gearmand


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
    assert "ERROR " in done.stdout


@pytest.mark.once
def test_a_screen_with_keys(service: Service, topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish(background=True)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "top", "--interval", "0.2"],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env={
            **os.environ,
            "GEARHORN_SERVERS": service.gearmand.address,
            "COLUMNS": "100",
            "LINES": "60",
        },
    )
    os.close(theirs)
    seen = ""

    def until(text: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 30
        while text not in seen:
            assert time.monotonic() < deadline, seen[-3000:]
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 65536).decode()

    def press(keys: str) -> None:
        nonlocal seen
        seen = ""
        os.write(ours, keys.encode())

    try:
        until("Topics by waiting")
        press("s")
        until("Topics by change")
        press(f"/{topic.name}\r")
        until(f"Topics by change, with '{topic.name}'")
        press("\r")
        until(f"Subscribers of {topic.name}")
        until("bob")
        press("\x1b")
        until("Topics by change")
        press("q")
        until("\x1b[?1049l")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
