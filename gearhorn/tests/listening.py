# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Ending asyncio servers, for the proxy and the fake job server."""

from __future__ import annotations

import asyncio


async def close_server(server: asyncio.Server) -> None:
    """Close it, and lose no connection that it is just taking.

    asyncio makes the transport of a connection a turn of the loop after it was taken, and leaves it
    open and to nobody if the server was closed in between.
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener)
    await asyncio.sleep(0)
    server.close()
