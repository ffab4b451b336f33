# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The stock ``gearman`` tool as publisher and as subscribers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.processes import MissingProgramError, Process, eventually


def tool() -> str:
    program = shutil.which("gearman")
    if program is None:
        raise MissingProgramError("gearman is missing: install the Debian package gearman-tools")
    return program


def gearman(
    topic: Topic, function: str, data: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Submit a job as a user does at a shell; that it ends is part of each test."""
    return subprocess.run(
        [tool(), "-h", topic.server.host, "-p", str(topic.server.port), "-f", function, *options],
        input=data,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


class ToolWorker(Process):
    """``gearman -w`` that writes what it receives into its log."""

    program = "gearman"
    package = "gearman-tools"

    def __init__(self, topic: Topic, client_id: str, *command: str) -> None:
        super().__init__()
        self._topic = topic
        self._queue = topic.queue(client_id)
        self._command = command

    def command(self) -> Sequence[str]:
        server = self._topic.server
        address = ["-h", server.host, "-p", str(server.port)]
        return [tool(), "-w", *address, "-f", self._queue, *self._command]

    def is_ready(self) -> bool:
        return self._topic.server.admin.queue(self._queue).workers == 1


@pytest.fixture
def text(tmp_path: Path) -> str:
    memo = tmp_path / "memo.txt"
    memo.write_text("please go home early today.\n\tŻółw, ¡adiós!\n")
    return memo.read_text()


@pytest.mark.parametrize("background", [False, True])
def test_a_memo_reaches_two_subscribers(
    topic: Topic, start: Start, text: str, background: bool
) -> None:
    for name in ("bob", "alice"):
        request = f'{{"topic": "{topic.name}", "client_id": "{name}"}}'
        registered = gearman(topic, "register_fanout_subscriber", request)
        assert registered.returncode == 0
        assert f'"queue":"{topic.name}_{name}"' in registered.stdout
    workers = [start(ToolWorker(topic, name, "tee", "/dev/stderr")) for name in ("bob", "alice")]

    published = gearman(topic, "fanout", topic.request(text, background=background))

    assert published.returncode == 0
    assert '"subscribers":2' in published.stdout
    for worker in workers:
        eventually(lambda worker=worker: worker.log == text)  # type: ignore[misc]


def test_a_failed_fan_out_shows_its_report_and_exits(topic: Topic, start: Start) -> None:
    topic.subscribe("bob", "mute")
    start(ToolWorker(topic, "bob", "cat"))
    published = gearman(topic, "fanout", topic.request("hello", timeout=0.5))
    assert published.returncode != 0
    assert '"failed":{"mute":"timeout"}' in published.stdout + published.stderr


def test_a_slow_fan_out_does_not_end_the_tool(topic: Topic) -> None:
    # It dies of a WORK_STATUS with a total of 0.
    topic.subscribe("mute")
    published = gearman(topic, "fanout", topic.request("hello", timeout=1.3), "-n")
    assert '"mute":"timeout"' in published.stdout + published.stderr


def test_a_refused_request_shows_why_and_exits(topic: Topic) -> None:
    for function in ("fanout", "register_fanout_subscriber"):
        published = gearman(topic, function, "{}")
        assert published.returncode != 0
        assert '"error":"missing_key"' in published.stdout + published.stderr


def test_a_failure_can_be_reported_as_a_success(topic: Topic) -> None:
    topic.subscribe("mute")
    request = topic.request("hello", timeout=0.1, always_report=True)
    published = gearman(topic, "fanout", request)
    assert published.returncode == 0
    assert '"failed":{"mute":"timeout"}' in published.stdout
