# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The exit codes of ``gearhorn``, and the options before the command."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from gearhorn.tests.cli import Run, gearhorn
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import Service, Topic
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import free_port
from gearhorn.tests.servers import Gearmand, Redis, Stunnel


def test_usage_errors_end_with_2(run: Run, topic: Topic) -> None:
    for arguments in (
        ["frobnicate"],
        ["topics", "--colour"],
        ["publish", topic.name],
        ["publish", topic.name, "x", "--lines"],
        ["publish", topic.name, "--lines", "--unique", "u"],
        ["publish", topic.name, "x", "--file", os.devnull],
        ["publish", topic.name, "x", "--priority", "urgent"],
        ["--server", "jobs1:port", "topics"],
        ["--tls-ca", "/nowhere/ca.pem", "topics"],
        ["--function", "fanout", "topics"],
        ["--function", "colour=red", "topics"],
        ["--timeout", "0", "topics"],
    ):
        done = run(*arguments)
        assert done.returncode == 2, done
        assert done.stderr.strip()


def test_a_refused_request_ends_with_3(run: Run, topic: Topic) -> None:
    assert run("register", topic.name, "a_b").returncode == 0
    done = run("register", f"{topic.name}_a", "b", "--format", "json")
    assert done.returncode == 3
    assert json.loads(done.stderr)["error"] == "queue_taken"

    for arguments in (
        ["register", "", "bob"],
        ["register", topic.name, "bob", "--ttl", "-1"],
        ["register", "__matchmaking", "bob"],
        ["unregister", topic.name, ""],
        ["subscribers", "a\tb"],
        ["publish", "", "x"],
        ["publish", topic.name, "x", "--unique", "-"],
        ["publish", topic.name, "x", "--background", "--gather"],
        ["publish", "", "--lines"],
        ["purge", topic.name, "", "--yes"],
    ):
        done = run(*arguments)
        assert done.returncode == 3, done
        assert done.stderr.startswith("Error: ")


ALL = (
    ["topics"],
    ["subscribers", "memos"],
    ["daemons"],
    ["register", "memos", "bob"],
    ["unregister", "memos", "bob"],
    ["remove-daemon", "x"],
    ["publish", "memos", "x", "--timeout", "0.5"],
    ["publish", "memos", "--lines", "--file", __file__, "--timeout", "0.5"],
)


@pytest.mark.parametrize("arguments", [*ALL, ["purge", "m", "b", "--yes"], ["purge", "m", "b"]])
def test_no_job_server_ends_with_4(arguments: list[str]) -> None:
    address = f"127.0.0.1:{free_port()}"

    done = gearhorn([address], "--timeout", "2", *arguments)

    assert done.returncode == 4, done
    assert done.stdout == ""
    assert "Error: " in done.stderr


@pytest.mark.parametrize("arguments", ALL[:-1], ids=lambda arguments: str(arguments[0]))
def test_no_daemon_ends_with_4(gearmand: Gearmand, arguments: list[str]) -> None:
    started = time.monotonic()
    done = gearhorn([gearmand.address], *arguments)

    assert done.returncode == 4, done
    assert "start gearhorn-fanout" in done.stderr
    # It does not wait for one, which it would for 30 seconds, and for 60 to publish.
    assert time.monotonic() - started < 25


def test_no_answer_ends_with_4(gearmand: Gearmand, peer: NewPeer) -> None:
    peer().can_do("fanout_query")

    done = gearhorn([gearmand.address], "--timeout", "1", "--format", "json", "topics")

    assert done.returncode == 4
    assert json.loads(done.stderr)["error"] == "no_answer"


def test_a_registration_that_waits_for_the_store_ends_with_4(
    daemon: NewDaemon, gearmand: Gearmand, start: Start
) -> None:
    redis = start(Redis())
    daemon(store_url=redis.url)
    redis.kill()

    done = gearhorn([gearmand.address], "--timeout", "1", "register", "memos", "bob")

    assert done.returncode == 4
    assert "no daemon answered in 1 seconds; the request may still be done" in done.stderr
    assert "see gearhorn doctor" in done.stderr


def test_what_is_no_job_server_ends_with_4(redis_server: Redis) -> None:
    done = gearhorn([redis_server.address], "--timeout", "2", "topics")

    assert done.returncode == 4


def test_a_daemon_without_its_store_ends_with_5(
    daemon: NewDaemon, gearmand: Gearmand, start: Start
) -> None:
    redis = start(Redis())
    daemon(store_url=redis.url)
    redis.kill()

    for command in (["topics"], ["subscribers", "memos"], ["daemons"]):
        done = gearhorn([gearmand.address], "--format", "json", *command)
        assert done.returncode == 5
        assert json.loads(done.stderr)["error"] == "store_away"


def test_a_second_server_is_asked_where_the_first_is_away(service: Service) -> None:
    away = f"127.0.0.1:{free_port()}"

    assert gearhorn([away, service.gearmand.address], "topics").returncode == 0


def test_servers_are_separated_by_blanks_or_commas(service: Service) -> None:
    address = service.gearmand.address
    away = f"127.0.0.1:{free_port()}"

    assert gearhorn([f"{away},{address}"], "topics").returncode == 0


def test_functions_under_other_names(daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer) -> None:
    options: dict[str, Any] = {
        f"functions.{name}": f"my_{name}" for name in ("register", "unregister", "fanout", "query")
    }
    daemon(**options)
    names = " ".join(f"{name.partition('.')[2]}={value}" for name, value in options.items())
    servers = [gearmand.address]

    for arguments in (
        ["register", "memos", "bob"],
        ["publish", "memos", "x", "--background"],
        ["topics"],
        ["unregister", "memos", "bob"],
    ):
        assert gearhorn(servers, *arguments, GEARHORN_FUNCTIONS=names).returncode == 0
    assert gearhorn(servers, "--function", "query=my_query", "topics").returncode == 0
    assert gearhorn(servers, "topics").returncode == 4


def test_commands_work_over_tls_with_a_certificate_only(
    service: Service, start: Start, topic: Topic
) -> None:
    proxy = start(Stunnel(service.gearmand.port, verify_client=True))
    topic.subscribe("bob")
    options = [
        f"--tls-ca={proxy.ca}",
        f"--tls-cert={proxy.client_certificate}",
        f"--tls-key={proxy.client_key}",
    ]

    for command in (
        ["subscribers", topic.name],
        ["publish", topic.name, "x", "--background"],
        ["purge", topic.name, "bob", "--yes"],
    ):
        assert gearhorn([proxy.address], *options, *command).returncode == 0
    assert gearhorn([proxy.address], "--timeout", "2", "topics").returncode == 4
    assert gearhorn([proxy.address], options[0], "--timeout", "2", "topics").returncode == 4


def test_names_cannot_move_the_cursor(run: Run, topic: Topic) -> None:
    # No control character, but one that reverses what follows.
    topic.subscribe("\u202eevil")

    assert "\\u202eevil" in run("subscribers", topic.name).stdout


def test_a_peer_is_shown_as_a_worker(run: Run, topic: Topic) -> None:
    topic.subscribe("bob")
    worker: Peer = topic.receiver("bob")

    (row,) = json.loads(run("subscribers", topic.name, "--format", "json").stdout)

    assert row["workers"] == 1
    worker.close()
