# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn-fanout`` as a service of the old style: pid file, user, background."""

from __future__ import annotations

import os
import pwd
import signal
from pathlib import Path
from typing import Any, Protocol

import pytest

from gearhorn.tests.builders import subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.command import refused, run, write
from gearhorn.tests.processes import eventually, free_port, status_of
from gearhorn.tests.servers import Gearmand


class WithPidFile(Protocol):
    """Starts a daemon with the pid file ``tmp_path / "pid"``."""

    def __call__(self, *, wait_ready: bool = True, user: str | None = None) -> Daemon: ...


@pytest.fixture
def with_pid_file(daemon: NewDaemon, tmp_path: Path) -> WithPidFile:
    def start(*, wait_ready: bool = True, user: str | None = None) -> Daemon:
        options: dict[str, Any] = {"service.pidfile": tmp_path / "pid", "service.user": user}
        return daemon(wait_ready=wait_ready, **options)

    return start


# The pid file.


def test_the_pid_file_lasts_as_long_as_it(with_pid_file: WithPidFile, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    process = with_pid_file()
    assert path.read_text() == f"{process.pid}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    process.stop()
    assert not path.exists()


def test_a_second_one_does_not_take_the_pid_file(
    with_pid_file: WithPidFile, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    process = with_pid_file()
    line = refused(run("--config", process.config_file), 73)
    assert str(path) in line
    assert str(process.pid) in line
    assert path.read_text() == f"{process.pid}\n"


def test_the_pid_file_of_a_daemon_that_was_killed_is_replaced(
    with_pid_file: WithPidFile, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    process = with_pid_file()
    process.kill()
    assert path.exists()
    process.start()
    assert path.read_text() == f"{process.pid}\n"


@pytest.fixture
def pidfile_conf(tmp_path: Path) -> Path:
    """A configuration with a pid file, in ``tmp_path``, and nothing that could be reached."""
    return write(
        tmp_path / "gearhorn.conf",
        f"[gearman]\nservers = 127.0.0.1:{free_port()}\n"
        f"[store]\nurl = sqlite://{tmp_path}/store.db\n"
        f"[service]\npidfile = {tmp_path}/pid\n",
    )


@pytest.mark.parametrize("content", ["1\n", "\0\0\0\0"])
def test_what_a_crash_left_in_the_pid_file_is_no_reason(
    with_pid_file: WithPidFile, tmp_path: Path, content: str
) -> None:
    # As after a crash: nobody holds the file.
    path = write(tmp_path / "pid", content)
    process = with_pid_file()
    assert path.read_text() == f"{process.pid}\n"


def test_a_link_in_the_place_of_the_pid_file_is_not_followed(
    tmp_path: Path, pidfile_conf: Path
) -> None:
    target = write(tmp_path / "target", "1234567\n")
    (tmp_path / "pid").symlink_to(target)
    assert "is a symbolic link" in refused(run("--config", pidfile_conf), 73)
    (tmp_path / "pid").unlink()
    (tmp_path / "pid").symlink_to(tmp_path / "nothing")
    assert "is a symbolic link" in refused(run("--config", pidfile_conf), 73)
    assert target.read_text() == "1234567\n"
    assert not (tmp_path / "nothing").exists()


def test_no_other_file_is_taken_for_a_pid_file(tmp_path: Path, pidfile_conf: Path) -> None:
    path = write(tmp_path / "pid", "of value\n")
    assert "is no pid file" in refused(run("--config", pidfile_conf), 73)
    assert path.read_text() == "of value\n"
    path.unlink()
    os.mkfifo(path)
    assert "is no pid file" in refused(run("--config", pidfile_conf), 73)


def test_a_pid_file_that_cannot_be_made_ends_with_73(tmp_path: Path) -> None:
    path = write(tmp_path / "conf", f"[service]\npidfile = {tmp_path}/missing/pid\n")
    assert "cannot be made" in refused(run("--config", path), 73)


# The user, and the background.


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_becomes_the_user(with_pid_file: WithPidFile, tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    path = tmp_path / "pid"
    # That user cannot reach the socket that it would say so through.
    process = with_pid_file(user="nobody", wait_ready=False)
    eventually(lambda: "is ready" in process.log)
    status = status_of(process.pid)
    assert set(status["Uid"].split()) == {str(nobody.pw_uid)}
    assert set(status["Gid"].split()) == {str(nobody.pw_gid)}
    assert status["Groups"] in ("", str(nobody.pw_gid))
    assert process.stop() == 0
    # It cannot be removed, and says nothing that is not true.
    assert not path.exists() or path.read_text() == ""


def test_what_shows_only_in_the_background_is_in_the_log(
    background: Daemon, gearmand: Gearmand, tmp_path: Path
) -> None:
    background.configure(**{"http.listen": gearmand.address})
    background.start(wait_ready=False)
    assert background.wait() == 0
    log = tmp_path / "log"
    ends = "ERROR gearhorn.cmd.serve [-] the daemon ends: "
    reason = f"[http] listen: {gearmand.address}: Address already in use\n"
    eventually(lambda: log.exists() and f"{ends}{reason}" in log.read_text())
    eventually(lambda: not (tmp_path / "pid").exists())
    assert background.log == ""


def test_it_detaches(background: Daemon, tmp_path: Path, peer: NewPeer) -> None:
    background.start(wait_ready=False)
    assert background.wait() == 0
    log = tmp_path / "log"
    eventually(lambda: log.exists() and "is ready" in log.read_text())

    process_id = int((tmp_path / "pid").read_text())
    assert process_id != background.pid
    assert os.getsid(process_id) not in (os.getsid(0), background.pid, process_id)
    assert Path(f"/proc/{process_id}/cwd").readlink() == Path("/")
    for number in range(3):
        assert Path(f"/proc/{process_id}/fd/{number}").readlink() == Path(os.devnull)
    assert peer().submit("subscribe_fanout", subscription("memos", "bob")).completed
    assert str(process_id) in refused(run("--config", background.config_file), 73)

    os.kill(process_id, signal.SIGTERM)
    eventually(lambda: "has stopped" in log.read_text())
    eventually(lambda: not (tmp_path / "pid").exists())
    assert background.log == ""


def test_what_cannot_be_done_is_said_before_it_detaches(background: Daemon) -> None:
    Path(str(background.options["service.pidfile"])).symlink_to("anywhere")
    background.start(wait_ready=False)
    assert background.wait() == 73
    assert "is a symbolic link" in background.log


def test_it_says_that_a_background_daemon_without_a_log_logs_nothing(background: Daemon) -> None:
    background.options.pop("DEFAULT.log_file")
    background.start(wait_ready=False)
    assert background.wait() == 0
    assert "nothing is logged" in background.log
