# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Each kind of store, for what all must do."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gearhorn.store.base import Store
from gearhorn.store.journal import Journals
from gearhorn.tests.functional.store import journals as making
from gearhorn.tests.functional.store.copies import Copies, RedisCopies, SQLiteCopies
from gearhorn.tests.functional.store.journals import NewJournals
from gearhorn.tests.functional.store.stores import AnyRedis, NewStore, make


@pytest.fixture
def key_prefix() -> str:
    """With a tag, as it is the same for one Redis and for a cluster."""
    return f"test-{{{uuid.uuid4().hex[:12]}}}:"


def kind_of(request: pytest.FixtureRequest) -> str:
    """The kind of store that the test is for: redis, unless it has a parameter of that."""
    callspec = getattr(request.node, "callspec", None)
    return str(callspec.params.get("new_store", "redis")) if callspec else "redis"


@pytest.fixture
def either_redis(request: pytest.FixtureRequest) -> AnyRedis:
    """The servers of the store that the test is for, if that is in Redis."""
    name = "cluster" if kind_of(request) == "cluster" else "redis_server"
    servers: AnyRedis = request.getfixturevalue(name)
    return servers


@pytest.fixture(params=["redis", pytest.param("cluster", marks=pytest.mark.once)])
def any_redis(request: pytest.FixtureRequest) -> AnyRedis:
    """One Redis, and a cluster."""
    name = "cluster" if request.param == "cluster" else "redis_server"
    servers: AnyRedis = request.getfixturevalue(name)
    return servers


@pytest.fixture(params=["redis", "sqlite", pytest.param("cluster", marks=pytest.mark.once)])
def new_store(request: pytest.FixtureRequest, tmp_path: Path, key_prefix: str) -> NewStore:
    """Makes another object for the same store, still to be opened."""
    url = f"sqlite://{tmp_path}/store.db"
    if request.param != "sqlite":
        servers: AnyRedis = request.getfixturevalue("either_redis")
        url = servers.url
    return lambda: make(url, key_prefix)


@pytest_asyncio.fixture
async def store(new_store: NewStore) -> AsyncIterator[Store]:
    store = new_store()
    await store.open()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def other(store: Store, new_store: NewStore) -> AsyncIterator[Store]:
    """A second daemon's view of the same store."""
    other = new_store()
    await other.open()
    yield other
    await other.close()


@pytest.fixture(params=["redis", "sqlite"])
def copies(request: pytest.FixtureRequest, tmp_path: Path) -> Copies:
    """Copies of a store of the test's own."""
    if request.param == "redis":
        return RedisCopies(request.getfixturevalue("redis"))
    return SQLiteCopies(tmp_path / "store.db")


@pytest.fixture(params=["redis", "sqlite", pytest.param("cluster", marks=pytest.mark.once)])
def new_journals(request: pytest.FixtureRequest, tmp_path: Path, key_prefix: str) -> NewJournals:
    """Makes another daemon's view of the same journals, still to be opened."""
    url = f"sqlite://{tmp_path}/journals.db"
    if request.param != "sqlite":
        name = "cluster" if request.param == "cluster" else "redis_server"
        servers: AnyRedis = request.getfixturevalue(name)
        url = servers.url

    def new(worker_id: str = "one", **options: Any) -> Journals:
        return making.make(url, key_prefix, worker_id=worker_id, **options)

    return new


@pytest_asyncio.fixture
async def journals(new_journals: NewJournals) -> AsyncIterator[Journals]:
    journals = new_journals()
    await journals.open()
    yield journals
    await journals.close()


@pytest_asyncio.fixture
async def others(journals: Journals, new_journals: NewJournals) -> AsyncIterator[Journals]:
    """A second daemon's view of the same journals."""
    others = new_journals("two")
    await others.open()
    yield others
    await others.close()
