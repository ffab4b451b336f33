# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Each kind of store, for what all must do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gearhorn.store.base import Store
from gearhorn.tests.functional.store.stores import NewStore, make
from gearhorn.tests.servers import Redis


@pytest.fixture(params=["redis", "sqlite"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path, key_prefix: str) -> NewStore:
    """Makes another object for the same store, still to be opened."""
    url = f"sqlite://{tmp_path}/store.db"
    if request.param == "redis":
        server: Redis = request.getfixturevalue("redis_server")
        url = server.url
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
