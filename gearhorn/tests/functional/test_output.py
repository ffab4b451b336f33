# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Output that cannot be written: a full disk, a reader that is gone, a poor encoding."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.cli import COMMAND
from gearhorn.tests.conftest import NewDaemon, NewPeer
from gearhorn.tests.functional.conftest import Service, Topic
from gearhorn.tests.processes import eventually

SERVE = (sys.executable, "-m", "gearhorn.cmd.serve")
FULL = "the output cannot be written: No space left on device"


def execute(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, text=True, check=False, timeout=60, stderr=subprocess.PIPE, **options
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ((*COMMAND, "--help"), 1),
        ((*COMMAND, "--version"), 1),
        ((*COMMAND, "publish", "--help"), 1),
        ((*SERVE, "--help"), 74),
        ((*SERVE, "--version"), 74),
    ],
)
def test_a_full_disk_is_said_in_a_line(command: Sequence[str], code: int) -> None:
    with open("/dev/full", "wb") as full:
        done = execute(command, stdout=full)
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert line.endswith(FULL)


@pytest.mark.parametrize("command", [(*COMMAND, "--help"), (*SERVE, "--help")])
def test_a_reader_that_is_gone_is_no_news(command: Sequence[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = execute(command, stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode != 0
    assert done.stderr == ""


def test_nothing_at_all_can_be_written() -> None:
    with open("/dev/full", "wb") as full:
        command = [*COMMAND, "--server", "127.0.0.1:1", "topics"]
        done = subprocess.run(command, stdout=full, stderr=full, check=False, timeout=60)
        assert done.returncode == 1
        done = subprocess.run([*SERVE, "--help"], stdout=full, stderr=full, check=False, timeout=60)
        assert done.returncode == 74


@pytest.mark.parametrize(
    "arguments",
    [["topics"], ["--format", "json", "topics"], ["doctor", "--interval", "0.1"], ["daemons"]],
)
def test_every_answer_to_a_full_disk(service: Service, arguments: Sequence[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = execute([*COMMAND, "--server", service.gearmand.address, *arguments], stdout=full)
    assert done.returncode == 1
    assert done.stderr == f"gearhorn: {FULL}\n"


def test_a_message_that_cannot_be_printed_is_not_acknowledged(topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish("hello", background=True)
    listen = [*COMMAND, "--server", topic.server.address, "listen", topic.name, "--as", "bob"]
    with open("/dev/full", "wb") as full:
        done = execute([*listen, "--count", "1"], stdout=full)
    assert done.returncode == 1
    assert FULL in done.stderr
    eventually(lambda: topic.waiting("bob") == 1)
    done = execute([*listen, "--count", "1"], stdout=subprocess.PIPE)
    assert done.stdout == "hello\n"


def test_listen_needs_somewhere_to_print(topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish("hello", background=True)
    listen = [*COMMAND, "--server", topic.server.address, "listen", topic.name, "--as", "bob"]
    done = execute(["sh", "-c", 'exec "$@" >&-', "sh", *listen, "--count", "1"])
    assert done.returncode == 1
    assert done.stderr.startswith("Error: standard output is closed")
    assert topic.waiting("bob") == 1


def test_lines_are_published_where_stderr_was_closed(topic: Topic) -> None:
    publish = [*COMMAND, "--server", topic.server.address, "publish", topic.name]
    call = ["sh", "-c", 'exec "$@" 2>&-', "sh", *publish, "--lines", "--background"]
    done = execute(call, input="1\n2\n", stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert done.stdout == "2 messages published, 0 failed.\n"


def test_characters_that_the_terminal_lacks_are_escaped(topic: Topic) -> None:
    topic.subscribe("bo\u00e9\u6f22")
    done = subprocess.run(
        [*COMMAND, "--server", topic.server.address, "subscribers", topic.name],
        capture_output=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert b"bo\xe9\\u6f22" in done.stdout


@pytest.mark.parametrize("arguments", [["-"], ["--lines"]])
def test_input_that_cannot_be_read_is_said_in_a_line(
    service: Service, tmp_path: Path, arguments: Sequence[str]
) -> None:
    publish = [*COMMAND, "--server", service.gearmand.address, "publish", "memos", *arguments]
    closed = execute(["sh", "-c", 'exec "$@" <&-', "sh", *publish], stdout=subprocess.PIPE)
    assert (closed.returncode, closed.stderr) == (1, "Error: standard input is closed\n")


def test_a_log_on_a_full_disk_is_said_once(daemon: NewDaemon, peer: NewPeer) -> None:
    options: dict[str, Any] = {"DEFAULT.log_file": "/dev/full", "DEFAULT.debug": True}
    one = daemon(**options)
    for number in range(20):
        message = {"topic": "memos", "client_id": f"bob{number}"}
        assert peer().submit("subscribe_fanout", message).completed
    assert one.stop() == 0
    (line,) = one.log.splitlines()
    assert line.startswith("gearhorn-fanout: a log cannot be written, lines are lost: No space")


@pytest.mark.parametrize("command", [SERVE, COMMAND])
def test_a_command_whose_stderr_was_closed_does_its_work(command: Sequence[str]) -> None:
    call = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command, "--version"]
    done = execute(call, stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert "." in done.stdout
