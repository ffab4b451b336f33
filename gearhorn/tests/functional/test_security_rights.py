# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon's rights in the background, under systemd and in the standalone mode."""

from __future__ import annotations

import configparser
import os
import pwd
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import gearhorn
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.standalone import Standalone
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually, status_of
from gearhorn.tests.servers import Gearmand

ROOT = Path(gearhorn.__file__).parent.parent

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def open_directory(tmp_path: Path) -> Iterator[Path]:
    """A directory that any user reaches and that is nobody's."""
    nobody = pwd.getpwnam("nobody")
    directory = Path("/var/tmp" if os.access("/var/tmp", os.W_OK) else "/tmp")
    directory = directory / f"gearhorn-test-{os.getpid()}"
    directory.mkdir(mode=0o755)
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    yield directory
    shutil.rmtree(directory)


@only_root
def test_a_service_in_the_background_gives_up_roots_rights(
    daemon: NewDaemon, open_directory: Path, tmp_path: Path, peer: NewPeer
) -> None:
    pid_file, log = tmp_path / "pid", open_directory / "log"
    options: dict[str, Any] = {
        "DEFAULT.log_file": log,
        "service.daemonize": True,
        "service.pidfile": pid_file,
        "service.user": "nobody",
    }
    assert daemon(wait_ready=False, **options).wait() == 0
    eventually(lambda: log.exists() and "is ready" in log.read_text())
    process_id = int(pid_file.read_text())
    status = status_of(process_id)
    assert set(status["Uid"].split()) == {str(pwd.getpwnam("nobody").pw_uid)}
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0
    assert status["Umask"] == "0027"
    # Root's, and read by all; nobody else writes either.
    assert stat.S_IMODE(pid_file.stat().st_mode) == 0o644
    assert pid_file.stat().st_uid == 0
    assert log.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert not log.stat().st_mode & 0o022
    assert peer().submit("subscribe_fanout", subscription("memos", "bob")).completed
    os.kill(process_id, signal.SIGTERM)
    eventually(lambda: "has stopped" in log.read_text())


class Confined(Daemon):
    """For root, whose user this stays, no capability is left.

    Nobody may not reach the interpreter.
    """

    forked = False

    def command(self) -> Sequence[str]:
        confine = ("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
        return ["setpriv", *confine, *super().command()]


@only_root
def test_it_serves_without_any_capability(
    gearmand: Gearmand, tmp_path: Path, start: Start, peer: NewPeer
) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv of util-linux is missing")
    url = f"sqlite://{tmp_path}/state/store.db"
    process = start(Confined({"gearman.servers": gearmand.address, "store.url": url}))
    status = status_of(process.pid)
    assert status["NoNewPrivs"] == "1"
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[name], 16) == 0
    client = peer()
    assert client.submit("subscribe_fanout", subscription("memos", "bob")).completed
    assert client.submit("fanout", message("memos", background=True)).completed
    state = tmp_path / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in state.iterdir()} == {0o600}
    assert process.stop() == 0


def test_what_the_standalone_mode_keeps_is_its_users_only(tmp_path: Path, start: Start) -> None:
    server = start(Standalone(tmp_path, gearmand=True))
    with Peer(server.port) as client:
        client.submit("subscribe_fanout", subscription("memos", "bob"))
    directory = server.state / "gearhorn"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for file in directory.glob("store.db*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert server.stop() == 0


# The unit of systemd.

HARDENED = {
    "AmbientCapabilities": "",
    "CapabilityBoundingSet": "",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "PrivateUsers": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RemoveIPC": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "StateDirectory": "gearhorn",
    "StateDirectoryMode": "0750",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
    "User": "gearhorn",
}
UNIT = ROOT / "etc" / "gearhorn-fanout.service"


def test_the_unit_takes_every_right_that_is_not_needed() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text("utf-8"))
    service = parser["Service"]
    assert {name: service.get(name) for name in HARDENED} == HARDENED
    assert "SystemCallFilter=@system-service\n" in UNIT.read_text("utf-8")
    assert "SystemCallFilter=~@privileged @resources\n" in UNIT.read_text("utf-8")
    # Root is never needed: the secret is in a file that its user reads.
    assert "PermissionsStartOnly" not in service
    assert not service["ExecStart"].startswith(("+", "!"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_the_unit_confined() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot look at a unit that it does not run")
    # 10 is a service without any confinement; the threshold is a tenth of that, times ten.
    assert done.returncode == 0, done.stdout
