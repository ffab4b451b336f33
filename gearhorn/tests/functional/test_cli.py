# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The commands that look and register."""

from __future__ import annotations

import json
from typing import Any

from gearhorn.tests.cli import Run, gearhorn
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.conftest import Service, Topic
from gearhorn.tests.processes import free_port
from gearhorn.tests.servers import Gearmand


def test_registering_looking_and_removing(run: Run, topic: Topic) -> None:
    done = run("register", topic.name, "bob")
    assert done.stdout == f"bob receives {topic.name} in the queue {topic.queue('bob')}.\n"
    assert (done.returncode, done.stderr) == (0, "")

    done = run("register", topic.name, "alice", "--ttl", "3600", "--format", "json")
    assert json.loads(done.stdout) == {
        "topic": topic.name,
        "client_id": "alice",
        "queue": topic.queue("alice"),
    }

    assert {"topic": topic.name, "subscribers": 2} in json.loads(
        run("topics", "--format", "json").stdout
    )
    assert f"{topic.name}  " in run("topics").stdout

    assert run("unregister", topic.name, "alice").returncode == 0
    rows = json.loads(run("--format", "json", "subscribers", topic.name).stdout)
    assert [row["client_id"] for row in rows] == ["bob"]


def test_subscribers_with_their_queues(run: Run, topic: Topic) -> None:
    topic.subscribe("alice", "bob")
    topic.subscribe("visitor", ttl=3600)
    for _ in range(2):
        topic.publish(background=True)
    worker = topic.receiver("bob")
    job = worker.grab()

    rows = json.loads(run("subscribers", topic.name, "--format", "json").stdout)

    assert 3500 < rows[2].pop("expires_in") < 3600
    rest = {"running": 0, "workers": 0, "expires_in": None}
    brought = {"max_waiting": None, "overflow": None, "remove_idle": None}
    for row in rows:
        assert {key: row.pop(key) for key in brought} == brought
        assert row.pop("full") is False
    assert rows == [
        {"client_id": "alice", "queue": topic.queue("alice"), "waiting": 2, **rest},
        {
            "client_id": "bob",
            "queue": topic.queue("bob"),
            **rest,
            "waiting": 1,
            "running": 1,
            "workers": 1,
        },
        {
            "client_id": "visitor",
            "queue": topic.queue("visitor"),
            "waiting": 2,
            "running": 0,
            "workers": 0,
        },
    ]
    worker.complete(job)

    lines = run("subscribers", topic.name).stdout.splitlines()
    assert lines[0].split() == ["CLIENT", "ID", "QUEUE", "WAITING", "RUNNING", "WORKERS", "EXPIRES"]
    assert lines[1].split() == ["alice", topic.queue("alice"), "2", "0", "0", "never"]
    assert lines[3].split()[5:] == ["in", "60", "min"]


def test_what_cannot_be_asked_of_a_server_is_said(run: Run, service: Service, topic: Topic) -> None:
    topic.subscribe("bob")
    away = f"127.0.0.1:{free_port()}"

    done = gearhorn([service.gearmand.address, away], "subscribers", topic.name, "--format", "json")

    assert done.returncode == 1
    assert away in done.stderr
    assert len(json.loads(done.stdout)) == 1


def test_more_rows_than_a_page(run: Run, topic: Topic) -> None:
    topic.subscribe(*(f"{number:04}" for number in range(1005)))

    rows = json.loads(run("subscribers", topic.name, "--format", "json").stdout)

    assert [row["client_id"] for row in rows] == [f"{number:04}" for number in range(1005)]


def test_what_there_is_none_of(run: Run, topic: Topic) -> None:
    done = run("subscribers", topic.name)

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{topic.name} has no subscribers.\n"
    assert json.loads(run("subscribers", topic.name, "--format", "json").stdout) == []


def test_daemons_and_removing_a_dead_one(daemon: NewDaemon, gearmand: Gearmand) -> None:
    options: dict[str, Any] = {"matchmaking.cache_ttl": 1}
    dead, live = daemon(**options), daemon(**options)
    dead.kill()
    servers = [gearmand.address]

    rows = json.loads(gearhorn(servers, "daemons", "--format", "json").stdout)
    assert {row["worker_id"]: row["state"] for row in rows} == {
        dead.worker_id: "live",
        live.worker_id: "live",
    }
    assert " s ago    live" in gearhorn(servers, "daemons").stdout

    done = gearhorn(servers, "remove-daemon", dead.worker_id)
    assert (done.returncode, done.stdout) == (0, f"The entry of {dead.worker_id} is removed.\n")
    rows = json.loads(gearhorn(servers, "daemons", "--format", "json").stdout)
    assert [row["worker_id"] for row in rows] == [live.worker_id]
    again = gearhorn(servers, "remove-daemon", dead.worker_id)
    assert again.returncode == 1
    assert "there is no daemon" in again.stderr
