# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Servers that must be refused over TLS, and how that is said."""

from __future__ import annotations

import datetime
import socket
from typing import Any

import pytest
import trustme

from gearhorn.tests.cli import gearhorn as command_line
from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.processes import Server, eventually
from gearhorn.tests.servers import Gearmand, Redis, Stunnel

QUICK: dict[str, Any] = {"gearman.reconnect_max": 0.2, "store.timeout": 1}
WRONG = ["wrong authority", "wrong name", "expired certificate", "missing client certificate"]


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

    @property
    def tries(self) -> int:
        """The number of connections that it has taken."""
        return self.server.log.count("accepted connection from")


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
    tries = impostor.tries
    eventually(lambda: impostor.tries > tries + 8)
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
    handle = topic.start_registration("alice")
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
