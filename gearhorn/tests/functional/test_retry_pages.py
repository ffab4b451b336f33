# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The sessions of the pages on messages that fail, and on those that kill, as they are shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gearhorn.tests import sessions
from gearhorn.tests.cli import Run
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.gearman_tool import ToolWorker
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[3]
HOWTO = ROOT / "doc/source/howto"
WORKS = "gearadmin --host={0.host} --port={0.port} --status | grep -q '^officememos_bob.*1$'"


def without_what_varies(output: str) -> str:
    output = re.sub(r"H:\S+:\d+", "HANDLE", output)
    output = re.sub(r"again in \d\.\d seconds", "again in SOME seconds", output)
    return re.sub(r'"time":[\d.]+', '"time":NOW', output)


@pytest.mark.parametrize(
    ("name", "title"),
    [("python", "Try again, and set aside what fails"), ("poisonous-messages", None)],
    ids=["python", "poisonous-messages"],
)
def test_the_session_is_real(
    name: str,
    title: str | None,
    daemon: NewDaemon,
    gearmand: Gearmand,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon()
    text = (HOWTO / f"{name}.rst").read_text("utf-8")
    if title is not None:
        text = text.partition(f"\n{title}\n---")[2].partition("\n---")[0]
    programs = sessions.prepare(text, gearmand, tmp_path, monkeypatch)
    for example in (ROOT / "doc/examples").glob("*.py"):
        (tmp_path / example.name).symlink_to(example)
    shown = sessions.commands(text)
    assert len(shown) > 4
    session = [
        command._replace(text=command.text.replace("127.0.0.1:4730", gearmand.address))
        for command in shown
    ]

    def awaited(command: str) -> str:
        starts = command.startswith("python3")
        return sessions.until(WORKS.format(gearmand)) if starts else ""

    outputs = sessions.run_all(session, tmp_path, programs, awaited)

    for command, output in zip(shown, outputs, strict=True):
        assert without_what_varies(output) == without_what_varies(command.output), command.text


def test_the_tool_takes_a_command_that_dies_of_a_signal_for_one_that_succeeds(
    topic: Topic, start: Start
) -> None:
    topic.subscribe("bob", "alice")
    start(ToolWorker(topic, "bob", "--", "sh", "-c", "kill -9 $$"))
    start(ToolWorker(topic, "alice", "--", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"))
    report = topic.publish("hello").report
    assert report["failed"] == {"alice": "receiver_failed"}
    assert report["delivered"] == 1


def test_listen_takes_it_for_a_failure(topic: Topic, run: Run) -> None:
    topic.subscribe("bob")
    handle = topic.start("hello")
    run("listen", topic.name, "--as", "bob", "--count", "1", "--exec", "kill -9 $$")
    assert topic.client.finish(handle).report["failed"] == {"bob": "receiver_failed"}


def test_job_retries_drop_what_a_worker_only_held_when_it_died(start: Start, peer: NewPeer) -> None:
    gearmand = start(Gearmand("--job-retries=1"))
    client = peer(gearmand)
    for text in ("poison", "fetched ahead", "queued"):
        client.start("t_bob", text, background=True)
    with peer(gearmand) as worker:
        worker.can_do("t_bob")
        assert [worker.grab().data for _ in range(2)] == [b"poison", b"fetched ahead"]
    eventually(lambda: gearmand.admin.queue("t_bob").running == 0)
    survivor = peer(gearmand)
    survivor.can_do("t_bob")
    assert survivor.take(1) == [b"queued"]
    assert survivor.try_grab() is None
