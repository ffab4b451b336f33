# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Passwords and keys, which nobody is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis as redis_client

import gearhorn
from gearhorn.tests.cli import gearhorn as command_line
from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis, Sentinel, Stunnel

ROOT = Path(gearhorn.__file__).parent.parent
QUICK: dict[str, Any] = {"gearman.reconnect_max": 0.2, "store.timeout": 1}
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
    handle = topic.start_registration("alice")
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
def test_a_wrong_url_is_refused_without_being_shown(daemon: NewDaemon, url: str) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    process = daemon([nobody], store_url=url.replace("{}", ENCODED), wait_ready=False)
    assert process.wait() == 78
    assert "[store] " in process.log
    assert told(process.log) == []


def test_a_key_that_cannot_be_used_is_not_shown(
    start: Start, gearmand: Gearmand, daemon: NewDaemon
) -> None:
    tunnel = start(Stunnel(gearmand.port))
    key = tunnel.directory / "broken.key"
    key.write_text("-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----\n")
    options: dict[str, Any] = {
        "gearman.tls_ca": tunnel.ca,
        "gearman.tls_cert": tunnel.client_certificate,
        "gearman.tls_key": key,
    }
    process = daemon([f"localhost:{tunnel.port}"], wait_ready=False, **options)
    assert process.wait() == 78
    assert "[gearman] tls_ca, tls_cert, tls_key: " in process.log
    assert told(process.log) == []


def test_the_sample_configuration_holds_no_secret() -> None:
    sample = (ROOT / "etc" / "gearhorn.conf.sample").read_text("utf-8")
    urls = [line for line in sample.splitlines() if line.startswith("#url = ")]
    assert len(urls) == 2
    assert "@" not in "".join(urls)
    assert not [line for line in sample.splitlines() if line and not line.startswith(("#", "["))]
