# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Copies of a store, which are brought back under the connections that are open."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Protocol

from redis.asyncio import Redis as Client

from gearhorn.tests.servers import Redis


class Copies(Protocol):
    """A copy of a store."""

    url: str

    async def take(self) -> None: ...

    async def bring_back(self) -> None: ...


class RedisCopies:
    """:param url: of the store, if the server is a node of a cluster."""

    def __init__(self, server: Redis, url: str = "") -> None:
        self.url = url or server.url
        self.server_url = server.url
        self._dump: dict[bytes | str, bytes] = {}

    async def take(self) -> None:
        async with Client.from_url(self.server_url) as client:
            for key in await client.keys("*"):
                value = await client.dump(key)
                assert value is not None
                self._dump[key] = value

    async def bring_back(self) -> None:
        async with Client.from_url(self.server_url) as client, client.pipeline() as pipeline:
            pipeline.flushall()
            for key, value in self._dump.items():
                pipeline.restore(key, 0, value)
            await pipeline.execute()


class SQLiteCopies:
    def __init__(self, path: Path) -> None:
        self.url = f"sqlite://{path}"
        self._paths = path, path.with_suffix(".copy")

    async def take(self) -> None:
        self._copy(*self._paths)

    async def bring_back(self) -> None:
        self._copy(*reversed(self._paths))

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        """As ``sqlite3 target '.restore source'`` does it."""
        with (
            contextlib.closing(sqlite3.connect(source)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
