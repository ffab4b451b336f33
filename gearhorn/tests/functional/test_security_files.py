# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Files with secrets, and the log file, which others are not to read."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest
import trustme

from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.processes import eventually, status_of
from gearhorn.tests.servers import Redis

WARNING = "every user of this machine can read"


def reachable(daemon: Daemon, mode: int) -> None:
    """Put its configuration where everybody can look, with these rights."""
    daemon.directory.chmod(0o755)
    daemon.config_file.chmod(mode)


def restart(daemon: Daemon) -> str:
    """Start it again and return what it logs from then on."""
    before = len(daemon.log)
    daemon.stop()
    mode = stat.S_IMODE(daemon.config_file.stat().st_mode)
    daemon.start()
    assert stat.S_IMODE(daemon.config_file.stat().st_mode) == mode
    return daemon.log[before:]


def test_a_password_that_others_can_read_is_warned_of(start: Start, daemon: NewDaemon) -> None:
    server = start(Redis(requirepass="s3cret"))
    process = daemon(store_url=f"redis://:s3cret@{server.address}/0")
    reachable(process, 0o644)
    said = restart(process)
    assert f"WARNING gearhorn.service.exposure [-] {WARNING} {process.config_file}" in said
    assert "the password of the store" in said
    assert "s3cret" not in said

    # The group may, as the installation has it.
    reachable(process, 0o640)
    assert WARNING not in restart(process)
    # Nobody gets there.
    reachable(process, 0o644)
    process.directory.chmod(0o700)
    assert WARNING not in restart(process)


def test_a_configuration_without_a_secret_may_be_read(daemon: NewDaemon) -> None:
    process = daemon()
    reachable(process, 0o644)
    assert WARNING not in restart(process)


@pytest.mark.parametrize("own_file", [True, False], ids=["tls_key", "in tls_cert"])
def test_a_key_that_others_can_read_is_warned_of(daemon: NewDaemon, own_file: bool) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("client@example.org")
    process = daemon()
    ca, cert, key = (process.directory / f"{name}.pem" for name in ("ca", "cert", "key"))
    authority.cert_pem.write_to_path(str(ca))
    if own_file:
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
    else:
        issued.private_key_and_cert_chain_pem.write_to_path(str(cert))
    holder = key if own_file else cert
    process.stop()
    process.directory.chmod(0o755)
    for file, mode in ((ca, 0o644), (cert, 0o644), (holder, 0o604)):
        file.chmod(mode)

    process.options.update({"gearman.tls_ca": ca, "gearman.tls_cert": cert})
    if own_file:
        process.options["gearman.tls_key"] = key
    # Its job server speaks no TLS, so it is never ready.
    process.start(wait_ready=False)
    eventually(lambda: f"{WARNING} {holder}, which holds a TLS key" in process.log)
    assert process.log.count(WARNING) == 1


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o640), (0o077, 0o600)])
def test_the_log_of_a_service_in_the_background_honours_the_umask(
    background: Daemon,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    umask: int,
    mode: int,
) -> None:
    log = tmp_path / "log"
    # What is forked has the umask of the process that forks.
    monkeypatch.setattr(background, "forked", False)
    former = os.umask(umask)
    try:
        background.start(wait_ready=False)
        assert background.wait() == 0
    finally:
        os.umask(former)
    eventually(lambda: log.exists() and "is ready" in log.read_text())
    assert stat.S_IMODE(log.stat().st_mode) == mode

    # As logrotate does it.
    log.rename(tmp_path / "log.1")
    process_id = int((tmp_path / "pid").read_text())
    os.kill(process_id, signal.SIGHUP)
    eventually(lambda: log.exists() and "SIGHUP" in log.read_text())
    assert stat.S_IMODE(log.stat().st_mode) == mode
    assert status_of(process_id)["Umask"] == f"{umask | 0o027:04o}"
