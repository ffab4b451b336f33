# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The removal of departed daemons' functions from job servers."""

import asyncio
import logging
from collections.abc import Collection, Sequence

from gearhorn import errors
from gearhorn.wire import admin
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings

LOG = logging.getLogger(__name__)


async def retire(function: str, servers: Sequence[Address], settings: ConnectionSettings) -> bool:
    """Remove a function that no daemon serves; return false if a job server still has it."""
    return all(
        await asyncio.gather(*(_retire_from(server, function, settings) for server in servers))
    )


async def drop_marks(
    marks: Collection[str], servers: Sequence[Address], settings: ConnectionSettings
) -> None:
    """Remove marks that no other daemon shows, as far as the job servers answer."""
    await asyncio.gather(*(_drop(server, mark, settings) for server in servers for mark in marks))


async def _drop(server: Address, function: str, settings: ConnectionSettings) -> None:
    try:
        await admin.drop_function(server, settings, function)
    except errors.ServerLost as error:
        LOG.debug("function %s was not removed: %s", function, error)


async def _retire_from(server: Address, function: str, settings: ConnectionSettings) -> bool:
    try:
        await admin.discard_queued(server, settings, function)
        return await admin.drop_function(server, settings, function)
    except errors.ServerLost as error:
        LOG.debug("function %s was not removed: %s", function, error)
        return False
