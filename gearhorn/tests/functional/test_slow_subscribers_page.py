# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The session of the page on slow and absent subscribers, as it is shown."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests import sessions
from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.filling import fill_up, publish, work_off
from gearhorn.tests.functional.gearman_tool import ToolWorker
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[3] / "doc/source/howto/slow-subscribers.rst").read_text("utf-8")
SERVED = "gearadmin --host={0.host} --port={0.port} --status | grep -q '^officememos_alice.0.0.1$'"
LIMITS: dict[str, Any] = {"limits.max_waiting": 1000, "limits.warn_waiting": 500}


def without_what_varies(output: str) -> str:
    """A queue may hold a few jobs less than its limit, and tables are as wide as their numbers."""
    output = re.sub(r"\d+ s ago", "AGO", output)
    output = re.sub(r"\b(9\d|100|8[89]|9\d\d|1000|8[789]\d)\b", "N", output)
    return re.sub(r" +", " ", output)


def test_the_session_is_real(
    daemon: NewDaemon,
    start: Start,
    gearmand: Gearmand,
    new_topic: NewTopic,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = daemon(**LIMITS)
    topic = new_topic(gearmand)
    topic.name = "officememos"
    # Names that nobody uses again.
    topic.subscribe("random1", "random2")
    publish(topic, 1)
    for client_id in ("random1", "random2"):
        work_off(topic, client_id, 1)
        request = {"topic": topic.name, "client_id": client_id}
        assert topic.client.submit("unregister_fanout_subscriber", request).completed
    topic.subscribe("bob")
    topic.subscribe("archive", max_waiting=100)
    fill_up(topic, "archive", most=100)
    fill_up(topic, "bob", most=1000)
    topic.subscribe("alice")
    start(ToolWorker(topic, "alice", "--", "cat"))
    programs = sessions.prepare(PAGE, gearmand, tmp_path, monkeypatch)
    wrapper = programs / "gearhorn"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gearhorn.cmd.cli "$@"\n')
    wrapper.chmod(0o755)
    # Some stand in lists.
    session = sessions.commands(
        re.sub(r"((?:^    .*\n|^\n)+)", lambda found: unindented(found[1]), PAGE, flags=re.M)
    )
    assert len(session) == 7

    taken = SERVED.format(gearmand)

    def awaited(command: str) -> str:
        return sessions.until(taken) if "publish" in command else ""

    outputs = sessions.run_all(session, tmp_path, programs, awaited)

    for command, output in zip(session, outputs, strict=True):
        assert without_what_varies(output) == without_what_varies(command.output), command.text
    lines = re.findall(r"^    queue (officememos_bob .*)$", PAGE, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        eventually(lambda: jobs_counted(line) in jobs_counted(process.log))  # noqa: B023


def jobs_counted(text: str) -> str:
    return re.sub(r"\d+ jobs", "N jobs", text)


def unindented(block: str) -> str:
    return textwrap.dedent(block) if ".. code-block" in block else block
