# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How functions are dropped without keeping a job server from others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gearhorn.tests.listening import close_server
from gearhorn.wire import admin
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings

NAMES = [f"t_name{number}" for number in range(40)]


class Playing:
    """A server that takes so many seconds for each function that it drops.

    It answers when a question after them shows that there are no more.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at_once: list[int] = []
        """The functions that were dropped at a time."""
        self.connections: list[asyncio.Task[None] | None] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.current_task())
        dropped = 0
        while line := await reader.readline():
            if line == b"version\n":
                self.at_once.append(dropped)
                await asyncio.sleep(dropped * self.seconds)
                writer.write(b"OK\n" * dropped + b"OK 1.1.20\n")
                dropped = 0
            else:
                dropped += 1
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def played(seconds: float) -> AsyncIterator[tuple[Playing, Address]]:
    playing = Playing(seconds)
    server = await asyncio.start_server(playing.accept, "127.0.0.1", 0)
    try:
        yield playing, Address("127.0.0.1", server.sockets[0].getsockname()[1])
        await asyncio.gather(*filter(None, playing.connections))
    finally:
        await close_server(server)


async def test_more_are_dropped_at_a_time_where_the_server_is_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However busy the machine is.
    monkeypatch.setattr(admin, "_DROP_S", 10)
    async with played(0) as (playing, server):
        found = await admin.drop_functions(server, ConnectionSettings(), NAMES, 60)
    assert found == (40, 40)
    assert playing.at_once == [1, 2, 4, 8, 10, 10, 5]


async def test_one_is_dropped_at_a_time_where_that_takes_long() -> None:
    async with played(0.02) as (playing, server):
        found = await admin.drop_functions(server, ConnectionSettings(), NAMES[:5], 60)
    assert found == (5, 5)
    assert playing.at_once == [1] * 5


async def test_others_have_as_long_in_between() -> None:
    async with played(0.02) as (_, server):
        began = asyncio.get_running_loop().time()
        await admin.drop_functions(server, ConnectionSettings(), NAMES[:5], 60)
        assert asyncio.get_running_loop().time() - began > 2 * 5 * 0.02


async def test_it_says_how_many_were_tried_when_the_time_is_up() -> None:
    async with played(0) as (playing, server):
        assert await admin.drop_functions(server, ConnectionSettings(), NAMES, 0) == (1, 1)
        assert await admin.drop_functions(server, ConnectionSettings(), [], 60) == (0, 0)
    assert playing.at_once == [1]
