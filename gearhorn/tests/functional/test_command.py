# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn-fanout`` as an operator meets it: options, exit codes, signals, pid file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.builders import message, subscription
from gearhorn.tests.clusters import Cluster
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.command import refused, run, write
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, Redis

# The command line.


def test_the_version_is_printed_on_standard_output_alone() -> None:
    # Executed, as all others are forked.
    command = [sys.executable, "-m", "gearhorn.cmd.serve", "--version"]
    executed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    forked = run("--version")
    for result in (executed, forked):
        assert result.returncode == 0
        assert result.stdout.startswith("gearhorn-fanout ")
        assert result.stderr == ""


def test_help_shows_how_to_call_it_and_what_its_exit_codes_mean() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert "\n  gearhorn-fanout --standalone\n" in result.stdout
    for text in ("--config PATH", "--config-file PATH", "--config-dir DIR", "--debug"):
        assert text in result.stdout
    codes = result.stdout.partition("exit codes:\n")[2]
    assert [line.split()[0] for line in codes.splitlines()] == [
        *("0", "1", "2", "69", "73", "74", "78", "128+n")
    ]


@pytest.mark.parametrize("argument", ["--unknown", "argument", "--config"])
def test_a_wrong_command_line_ends_with_2(argument: str) -> None:
    result = run(argument)
    assert result.returncode == 2
    assert "usage: gearhorn-fanout" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[fanout]\ntimeout = -1\n", "[fanout] timeout: "),
        ("[fanout]\ntimeuot = 1\n", "[fanout] timeuot: there is no such option"),
        ("nonsense\n", "Failed to parse"),
        ("[store]\nurl = ftp://secret@host\n", "[store] url: "),
        ("[service]\nuser = nobody-at-all\n", "[service] user: there is no user"),
        ("[service]\ngroup = nobody-at-all\n", "[service] group: there is no group"),
        ("[DEFAULT]\nservers = 127.0.0.1:4730\n", "[DEFAULT] servers: this option belongs in "),
        ("[DEFAULT]\nlog_file = /nowhere/log\n", "logging cannot be set up: [DEFAULT] log_file: "),
        (
            "[DEFAULT]\nlog_config_append = /nowhere\n",
            "logging cannot be set up: [DEFAULT] log_config_append: /nowhere cannot be read: ",
        ),
    ],
)
def test_a_wrong_configuration_ends_with_78(tmp_path: Path, text: str, message: str) -> None:
    line = refused(run("--config", write(tmp_path / "gearhorn.conf", text)), 78)
    assert message in line
    assert "secret" not in line


def test_a_wrong_value_of_an_option_of_the_command_line_ends_with_78(tmp_path: Path) -> None:
    path = write(tmp_path / "gearhorn.conf", "[DEFAULT]\ndebug = perhaps\n")
    assert run("--config", path).returncode == 78


@pytest.mark.parametrize("option", ["--config", "--config-file", "--config-dir"])
def test_what_cannot_be_read_ends_with_78(tmp_path: Path, option: str) -> None:
    assert "missing" in refused(run(option, tmp_path / "missing"), 78)


def test_a_store_that_refuses_ends_with_78(start: Start, tmp_path: Path) -> None:
    server = start(Redis(requirepass="right"))
    path = write(tmp_path / "conf", f"[store]\nurl = redis://:wrong-one@{server.address}/0\n")
    result = run("--config", path)
    assert result.returncode == 78
    assert "gearhorn-fanout: [store] Redis: " in result.stderr
    assert "Traceback" not in result.stderr
    assert "wrong-one" not in result.stderr


@pytest.mark.once
def test_the_node_of_a_cluster_given_as_one_redis_ends_with_78_and_tells_what_to_write(
    cluster: Cluster, tmp_path: Path
) -> None:
    path = write(tmp_path / "conf", f"[store]\nurl = {cluster.nodes[0].url}\n")
    result = run("--config", path)
    assert result.returncode == 78
    assert "this is a node of a Redis Cluster: write redis+cluster:// in" in result.stderr


def test_the_files_of_a_directory_are_read(
    gearmand: Gearmand, redis_server: Redis, tmp_path: Path, daemon: NewDaemon, peer: NewPeer
) -> None:
    write(tmp_path / "1.conf", "[functions]\nfanout = first\n")
    write(tmp_path / "2.conf", "[functions]\nfanout = second\n")
    write(tmp_path / "3.other", "[functions]\nfanout = third\n")
    daemon(arguments=["--config-dir", str(tmp_path)])
    assert peer().submit("second", message("memos")).completed
    assert "first" not in gearmand.admin.status()


# Logging.


def test_the_log_goes_to_stderr_and_is_quiet(daemon: NewDaemon) -> None:
    process = daemon()
    process.stop()
    lines = process.log.splitlines()
    assert any(f"daemon {process.worker_id} is ready" in line for line in lines)
    assert not [line for line in lines if " gear." in line or " asyncio " in line]


def test_the_log_never_shows_the_password_of_the_store(start: Start, daemon: NewDaemon) -> None:
    server = start(Redis(requirepass="s3cret$"))
    process = daemon(store_url=f"redis://:s3cret$@{server.address}/0")
    server.kill()
    eventually(lambda: "store is away" in process.log)
    process.stop()
    assert "store.url" in process.log
    assert "s3cret" not in process.log


def test_the_log_goes_to_a_file(daemon: NewDaemon, tmp_path: Path) -> None:
    options: dict[str, Any] = {"DEFAULT.log_file": tmp_path / "log"}
    process = daemon(**options)
    process.stop()
    assert "is ready" in (tmp_path / "log").read_text()
    assert process.log == ""


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_it_finish_and_ends_with_0(
    daemon: NewDaemon, peer: NewPeer, number: int
) -> None:
    process = daemon()
    client, worker = peer(), peer()
    client.submit("subscribe_fanout", subscription("memos", "bob"))
    worker.can_do("memos_bob")
    handle = client.start("fanout", message("memos"))
    job = worker.grab()

    process.signal(number)
    process.wait_notification("STOPPING=1")
    worker.complete(job)

    assert client.finish(handle).report["delivered"] == 1
    assert process.wait() == 0


def test_a_second_signal_ends_the_daemon_at_once(daemon: NewDaemon, peer: NewPeer) -> None:
    process = daemon()
    client, worker = peer(), peer()
    client.submit("subscribe_fanout", subscription("memos", "bob"))
    worker.can_do("memos_bob")
    client.start("fanout", message("memos"))
    worker.grab()

    process.terminate()
    process.wait_notification("STOPPING=1")
    # Time to tell it from the same signal delivered twice.
    time.sleep(0.5)
    process.signal(signal.SIGINT)
    assert process.wait() == 128 + signal.SIGINT
