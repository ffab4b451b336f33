# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Each Lua script by itself, as Redis runs it."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis as Client

from gearhorn.store import (
    redis,
    redis_calls,
    redis_endings,
    redis_journal,
    redis_lists,
    redis_patterns,
    redis_scripts,
)
from gearhorn.tests.servers import Redis

FILES = {path.name.removesuffix(".lua"): path for path in redis_scripts._FILES.iterdir()}
SCRIPTS = sorted(redis_scripts.SCRIPTS)
SHARED = sorted(path.name.removesuffix(".lua") for path in FILES["shared"].iterdir())


@pytest.fixture
async def client(redis_server: Redis) -> AsyncIterator[Client]:
    client = Client.from_url(redis_server.url)
    yield client
    await client.aclose()


@pytest.mark.parametrize("name", [*SCRIPTS, *(f"shared/{name}" for name in SHARED)])
def test_a_script_says_what_it_does_and_takes(name: str) -> None:
    path = redis_scripts._FILES.joinpath(f"{name}.lua")
    head = re.match(r"(?:--.*\n)+", path.read_text("utf-8"))
    assert head is not None
    what, *rest = head[0].splitlines()
    assert what.endswith(".")
    assert any(line.startswith(("-- KEYS:", "-- KEYS, ARGV:")) for line in rest)
    assert any(line.startswith(("-- ARGV:", "-- KEYS, ARGV:")) for line in rest)


def test_every_file_is_read() -> None:
    assert sorted(FILES) == sorted([*SCRIPTS, "shared"])


def test_every_script_is_run_by_the_store() -> None:
    modules = redis, redis_calls, redis_endings, redis_journal, redis_lists, redis_patterns
    source = "".join(map(inspect.getsource, modules))
    assert [name for name in SCRIPTS if f'"{name}"' not in source] == []


def test_what_is_included_is_there_and_nothing_else_is() -> None:
    included = set()
    for text in (
        path.read_text("utf-8")
        for path in (*FILES["shared"].iterdir(), *(FILES[name] for name in SCRIPTS))
    ):
        included |= set(re.findall(r"-- include (\w+)", text))
    assert sorted(included) == SHARED


@pytest.mark.parametrize("name", SCRIPTS)
async def test_redis_reads_it(name: str, client: Client) -> None:
    text = redis_scripts.SCRIPTS[name]
    assert "-- include" not in text
    assert len(await client.script_load(text)) == 40


@pytest.mark.parametrize("name", sorted({*SCRIPTS} - {"open"}))
async def test_it_does_nothing_in_another_store(name: str, client: Client, key_prefix: str) -> None:
    keys = [f"{key_prefix}{name}" for name in redis_scripts.KEYS]
    await client.set(keys[0], "another")
    script = redis_scripts.SCRIPTS[name]
    assert await client.eval(script, len(keys), *keys, "mine", *["1"] * 10) is None
    assert await client.keys(f"{key_prefix}*") == [keys[0].encode()]
