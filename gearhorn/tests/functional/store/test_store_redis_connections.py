# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Ways to Redis: Unix sockets, TLS and Sentinel."""

from __future__ import annotations

import math

import pytest

from gearhorn import clock, errors
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.store.stores import has_copied, opened, until_it_answers
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Redis, Sentinel, Stunnel


async def test_redis_is_reached_by_a_unix_socket(start: Start) -> None:
    server = start(Redis(unixsocket="socket", requirepass="right-secret"))
    path = server.directory / "socket"
    for url in (
        f"unix://:right-secret@{path}?db=2",
        f"unix://{path}?db=2&password=right-secret",
    ):
        async with opened(url) as store:
            await store.add("memos", "alice", None)
            assert (await store.members("memos", "")).client_ids == ["alice"]
    with pytest.raises(errors.StoreMisconfigured) as caught:
        async with opened(f"unix://:wrong-secret@{path}"):
            pass
    assert "secret" not in str(caught.value)
    url = f"unix://:right-secret@{path}?db=12345"
    with pytest.raises(errors.StoreMisconfigured):
        async with opened(url):
            pass
    with pytest.raises(errors.StoreAway):
        async with opened(f"unix://{path}-no"):
            pass


async def test_tls_with_an_authority_of_ones_own(
    redis_server: Redis, key_prefix: str, start: Start
) -> None:
    tls = start(Stunnel(redis_server.port, verify_client=True))
    options = (
        f"ssl_ca_certs={tls.ca}&ssl_certfile={tls.client_certificate}&ssl_keyfile={tls.client_key}"
    )
    url = f"rediss://localhost:{tls.port}/1?{options}"
    async with opened(url, key_prefix) as store:
        await store.add("memos", "alice", None)
        assert (await store.members("memos", "")).client_ids == ["alice"]


async def test_tls_verifies_the_certificate_and_its_name(
    redis_server: Redis, key_prefix: str, start: Start
) -> None:
    tls = start(Stunnel(redis_server.port, names=["redis.example"]))
    place = f"rediss://localhost:{tls.port}/1"
    for options in ("", f"?ssl_ca_certs={tls.ca}"):
        with pytest.raises(errors.StoreMisconfigured, match="CERTIFICATE"):
            async with opened(place + options, key_prefix):
                pass
    for options in (
        f"?ssl_ca_certs={tls.ca}&ssl_check_hostname=false",
        "?ssl_cert_reqs=none",
    ):
        async with opened(place + options, key_prefix) as store:
            await store.daemons()


@pytest.mark.slow
async def test_a_failover_is_followed_and_noticed(redis: Redis, start: Start) -> None:
    replica = start(redis.replica())
    sentinel = start(Sentinel(redis))
    eventually(sentinel.replicas, 20)
    unused = Redis()
    hosts = f"{unused.address},{sentinel.address}"
    unused.close()
    url = f"redis+sentinel://{hosts}/{sentinel.name}?db=0"
    async with opened(url, timeout=1.0) as store:
        await store.add("memos", "alice", None)
        assert store.run_changed_at == -math.inf
        eventually(lambda: has_copied(replica, "memos", "alice"))
        before = clock.now()
        redis.kill()
        await until_it_answers(store.add, "memos", "bob", None)
        members = await store.members("memos", "one")
        assert set(members.client_ids) == {"alice", "bob"}
        assert store.run_changed_at > before
        assert has_copied(replica, "memos", "bob")


async def test_an_unknown_service_is_away(start: Start) -> None:
    sentinel = start(Sentinel(start(Redis())))
    url = f"redis+sentinel://:a-secret@{sentinel.address}/unknown"
    with pytest.raises(errors.StoreAway, match="unknown") as caught:
        async with opened(url, timeout=1.0):
            pass
    assert "a-secret" not in str(caught.value)


async def test_another_timeout_holds_for_connections_that_are_there_and_for_new_ones(
    redis: Redis,
) -> None:
    async with opened(redis.url) as store:
        await store.add("memos", "alice", None)
        store.set_timeout(0.2)
        redis.pause()
        for _ in range(2):
            begun = clock.now()
            with pytest.raises(errors.StoreAway):
                await store.members("memos", "")
            assert clock.now() - begun < 3
        redis.resume()
        store.set_timeout(10)
        assert (await store.members("memos", "")).client_ids == ["alice"]
