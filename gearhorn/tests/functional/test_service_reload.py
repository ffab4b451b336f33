# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: what logrotate sends, and what a terminal sends when it is closed."""

from __future__ import annotations

import os
import pty
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon, NewPeer
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.processes import eventually

RELOADED = "SIGHUP: log files are opened anew"


def reload(daemon: Daemon, log: Path | None = None, said: str = RELOADED) -> None:
    """Send SIGHUP and return when the daemon has said what came of it."""

    def count() -> int:
        text = daemon.log if log is None else log.read_text()
        return text.count(said)

    before = count()
    daemon.signal(signal.SIGHUP)
    eventually(lambda: count() > before)


def test_it_goes_on_and_ends_in_order_later(daemon: NewDaemon, peer: NewPeer) -> None:
    one = daemon()
    for _ in range(3):
        reload(one)
    assert peer().submit("subscribe_fanout", {"topic": "memos", "client_id": "bob"}).completed
    assert one.stop() == 0


def test_a_log_file_that_was_moved_away_is_opened_anew(daemon: NewDaemon, tmp_path: Path) -> None:
    log = tmp_path / "fanout.log"
    options: dict[str, Any] = {"DEFAULT.log_file": log}
    one = daemon(**options)
    old = log.rename(tmp_path / "fanout.log.1")
    one.signal(signal.SIGHUP)
    eventually(lambda: log.exists() and RELOADED in log.read_text())
    before = old.read_text()
    one.stop()
    assert "has stopped" in log.read_text()
    assert old.read_text() == before


def test_levels_are_read_again(daemon: NewDaemon) -> None:
    options: dict[str, Any] = {"DEFAULT.debug": False}
    one = daemon(**options)
    text = one.config_file.read_text()
    one.config_file.write_text(text.replace("debug = False", "debug = True"))
    assert " DEBUG " not in one.log
    reload(one)
    eventually(lambda: " DEBUG gearhorn.service.reload " in one.log)


def test_a_level_for_one_module_is_read_again_and_taken_back(daemon: NewDaemon) -> None:
    options: dict[str, Any] = {"DEFAULT.default_log_levels": "gearhorn.service=INFO"}
    one = daemon(**options)
    text = one.config_file.read_text()
    one.config_file.write_text(text.replace("gearhorn.service=INFO", "gearhorn.service=CRITICAL"))
    one.signal(signal.SIGHUP)
    one.config_file.write_text(text)
    reload(one)


@pytest.mark.parametrize("wrong", ["[gearman\n", "[gearman]\nconnect_timeout = soon\n"])
def test_a_wrong_configuration_changes_no_level(daemon: NewDaemon, wrong: str) -> None:
    one = daemon()
    right = one.config_file.read_text()
    one.config_file.write_text(wrong)
    reload(one, said="SIGHUP: nothing is changed, as the configuration is wrong: ")
    assert "ConfigurationError" not in one.log
    one.config_file.write_text(right)
    reload(one)
    assert one.stop() == 0


def test_a_wrong_configuration_keeps_no_rotated_log_open(daemon: NewDaemon, tmp_path: Path) -> None:
    log = tmp_path / "log"
    options: dict[str, Any] = {"DEFAULT.log_file": log}
    one = daemon(**options)
    one.config_file.write_text("[gearman\n")
    log.rename(tmp_path / "log.1")
    one.signal(signal.SIGHUP)
    eventually(lambda: log.exists() and "nothing is changed" in log.read_text())


def test_a_daemon_in_the_background_takes_it(background: Daemon, tmp_path: Path) -> None:
    background.start(wait_ready=False)
    assert background.wait() == 0
    log = tmp_path / "log"
    eventually(lambda: log.exists() and "is ready" in log.read_text())
    process_id = int((tmp_path / "pid").read_text())
    log.rename(tmp_path / "log.1")
    os.kill(process_id, signal.SIGHUP)
    eventually(lambda: log.exists() and RELOADED in log.read_text())
    os.kill(process_id, signal.SIGTERM)
    eventually(lambda: "has stopped" in log.read_text())


def test_it_stops_when_its_terminal_is_closed(daemon: NewDaemon) -> None:
    one = daemon()
    config_file = one.config_file.read_text()
    one.stop()
    one.config_file.write_text(config_file)
    process_id, terminal = pty.fork()
    if process_id == 0:
        os.environ.pop("NOTIFY_SOCKET", None)
        command = [sys.executable, "-m", "gearhorn.cmd.serve", "--config", str(one.config_file)]
        os.execv(command[0], command)
    output = b""
    while not re.search(rb"daemon \S+ is ready", output):
        output += os.read(terminal, 65536)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]) == 0
