# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn-fanout --check``, before a start or a reload."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gearhorn.tests.functional.command import run, write
from gearhorn.tests.processes import free_port
from gearhorn.tests.servers import Gearmand, Redis

pytestmark = pytest.mark.once

FINE = "nothing is wrong with the configuration\n"


def test_it_says_that_nothing_is_wrong_and_starts_nothing(tmp_path: Path) -> None:
    path = write(
        tmp_path / "gearhorn.conf",
        f"[DEFAULT]\nlog_file = {tmp_path}/log\n"
        f"[gearman]\nservers = 127.0.0.1:1\n[http]\nlisten = unix:{tmp_path}/socket\n"
        f"[service]\npidfile = {tmp_path}/pid\nstate_dir = {tmp_path}/state\n",
    )
    done = run("--config", str(path), "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, FINE, "")
    assert [made.name for made in tmp_path.iterdir()] == ["gearhorn.conf"]


def test_it_says_which_files_of_the_service_could_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = write(
        tmp_path / "gearhorn.conf",
        "[DEFAULT]\nlog_file = /nowhere/log\n[http]\nlisten = unix:/nowhere/socket\n"
        f"[service]\npidfile = /nowhere/pid\nstate_dir = {tmp_path}/file/state\n",
    )
    done = run("--config", str(path), "--check")
    assert done.returncode == 78
    assert done.stderr.splitlines() == [
        f"gearhorn-fanout: {option}: there is no directory {directory}, in {path}"
        for option, directory in (
            ("[service] pidfile", "/nowhere"),
            ("[DEFAULT] log_file", "/nowhere"),
            ("[http] listen", "/nowhere"),
            ("[service] state_dir", f"{tmp_path}/file"),
        )
    ]
    path = write(tmp_path / "gearhorn.conf", "[DEFAULT]\nlog_dir = /nowhere\n")
    done = run("--config", str(path), "--check")
    assert "[DEFAULT] log_dir: there is no directory /nowhere" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_it_says_which_files_of_the_service_could_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = run("--check", "--log-file", str(tmp_path / "log"))
    assert done.returncode == 78
    assert f"[DEFAULT] log_file: {tmp_path}/log cannot be written" in done.stderr


def test_it_says_all_that_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path / "gearhorn.conf", "[fanout]\norder = any\n[limits]\nmax_waiting = 3\n")
    done = run("--config", str(path), "--check")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines() == [
        f"gearhorn-fanout: [fanout] order: Valid values are [receiver, topic], but found 'any', "
        f"in {path}",
        f"gearhorn-fanout: [limits] max_waiting: 3 is neither 0 nor at least 100, in {path}",
    ]


def test_it_tries_the_store_and_the_job_servers(
    tmp_path: Path, gearmand: Gearmand, redis_server: Redis
) -> None:
    servers = f"[gearman]\nservers = {gearmand.address}"
    store = f"[store]\nurl = {redis_server.url}"
    path = write(tmp_path / "gearhorn.conf", f"{servers}\n{store}\n")
    done = run("--config", str(path), "--check=connect")
    assert (done.returncode, done.stdout, done.stderr) == (0, FINE, "")

    away = f"127.0.0.1:{free_port()}"
    path = write(
        tmp_path / "gearhorn.conf",
        f"{servers},{away}\n[store]\nurl = redis://:pass-word@{away}/0\n"
        f"[journal]\nurl = redis://{away}/1\n",
    )
    assert run("--config", str(path), "--check").returncode == 0
    done = run("--config", str(path), "--check", "connect")
    assert (done.returncode, done.stdout) == (78, "")
    store_fault, journals_fault, server_fault = done.stderr.splitlines()
    reason = f"{away}: connection refused"
    assert store_fault == f"gearhorn-fanout: [store] url: Redis: {reason}"
    assert journals_fault == f"gearhorn-fanout: [journal] url: Redis: {reason}"
    assert server_fault == f"gearhorn-fanout: [gearman] servers: job server {reason}"
    assert "pass-word" not in done.stderr


def test_a_store_that_is_a_file_is_not_made(tmp_path: Path, gearmand: Gearmand) -> None:
    text = f"[gearman]\nservers = {gearmand.address}\n[store]\nurl = sqlite://{tmp_path}/db\n"
    path = write(tmp_path / "gearhorn.conf", text)
    assert run("--config", str(path), "--check=connect").returncode == 0
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--probe", "foo"], "argument --probe: invalid choice: 'foo' (choose from"),
        (["--probe"], "argument --probe: expected one argument"),
        (["--check=foo"], "argument --check: invalid choice: 'foo' (choose from"),
        (["--check", "--accept-store"], "--accept-store does not go with --check"),
        (["--check", "--probe=ready"], "--probe does not go with --check"),
        (
            ["--accept-store", "--adopt-journals"],
            "--accept-store does not go with --adopt-journals",
        ),
    ],
)
def test_a_wrong_word_and_two_at_a_time_are_a_wrong_command_line(
    arguments: list[str], reason: str, tmp_path: Path
) -> None:
    done = run("--config", write(tmp_path / "gearhorn.conf", ""), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"gearhorn-fanout: error: {reason}" in done.stderr


def test_a_wrong_command_line_is_one() -> None:
    done = run("--check", "--chekc")
    assert done.returncode == 2
    assert "unrecognized arguments: --chekc" in done.stderr
