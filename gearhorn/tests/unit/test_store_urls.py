# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Stores by their URLs."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import connection as connections

from gearhorn import errors, store
from gearhorn.store.redis import RedisStore
from gearhorn.store.redis_cluster import slot_of, tagged
from gearhorn.store.redis_connection import Reached
from gearhorn.store.redis_errors import translate
from gearhorn.store.redis_url import SCHEMES, Connections
from gearhorn.store.sqlite import SQLiteStore


async def _no_greeting(_: connections.AbstractConnection) -> None:
    pass


def pool(url: str) -> connections.ConnectionPool:
    return Connections(url, timeout=3.0, on_connect=_no_greeting).pool


def options(url: str) -> dict[str, Any]:
    return dict(pool(url).connection_kwargs)


def open_store(url: str) -> store.base.Store:
    return store.open_store(url, key_prefix="g:", matchmaking_topic="m", timeout=1.0)


async def test_the_scheme_of_the_url_chooses_the_store() -> None:
    for url in (
        "redis://host",
        "REDIS://host",
        "rediss://host",
        "unix:///run/redis",
        "redis+sentinel://host/service",
        "rediss+sentinel://host/service",
    ):
        assert isinstance(open_store(url), RedisStore)
    sqlite = open_store("sqlite:///var/lib/gearhorn/store.db")
    assert isinstance(sqlite, SQLiteStore)
    await sqlite.close()


def test_the_schemes_of_redis_are_said_twice_alike() -> None:
    # The package must not load redis-py to know them.
    assert store._REDIS == SCHEMES


@pytest.mark.parametrize("url", ["", "host", "http://u:secret@host"])
def test_an_unknown_scheme_names_the_known_ones(url: str) -> None:
    with pytest.raises(errors.StoreMisconfigured) as caught:
        open_store(url)
    for scheme in (*SCHEMES, "sqlite"):
        assert f"{scheme}://" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_importing_the_package_does_not_load_redis() -> None:
    code = (
        "import sys, gearhorn.store, gearhorn.store.patience;"
        "sys.exit('redis' in sys.modules or 'sqlite3' in sys.modules)"
    )
    # Without what measures coverage, which loads much by itself.
    subprocess.run([sys.executable, "-c", code], check=True, env={})


def test_a_plain_url_gives_host_port_database_and_login() -> None:
    found = options("redis://us%40er:p%2Fw@[::1]:7000/3")
    assert found["host"] == "::1"
    assert found["port"] == 7000
    assert found["db"] == 3
    assert found["username"] == "us@er"
    assert found["password"] == "p/w"
    assert found["socket_timeout"] == 3.0
    assert found["socket_connect_timeout"] == 3.0
    assert options("redis://host")["port"] == 6379
    assert options("redis://:pw@host?db=4")["db"] == 4


def test_a_url_of_a_unix_socket_gives_path_password_and_database() -> None:
    found = options("unix://:pw@/run/a%20b?db=2")
    assert found["path"] == "/run/a b"
    assert found["password"] == "pw"
    assert found["db"] == 2


def test_tls_verifies_unless_told_otherwise(tmp_path: Path) -> None:
    def context(query: str) -> ssl.SSLContext:
        make: Any = pool(f"rediss://host?{query}").make_connection
        arguments: dict[str, Any] = make()._connection_arguments()
        assert arguments["server_hostname"] == "host"
        context: ssl.SSLContext = arguments["ssl"]
        return context

    assert context("").verify_mode == ssl.CERT_REQUIRED
    assert context("").check_hostname
    assert not context("ssl_check_hostname=no").check_hostname
    assert context("ssl_check_hostname=no").verify_mode == ssl.CERT_REQUIRED
    assert context("ssl_cert_reqs=none").verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize("scheme", ["redis+sentinel", "Redis+Sentinel"])
def test_a_url_of_sentinels_gives_their_addresses_and_both_logins(scheme: str) -> None:
    url = (
        f"{scheme}://user:pw@one:1,[::2]:2,three/ser%20vice?db=5"
        "&sentinel_username=su&sentinel_password=spw"
    )
    connections = Connections(url, timeout=3.0, on_connect=_no_greeting)
    found = connections.pool.connection_kwargs
    assert found["username"] == "user"
    assert found["password"] == "pw"
    assert found["db"] == 5
    assert not [name for name in found if name.startswith("sentinel_")]
    assert connections._sentinel is not None
    asked = [client.connection_pool.connection_kwargs for client in connections._sentinel.sentinels]
    assert [(a["host"], a["port"]) for a in asked] == [
        ("one", 1),
        ("::2", 2),
        ("three", 26379),
    ]
    assert {(a["username"], a["password"]) for a in asked} == {("su", "spw")}
    assert connections.pool.service_name == "ser vice"  # type: ignore


def test_sentinels_and_servers_are_both_reached_over_tls() -> None:
    url = "rediss+sentinel://one/service?ssl_check_hostname=false"
    connections_ = Connections(url, timeout=3.0, on_connect=_no_greeting)
    assert connections_._sentinel is not None
    (asked,) = connections_._sentinel.sentinels
    for some_pool in (connections_.pool, asked.connection_pool):
        assert issubclass(some_pool.connection_class, Reached)
        context = some_pool.connection_kwargs["tls_files"].context()
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert not context.check_hostname


@pytest.mark.parametrize("scheme", ["redis+cluster", "rediss+Cluster"])
def test_a_url_of_a_cluster_gives_the_addresses_of_nodes_and_a_login(scheme: str) -> None:
    url = f"{scheme}://user:pw@one:1,[::2]:2,three"
    connections = Connections(url, timeout=3.0, on_connect=_no_greeting, key_prefix="shop:")
    assert connections.key_prefix == "{shop:}"
    assert connections.cluster is not None
    assert list(connections.cluster._first) == [("one", 1), ("::2", 2), ("three", 6379)]
    for found in (connections.pool.connection_kwargs, connections.cluster._options):
        assert found["username"] == "user"
        assert found["password"] == "pw"
        assert ("tls_files" in found) == scheme.startswith("rediss")


@pytest.mark.parametrize(
    ("key_prefix", "expected"),
    [
        ("gearhorn:", "{gearhorn:}"),
        ("{shop}:", "{shop}:"),
        ("a{shop}b{c}:", "a{shop}b{c}:"),
        ("{}shop:", "{{}shop:}"),
        ("shop}:", "{shop}:}"),
        ("{shop", "{{shop}"),
        ("", "{gearhorn}"),
        ("}shop", "{gearhorn}}shop"),
    ],
)
def test_all_keys_of_a_cluster_have_the_same_tag(key_prefix: str, expected: str) -> None:
    assert tagged(key_prefix) == expected
    names = ("identity", "topic:{a}", "topic:}{b}", "limits:")
    assert len({slot_of(expected + name) for name in ("", *names)}) == 1


def test_the_names_of_the_topics_of_one_redis_get_no_tag() -> None:
    connections = Connections(
        "redis://one", timeout=3.0, on_connect=_no_greeting, key_prefix="shop:"
    )
    assert connections.key_prefix == "shop:"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://u:secret@", "lacks a host"),
        ("redis:///3", "lacks a host"),
        ("redis://u:secret@host:port", "host and port"),
        ("redis://u:secret@host:99999", "host and port"),
        ("redis://u:secret@host/three", "database"),
        ("redis://u:secret@host?db=-1", "database"),
        ("redis://u:secret@host?decode_responses=1", "decode_responses"),
        ("redis://u:secret@host?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("redis://u:secret@[host", "malformed"),
        ("rediss://u:secret@host?ssl_cert_reqs=perhaps", "ssl_cert_reqs"),
        ("rediss://u:secret@host?ssl_ca_certs=/no/such", "/no/such"),
        ("unix://u:secret@", "path"),
        ("redis+sentinel://u:secret@host", "service"),
        ("redis+sentinel://u:secret@host,/service", "host"),
        ("redis+sentinel://u:secret@host:x/service", "host and port"),
        ("redis+cluster://u:secret@", "lacks a host"),
        ("redis+cluster://u:secret@host:1,:2", "lacks a host"),
        ("redis+cluster://u:secret@host:x", "host and port"),
        ("redis+cluster://u:secret@host/3", "names a database, and a cluster has none"),
        ("redis+cluster://u:secret@host?db=1", "names a database, and a cluster has none"),
        ("redis+cluster://u:secret@host?sentinel_password=secret", "sentinel_password"),
        ("sqlite://relative/path", "absolute path"),
        ("sqlite:", "absolute path"),
        ("sqlite:///directory/", "absolute path"),
    ],
)
def test_a_wrong_url_says_why_without_showing_it(url: str, why: str) -> None:
    with pytest.raises(errors.StoreMisconfigured, match=why) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ConnectionError("refused"), errors.StoreAway),
        (exceptions.TimeoutError("late"), errors.StoreAway),
        (exceptions.BusyLoadingError("loading"), errors.StoreAway),
        (exceptions.MasterDownError("down"), errors.StoreAway),
        (exceptions.ClusterDownError("down"), errors.StoreAway),
        (exceptions.TryAgainError("again"), errors.StoreAway),
        (
            exceptions.ResponseError(
                "Script attempted to access a non local key in a cluster node script: 0a1b"
            ),
            errors.StoreAway,
        ),
        (
            exceptions.ResponseError(
                "Script attempted to execute a write command while the cluster is down and readonly"
            ),
            errors.StoreAway,
        ),
        (exceptions.MovedError("5814 127.0.0.1:6379"), errors.StoreMisconfigured),
        (exceptions.ClusterCrossSlotError("Keys in request"), errors.StoreMisconfigured),
        (
            exceptions.ResponseError("BUSY Redis is busy running a script"),
            errors.StoreAway,
        ),
        (OSError(5, "broken"), errors.StoreAway),
        (exceptions.ReadOnlyError("replica"), errors.StoreFull),
        (exceptions.OutOfMemoryError("full"), errors.StoreFull),
        (exceptions.ResponseError("MISCONF no RDB"), errors.StoreFull),
        (exceptions.ResponseError("NOREPLICAS few"), errors.StoreFull),
        (
            exceptions.ResponseError(
                "Error running script (call to f_1): @user_script:1: "
                "@user_script: 1: -READONLY You can't write"
            ),
            errors.StoreFull,
        ),
        (
            exceptions.AuthenticationError("required"),
            errors.StoreMisconfigured,
        ),
        (exceptions.NoPermissionError("no"), errors.StoreMisconfigured),
        (
            exceptions.ResponseError("WRONGTYPE Operation against"),
            errors.StoreMisconfigured,
        ),
        (
            exceptions.ResponseError("DB index is out of range"),
            errors.StoreMisconfigured,
        ),
    ],
)
def test_errors_of_redis_are_sorted(error: Exception, kind: type[errors.StoreError]) -> None:
    assert type(translate(error)) is kind


def test_a_fault_in_a_handshake_is_found_in_a_lost_connection() -> None:
    for origin in (
        exceptions.AuthenticationError("wrong"),
        ssl.SSLCertVerificationError("self-signed"),
    ):
        error = exceptions.ConnectionError("Error 1 connecting")
        error.__cause__ = origin
        fault = translate(error)
        assert type(fault) is errors.StoreMisconfigured
        assert str(origin) in str(fault)
