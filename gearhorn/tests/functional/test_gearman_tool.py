# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The stock ``gearman`` tool as publisher and as subscribers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.gearman_tool import ToolWorker, gearman
from gearhorn.tests.processes import eventually


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
    published = gearman(topic, "fanout", topic.request("hello", timeout=2))
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
