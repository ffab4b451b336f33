# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn doctor --format nagios``: the state, the numbers and each exit code."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from gearhorn.tests.cli import COMMAND, Run, gearhorn
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.diagnosis import register
from gearhorn.tests.processes import free_port
from gearhorn.tests.servers import Gearmand, Redis

pytestmark = pytest.mark.once

LEVELS = ("errors", "warnings", "notes")
PLUGIN = ("doctor", "--interval", "0.1", "--format", "nagios")


def numbers_of(line: str) -> dict[str, int | str]:
    """The numbers for graphs, none of which has a limit but 0 below."""
    numbers: dict[str, int | str] = {}
    for pair in line.partition(" | ")[2].split():
        name, _, value = pair.partition("=")
        number, *limits = value.split(";")
        assert limits == ["", "", "0"]
        numbers[name] = number if number == "U" else int(number)
    return numbers


def test_all_is_well_with_0(daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer) -> None:
    daemon()
    client, worker = peer(), peer()
    register(client, "memos", "bob")
    worker.can_do("memos_bob")

    done = gearhorn([gearmand.address], *PLUGIN)

    assert done.returncode == 0, done
    # A note, which there always is, is no line.
    (line,) = done.stdout.splitlines()
    assert line.startswith("GEARHORN OK - 1 server, 1 daemon, 1 topic, 1 subscriber | ")
    assert numbers_of(line) == {
        "servers": 1,
        "daemons": 1,
        "topics": 1,
        "subscribers": 1,
        "waiting": 0,
        "unread_queues": 0,
        # The query that was asked is none.
        "fanouts_in_hand": 0,
        "errors": 0,
        "warnings": 0,
        "notes": 1,
    }


def test_a_warning_is_1_and_its_names_are_text(run: Run, topic: Topic) -> None:
    topic.subscribe("b|b")
    topic.publish(background=True)

    done = run(*PLUGIN)

    first, *others = done.stdout.splitlines()
    assert done.returncode == 1, done
    assert first.startswith("GEARHORN WARNING - ")
    numbers = numbers_of(first)
    assert numbers["servers"] == 1
    assert int(numbers["waiting"]) >= 1
    assert int(numbers["unread_queues"]) >= 1
    assert numbers["warnings"] == len(others)
    assert others
    assert numbers["errors"] == 0
    # A bar begins numbers, so that none comes from a name.
    assert any(f"{topic.name}_b/b" in line for line in others)
    assert not any("|" in line for line in others)
    assert any("runbook.html#finding-queue-unread" in line for line in others)


def test_a_job_server_without_a_daemon_is_critical_with_2(gearmand: Gearmand) -> None:
    done = gearhorn([gearmand.address], *PLUGIN)

    assert done.returncode == 2, done
    assert done.stdout.startswith("GEARHORN CRITICAL - ")
    numbers = numbers_of(done.stdout.splitlines()[0])
    assert int(numbers["errors"]) >= 1
    # Nobody could say.
    seen = {name: number for name, number in numbers.items() if name not in LEVELS}
    assert seen.pop("servers") == 1
    assert set(seen.values()) == {"U"}


def test_no_job_server_at_all_is_critical_with_2() -> None:
    done = gearhorn([f"127.0.0.1:{free_port()}"], *PLUGIN)

    assert done.returncode == 2, done
    assert done.stdout.startswith("GEARHORN CRITICAL - job server 127.0.0.1:")
    numbers = numbers_of(done.stdout.splitlines()[0])
    assert (numbers["servers"], numbers["waiting"], numbers["daemons"]) == (0, "U", "U")


def test_what_the_daemons_cannot_read_is_no_number(
    daemon: NewDaemon, gearmand: Gearmand, start: Start
) -> None:
    redis = start(Redis())
    daemon(store_url=redis.url)
    redis.kill()

    done = gearhorn([gearmand.address], *PLUGIN)

    assert done.returncode == 2, done
    numbers = numbers_of(done.stdout.splitlines()[0])
    assert (numbers["subscribers"], numbers["waiting"], numbers["daemons"]) == ("U", "U", "U")
    assert numbers["fanouts_in_hand"] == 0


def test_a_daemon_without_an_answer_is_critical_with_2(
    daemon: NewDaemon, gearmand: Gearmand
) -> None:
    daemon().pause()

    done = gearhorn([gearmand.address], "--timeout", "1", *PLUGIN)

    assert done.returncode == 2, done
    assert done.stdout.startswith("GEARHORN CRITICAL - ")


def test_a_check_that_could_not_be_made_is_unknown_with_3(gearmand: Gearmand) -> None:
    # Too few files may be open for an event loop.
    call = ["sh", "-c", 'ulimit -n 5; exec "$@"', "sh", *COMMAND, *PLUGIN]
    environment: dict[str, Any] = {**os.environ, "GEARHORN_SERVERS": gearmand.address}
    done = subprocess.run(
        call, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 3, done
    assert done.stdout == "GEARHORN UNKNOWN - OSError: [Errno 24] Too many open files\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--server", "jobs1:port", *PLUGIN], "'jobs1:port' is no job server address"),
        (["--timeout", "0", *PLUGIN], "Invalid value for '--timeout'"),
        (["--tls-ca", "/nowhere/ca.pem", *PLUGIN], "TLS cannot be set up with /nowhere/ca.pem"),
        (["--function", "fanout", *PLUGIN], "--function fanout: write NAME=FUNCTION"),
        ([*PLUGIN, "--interval", "0"], "Invalid value for '--interval'"),
        (["doctor", "--format=nagios", "--colour"], "No such option '--colour'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_command_line_is_unknown_with_3(arguments: list[str], reason: str) -> None:
    # The code of other commands for it, 2, would be taken for critical.
    done = gearhorn([f"127.0.0.1:{free_port()}"], *arguments)

    assert done.returncode == 3, done
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"GEARHORN UNKNOWN - {reason}")
    assert done.stderr == ""
