# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn-fanout --standalone``: nothing else needs to run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.admin import Admin
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.standalone import Standalone
from gearhorn.tests.processes import eventually

MEMO = "please go home early today."


@pytest.fixture(params=["gearmand", "gear.Server"])
def standalone(request: pytest.FixtureRequest, tmp_path: Path, start: Start) -> Standalone:
    return start(Standalone(tmp_path, gearmand=request.param == "gearmand"))


def fan_out(server: Standalone) -> None:
    """A message reaches two subscribers, both of whom register for it first."""
    with server.peer() as client, server.peer() as worker:
        for name in ("bob", "alice"):
            registered = subscription("officememos", name)
            assert client.submit("register_fanout_subscriber", registered).completed
        worker.can_do("officememos_bob", "officememos_alice")
        handle = client.start("fanout", message("officememos", MEMO))
        for _ in range(2):
            job = worker.grab()
            assert job.data == MEMO.encode()
            worker.complete(job)
        assert client.finish(handle).report["delivered"] == 2


def test_a_message_reaches_two_subscribers(standalone: Standalone) -> None:
    fan_out(standalone)
    assert standalone.stop() == 0
    assert not standalone.listens()
    assert (standalone.state / "gearhorn").stat().st_mode & 0o777 == 0o700
    # Subscriptions are kept.
    standalone.start()
    with standalone.peer() as client:
        outcome = client.submit("fanout", message("officememos", MEMO, background=True))
    assert outcome.report["queued"] == 2


def test_what_it_says_to_type_works_with_the_stock_tool(standalone: Standalone) -> None:
    said = said_to(standalone.typed(), os.environ["PATH"])
    assert said.count(MEMO) == 2
    report: dict[str, Any] = json.loads(said[said.index('{"topic":"officememos","subs') :])
    assert report["delivered"] == 2


@pytest.mark.parametrize("functions", ["", "[functions]\nregister = sub|me\nfanout = fan\n"])
def test_what_it_says_to_type_works_without_the_stock_tool(
    tmp_path: Path, start: Start, functions: str
) -> None:
    process = Standalone(tmp_path, gearmand=False, tool=False)
    with process._config.open("a") as config:
        config.write(functions)
    start(process)

    said = said_to(process.typed(), "")

    assert said.count(MEMO) == 2
    assert "2 of 2 subscribers answered" in said


def said_to(typed: Sequence[str], path: str) -> str:
    """Return the output of a shell to which these commands are typed."""
    assert len(typed) == 5
    bash = shutil.which("bash")
    assert bash is not None
    # The workers stay, as in a terminal, until their session ends.
    shell = subprocess.Popen(
        [bash, "-c", "\n".join(typed)],
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        shell.wait(45)
    code = shell.poll()
    os.killpg(shell.pid, signal.SIGKILL)
    assert shell.stdout is not None
    with shell.stdout:
        said = shell.stdout.read().decode()
    shell.wait()
    assert code == 0, said
    return said


def test_it_says_what_its_job_server_does_not_keep(tmp_path: Path, start: Start) -> None:
    gearmand = start(Standalone(tmp_path, gearmand=True))
    assert f"{gearmand.address}, through gearmand" in gearmand.log
    assert "what is queued is lost" in gearmand.log
    gearmand.stop()

    other = start(Standalone(tmp_path, gearmand=False, tool=False))
    assert f"{other.address}, through the gear.Server" in other.log
    for text in ("does not coalesce", "fails instead of being queued", "survives its restart"):
        assert text in other.log
    assert "apt-get install gearman-job-server" in other.log
    # Nor is the tool found there.
    assert "apt-get install gearman-tools" in other.log


def test_it_says_what_of_a_configuration_does_not_count(tmp_path: Path, start: Start) -> None:
    process = Standalone(tmp_path, gearmand=False, tool=False)
    with process._config.open("a") as config:
        config.write("[gearman]\nservers = jobs1:4730\n[fanout]\ntimeout = 5\n")
    start(process)
    (line,) = [line for line in process.log.splitlines() if " WARNING gearhorn.cmd" in line]
    assert "[gearman] servers does not count: --standalone has its own" in line


def test_its_job_server_listens_on_loopback_only(standalone: Standalone) -> None:
    listening = [
        fields[1].split(":")[0]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for fields in map(str.split, Path(table).read_text().splitlines()[1:])
        if int(fields[1].split(":")[1], 16) == standalone.port and fields[3] == "0A"
    ]
    assert listening == ["0100007F"]


def test_ctrl_c_lets_it_finish(standalone: Standalone) -> None:
    with standalone.peer() as client, standalone.peer() as worker:
        client.submit("register_fanout_subscriber", subscription("t", "bob"))
        worker.can_do("t_bob")
        handle = client.start("fanout", message("t", MEMO))
        job = worker.grab()

        # To the whole process group, as a terminal sends it.
        os.killpg(standalone.pid, signal.SIGINT)
        eventually(lambda: "draining" in standalone.log)
        worker.complete(job)

        assert client.finish(handle).report["delivered"] == 1
    assert standalone.wait() == 0
    assert not standalone.listens()


def test_its_job_server_ends_with_it_however_it_ends(standalone: Standalone) -> None:
    standalone.kill()
    eventually(lambda: not standalone.listens())
    standalone.start()
    assert standalone.listens()


def test_its_job_server_is_started_again(standalone: Standalone) -> None:
    first = standalone.job_server()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: "starting it again" in standalone.log)
    (line,) = re.findall(r".*starting it again.*", standalone.log)
    assert "ended by SIGKILL, and what was queued in it is lost" in line
    assert f"{standalone.state}/gearhorn/job-server.log" in line

    def is_served() -> bool:
        try:
            functions = Admin(standalone.port, standalone.host).status().keys()
        except OSError:
            return False
        # Each is served on a connection of its own; gear.Server fails what nobody serves.
        return {"fanout", "register_fanout_subscriber"} <= functions

    eventually(is_served, 30)
    assert standalone.job_server() != first
    fan_out(standalone)


def test_a_busy_port_ends_with_69(tmp_path: Path) -> None:
    process = Standalone(tmp_path, gearmand=True)
    with socket.create_server((process.host, process.port)):
        assert process.ended_with() == 69
    (line,) = process.log.splitlines()
    assert f"cannot listen on {process.address}" in line
    process.close()


def test_a_second_one_needs_another_directory(tmp_path: Path, start: Start) -> None:
    start(Standalone(tmp_path, gearmand=True))
    second = Standalone(tmp_path, gearmand=True)
    assert second.ended_with() == 69
    assert "is in use by another standalone daemon" in second.log
    second.close()
    fan_out(start(Standalone(tmp_path, gearmand=True, directory=tmp_path / "of its own")))


def test_a_directory_that_cannot_be_made_ends_with_78(tmp_path: Path) -> None:
    process = Standalone(tmp_path, gearmand=True, directory=tmp_path / "file" / "state")
    (tmp_path / "file").touch()
    assert process.ended_with() == 78
    assert "[standalone] directory: " in process.log
    process.close()


def test_it_does_not_detach(tmp_path: Path) -> None:
    process = Standalone(tmp_path, gearmand=True)
    process._config.write_text("[service]\ndaemonize = true\n")
    assert process.ended_with() == 78
    assert "[service] daemonize: " in process.log
    process.close()
