# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Publishing from a shell."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from gearhorn.tests.cli import COMMAND, Run
from gearhorn.tests.functional.conftest import Topic


def test_publishing_to_receivers(run: Run, topic: Topic) -> None:
    topic.subscribe("alice", "bob")
    worker = topic.receiver("alice", "bob")
    process = subprocess.Popen(
        [*COMMAND, "--server", topic.server.address, "publish", topic.name, "go home", "--gather"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for answer in ("coming", b"\xff"):
        job = worker.grab()
        assert job.data == b"go home"
        worker.complete(job, answer)

    stdout, stderr = process.communicate(timeout=30)

    first, *rest = stdout.splitlines()
    assert first == "2 of 2 subscribers answered."
    assert sorted(line.partition(": ")[2] for line in rest) == ["(base64) /w==", "coming"]
    assert (process.returncode, stderr) == (0, "")


@pytest.mark.parametrize(
    ("payload", "stdin", "received"),
    [
        (["go home"], None, b"go home"),
        (["5"], None, b"5"),
        (["gr\u00fc\u00dfe"], None, "gr\u00fc\u00dfe".encode()),
        (["\udcff"], None, b"\xff"),
        ([""], None, b""),
        (["-"], b"\x00\xff\n", b"\x00\xff\n"),
        (["--file", "FILE"], None, b"a file\n"),
    ],
)
def test_what_is_published(
    run: Run,
    topic: Topic,
    tmp_path: Path,
    payload: list[str],
    stdin: bytes | None,
    received: bytes,
) -> None:
    file = tmp_path / "memo"
    file.write_bytes(b"a file\n")
    topic.subscribe("bob")

    arguments = [str(file) if word == "FILE" else word for word in payload]
    done = run("publish", topic.name, *arguments, "--background", stdin=stdin)

    assert (done.returncode, done.stdout) == (0, "Queued for 1 of 1 subscriber.\n"), done
    assert topic.receiver("bob").take(1) == [received]


def test_each_line_is_a_message(run: Run, topic: Topic) -> None:
    topic.subscribe("bob")
    stdin = b"one\n\n\xff\r\nlast"

    done = run("publish", topic.name, "--lines", "--background", stdin=stdin)

    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "4 messages published, 0 failed.\n",
        "",
    )
    assert topic.receiver("bob").take(4) == [b"one", b"", b"\xff\r", b"last"]


def test_lines_of_a_file_and_a_report_for_each(run: Run, topic: Topic, tmp_path: Path) -> None:
    topic.subscribe("bob")
    file = tmp_path / "lines"
    file.write_text("1\n2\n")
    arguments = ["publish", topic.name, "--lines", "--file", str(file), "--format", "json"]

    done = run(*arguments, "--timeout", "0.2")

    assert [json.loads(line)["failed"] for line in done.stdout.splitlines()] == [
        {"bob": "timeout"},
        {"bob": "timeout"},
    ]
    assert done.returncode == 1


def test_receivers_that_fail(run: Run, topic: Topic) -> None:
    topic.subscribe("bob")
    arguments = ["publish", topic.name, "x", "--timeout", "0.2"]

    done = run(*arguments)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "0 of 1 subscriber answered.",
        "FAILED  REASON",
        "bob     timeout",
    ]

    done = run(*arguments, "--format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["failed"] == {"bob": "timeout"}

    done = run("publish", topic.name, "--lines", "--timeout", "0.2", stdin="x\n")
    assert done.returncode == 1
    assert done.stdout == "1 message published, 1 failed.\n"
    assert done.stderr.startswith("line 1: ")


def test_copies_with_one_unique_are_one(run: Run, topic: Topic) -> None:
    topic.subscribe("bob")

    for _ in range(2):
        run("publish", topic.name, "x", "--background", "--unique", "memo-1", "--priority", "high")

    assert topic.waiting("bob") == 1


def on_terminal(arguments: Sequence[str], stdin: bytes = b"") -> tuple[int, str]:
    """Run the command with standard error on a terminal; its exit code and what shows there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    process.communicate(stdin, timeout=30)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:
        # Linux reports so that the other end is closed.
        pass
    os.close(ours)
    return process.returncode, shown.decode()


def test_a_bar_shows_how_many_receivers_have_answered_on_a_terminal_only(
    run: Run, topic: Topic
) -> None:
    topic.subscribe("alice", "bob")
    publish = ["publish", topic.name, "x", "--timeout", "1.5"]

    code, shown = on_terminal(["--server", topic.server.address, *publish])
    assert code == 1
    assert "Receivers" in shown
    assert "0/2" in shown

    done = run(*publish)
    assert done.returncode == 1
    assert "Receivers" not in done.stdout + done.stderr


def test_a_bar_shows_how_many_lines_are_published_on_a_terminal_only(
    run: Run, topic: Topic, tmp_path: Path
) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"0123456\n" * 10)
    server = ["--server", topic.server.address]
    publish = ["publish", topic.name, "--lines", "--background"]

    code, shown = on_terminal([*server, *publish, "--file", str(file)])
    assert code == 0
    assert "80/80" in shown
    code, shown = on_terminal([*server, *publish], b"0123456\n" * 10)
    assert code == 0
    assert "Messages" in shown
    assert run(*publish, stdin="a\nb\n").stderr == ""
