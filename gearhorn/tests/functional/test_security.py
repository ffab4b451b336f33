# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Who is refused and how that is said, what nobody is shown, and what the daemon may do."""

from __future__ import annotations

import configparser
import datetime
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
import trustme

import gearhorn
from gearhorn.tests.cli import gearhorn as command_line
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.test_standalone import Standalone
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import Server, eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis, Sentinel, Stunnel

ROOT = Path(gearhorn.__file__).parent.parent
QUICK: dict[str, Any] = {"gearman.reconnect_max": 0.2, "store.timeout": 1}
WRONG = ["wrong authority", "wrong name", "expired certificate", "missing client certificate"]


# TLS.


class Expired(Stunnel):
    """Its certificate was good until yesterday."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        now = datetime.datetime.now(datetime.timezone.utc)
        server = authority.issue_cert(
            "localhost",
            not_before=now - datetime.timedelta(days=30),
            not_after=now - datetime.timedelta(days=1),
        )
        server.private_key_and_cert_chain_pem.write_to_path(str(self.directory / "server.pem"))

    def is_ready(self) -> bool:
        with socket.create_connection((self.host, self.port), timeout=1.0):
            return True


class Impostor:
    """A TLS endpoint that must be refused, and why that is said to be."""

    def __init__(self, start: Start, target: Server, wrong: str) -> None:
        if wrong == "expired certificate":
            self.server: Stunnel = start(Expired(target.port))
        else:
            names = ["elsewhere.example"] if wrong == "wrong name" else ["localhost"]
            verify = wrong.startswith("missing")
            self.server = start(Stunnel(target.port, names=names, verify_client=verify))
        self.address = f"localhost:{self.server.port}"
        self.ca = self.server.ca
        if wrong == "wrong authority":
            self.ca = self.server.directory / "another.pem"
            trustme.CA().cert_pem.write_to_path(str(self.ca))
        self.reason = {
            "wrong authority": "certificate verify failed: unable to get local issuer certificate",
            "wrong name": "Hostname mismatch, certificate is not valid for 'localhost'",
            "expired certificate": "certificate has expired",
            "missing client certificate": "certificate required",
        }[wrong]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_job_server_that_is_refused_is_named_with_the_reason(
    start: Start, gearmand: Gearmand, daemon: NewDaemon, wrong: str
) -> None:
    impostor = Impostor(start, gearmand, wrong)
    options = {**QUICK, "gearman.tls_ca": impostor.ca}
    process = daemon([impostor.address], wait_ready=False, **options)
    eventually(lambda: f"job server {impostor.address}: away (" in process.log)
    (line,) = (line for line in process.log.splitlines() if ": away (" in line)
    # A server that wants a certificate says so after the handshake, and resets the connection.
    wanted = wrong.startswith("missing") and "over TLS: does it want a certificate" in line
    assert impostor.reason in line or wanted
    # However often it is tried.
    time.sleep(0.5)
    assert process.log.count(": away (") == 1
    assert "READY=1" not in process.notifications
    assert "fanout" not in gearmand.admin.status()
    assert process.stop() == 0


@pytest.mark.parametrize("wrong", WRONG)
def test_a_redis_that_is_refused_is_named_with_the_reason(
    start: Start, redis_server: Redis, gearmand: Gearmand, daemon: NewDaemon, wrong: str
) -> None:
    impostor = Impostor(start, redis_server, wrong)
    url = f"rediss://:s3cret@{impostor.address}/0?ssl_ca_certs={impostor.ca}"
    process = daemon(store_url=url, wait_ready=False, **QUICK)
    # Nothing that waiting would mend.
    assert process.wait() == 78
    line = process.log.splitlines()[-1]
    assert line.startswith("gearhorn-fanout: [store] ")
    assert impostor.reason in line
    assert "s3cret" not in process.log
    assert "Traceback" not in process.log


def test_a_redis_whose_certificate_expires_under_a_running_daemon(
    start: Start,
    redis_server: Redis,
    gearmand: Gearmand,
    daemon: NewDaemon,
    new_topic: NewTopic,
) -> None:
    good = start(Stunnel(redis_server.port, names=["localhost"]))
    url = f"rediss://localhost:{good.port}/0?ssl_ca_certs={good.ca}"
    process = daemon(store_url=url, **QUICK)
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    sound = (good.directory / "server.pem").read_bytes()

    good.kill()
    bad = Expired(redis_server.port)
    # Of the same authority or not, it is out of date.
    (good.directory / "server.pem").write_bytes((bad.directory / "server.pem").read_bytes())
    authority, expired = good.ca.read_bytes(), bad.ca.read_bytes()
    bad.close()
    good.ca.write_bytes(expired)
    _start_unchecked(good)
    handle = topic.client.start(
        "register_fanout_subscriber", {"topic": topic.name, "client_id": "alice"}
    )
    eventually(lambda: "The store refuses; jobs wait until it does not" in process.log)
    topic.client.expect_silence(0.2)

    good.kill()
    (good.directory / "server.pem").write_bytes(sound)
    good.ca.write_bytes(authority)
    good.start()
    assert topic.client.finish(handle, 20).completed


def _start_unchecked(server: Stunnel) -> None:
    server._launch()
    eventually(lambda: _listens(server))


def _listens(server: Server) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((server.host, server.port)) == 0


def test_the_command_line_says_why_a_job_server_is_refused(
    start: Start, gearmand: Gearmand
) -> None:
    impostor = Impostor(start, gearmand, "wrong authority")
    done = command_line([impostor.address], "--tls-ca", str(impostor.ca), "doctor")
    assert done.returncode == 4
    assert impostor.reason in done.stdout
    assert "Traceback" not in done.stderr


# Secrets.

PASSWORD = "s3cret$/p@ss"
ENCODED = "s3cret%24%2Fp%40ss"


def told(*texts: str) -> list[str]:
    """The lines that tell the password, or a part of it."""
    return [line for text in texts for line in text.splitlines() if "s3cret" in line]


@pytest.fixture
def secretive(start: Start, gearmand: Gearmand, daemon: NewDaemon) -> tuple[Redis, Daemon]:
    """A Redis with a password, and a daemon that logs all it can."""
    server = start(Redis(requirepass=PASSWORD, appendonly="yes", appendfsync="always"))
    levels = {"DEFAULT.default_log_levels": "asyncio=DEBUG,redis=DEBUG,gear=DEBUG"}
    process = daemon(
        store_url=f"redis://default:{ENCODED}@{server.address}/0",
        **{**QUICK, **levels, "store.timeout": 0.5, "matchmaking.cache_ttl": 0.2},
    )
    return server, process


def refuse_it_from_now_on(server: Redis) -> None:
    """Change the password, and end what has been let in with the old one."""
    with redis_client.Redis(server.host, server.port, password=PASSWORD) as client:
        client.config_set("requirepass", "another")
        client.client_kill_filter(_type="normal", skipme=True)


def test_the_password_of_redis_is_shown_nowhere(
    secretive: tuple[Redis, Daemon], gearmand: Gearmand, new_topic: NewTopic
) -> None:
    server, process = secretive
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    shown: list[str] = []

    # Refused, ...
    refuse_it_from_now_on(server)
    topic.start("cold", background=True)
    handle = topic.client.start(
        "register_fanout_subscriber", {"topic": topic.name, "client_id": "alice"}
    )
    eventually(lambda: "The store refuses; jobs wait until it does not" in process.log)
    outcome = topic.client.submit("fanout_query", {"query": "topics"})
    shown.extend(str(packet.body) for packet in outcome.packets)
    done = command_line([gearmand.address], "doctor", "--interval", "0.1")
    shown.extend((done.stdout, done.stderr))
    # ... away, ...
    server.kill()
    eventually(lambda: "The store is away" in process.log)
    # ... and back.
    server.start()
    assert topic.client.finish(handle, 20).completed
    shown.append(Path(f"/proc/{process.pid}/cmdline").read_text())
    shown.append(Path(f"/proc/{process.pid}/comm").read_text())
    assert process.stop() == 0

    assert told(*shown, process.log) == []
    assert "store.url" in process.log


def test_a_sentinel_that_refuses_the_password_is_named_without_it(
    start: Start, gearmand: Gearmand, daemon: NewDaemon
) -> None:
    sentinel = start(Sentinel(start(Redis())))
    # It has none, which redis-py and Sentinel take for a wrong one.
    url = f"redis+sentinel://u:{ENCODED}@{sentinel.address}/{sentinel.name}"
    process = daemon(store_url=f"{url}?sentinel_password={ENCODED}", wait_ready=False, **QUICK)
    assert process.wait() == 78
    assert f"{sentinel.address} - " in process.log.splitlines()[-1]
    assert told(process.log) == []


def test_a_sentinel_that_is_away_is_named_without_its_password(
    start: Start, gearmand: Gearmand, daemon: NewDaemon
) -> None:
    url = f"redis+sentinel://u:{ENCODED}@127.0.0.1:{free_port()}/gearhorn"
    process = daemon(store_url=f"{url}?sentinel_password={ENCODED}", wait_ready=False, **QUICK)
    eventually(lambda: "The store is away; jobs wait until it answers" in process.log)
    (line,) = (line for line in process.log.splitlines() if "The store is away" in line)
    assert "No master found for 'gearhorn' : 127.0.0.1:" in line
    # No more of what the driver is made of than that.
    assert "<" not in line
    assert told(process.log) == []


@pytest.mark.parametrize(
    "url",
    [
        "redis://:{}@host:port/0",
        "redis://:{}@host/database",
        "redis://:{}@host/0?passwort={}",
        "redis+sentinel://:{}@host",
        "rediss://:{}@host/0?ssl_ca_certs=/nowhere",
        "ftp://:{}@host",
        "redis://[:{}@host",
    ],
)
def test_a_wrong_url_is_refused_without_being_shown(tmp_path: Path, url: str) -> None:
    process = Daemon({"store.url": url.replace("{}", ENCODED)})
    try:
        process.start(wait_ready=False)
        assert process.wait() == 78
        assert "[store] " in process.log
        assert told(process.log) == []
    finally:
        process.close()


def test_a_key_that_cannot_be_used_is_not_shown(start: Start, gearmand: Gearmand) -> None:
    tunnel = start(Stunnel(gearmand.port))
    key = tunnel.directory / "broken.key"
    key.write_text("-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----\n")
    process = Daemon(
        {
            "gearman.servers": f"localhost:{tunnel.port}",
            "gearman.tls_ca": tunnel.ca,
            "gearman.tls_cert": tunnel.client_certificate,
            "gearman.tls_key": key,
        }
    )
    try:
        process.start(wait_ready=False)
        assert process.wait() == 78
        assert "[gearman] tls_ca, tls_cert, tls_key: " in process.log
        assert told(process.log) == []
    finally:
        process.close()


def test_the_sample_configuration_holds_no_secret() -> None:
    sample = (ROOT / "etc" / "gearhorn.conf.sample").read_text("utf-8")
    (url,) = (line for line in sample.splitlines() if line.startswith("#url = "))
    assert "@" not in url
    assert not [line for line in sample.splitlines() if line and not line.startswith(("#", "["))]


# Rights.


def status_of(process_id: int) -> dict[str, str]:
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


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
    gearmand: Gearmand,
    redis_server: Redis,
    key_prefix: str,
    open_directory: Path,
    tmp_path: Path,
    peer: NewPeer,
) -> None:
    pid_file, log = tmp_path / "pid", open_directory / "log"
    process = Daemon(
        {
            "DEFAULT.log_file": log,
            "gearman.servers": gearmand.address,
            "store.url": redis_server.url,
            "store.key_prefix": key_prefix,
            "service.daemonize": True,
            "service.pidfile": pid_file,
            "service.user": "nobody",
        }
    )
    try:
        process.start(wait_ready=False)
        assert process.wait() == 0
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
        outcome = peer().submit("subscribe_fanout", {"topic": "memos", "client_id": "bob"})
        assert outcome.completed
        os.kill(process_id, signal.SIGTERM)
        eventually(lambda: "has stopped" in log.read_text())
    finally:
        process.close()


@only_root
def test_it_serves_without_any_capability(
    gearmand: Gearmand, tmp_path: Path, peer: NewPeer
) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv of util-linux is missing")

    class Confined(Daemon):
        forked = False

        def command(self) -> Sequence[str]:
            # For root, whose user this stays, none is left. Nobody may not reach the interpreter.
            confine = ("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
            return ["setpriv", *confine, *super().command()]

    process = Confined(
        {
            "gearman.servers": gearmand.address,
            "store.url": f"sqlite://{tmp_path}/state/store.db",
        }
    )
    try:
        process.start()
        status = status_of(process.pid)
        assert status["NoNewPrivs"] == "1"
        for name in ("CapPrm", "CapEff", "CapBnd"):
            assert int(status[name], 16) == 0
        client = peer()
        for function, request in (
            ("subscribe_fanout", {"topic": "memos", "client_id": "bob"}),
            ("fanout", {"topic": "memos", "payload": "?", "background": True}),
        ):
            assert client.submit(function, request).completed
        state = tmp_path / "state"
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in state.iterdir()} == {0o600}
        assert process.stop() == 0
    finally:
        process.close()


def test_what_the_standalone_mode_keeps_is_its_users_only(tmp_path: Path, start: Start) -> None:
    server = start(Standalone(tmp_path, gearmand=True))
    with Peer(server.port) as client:
        client.submit("subscribe_fanout", {"topic": "memos", "client_id": "bob"})
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
