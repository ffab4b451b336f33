# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""What is asked of one job server on a connection of its own, now and then."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from gear import constants

from gearhorn import errors
from gearhorn.wire import framing
from gearhorn.wire.servers import Server, Settings

T = TypeVar("T")
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def _connected(server: Server, settings: Settings) -> AsyncIterator[_Streams]:
    reader, writer = await asyncio.open_connection(
        server.host,
        server.port,
        ssl=settings.tls,
        server_hostname=server.host if settings.tls else None,
    )
    try:
        yield reader, writer
    finally:
        writer.close()


async def discard_queued(server: Server, settings: Settings, function: str) -> int:
    """Take every job that waits in ``function`` and fail it; how many.

    :raises ServerLost: the server is away or did not answer in time.
    """
    return await _in_time(_discard_queued(server, settings, function), server, settings)


async def drop_function(server: Server, settings: Settings, function: str) -> bool:
    """Remove ``function`` from the server's list; false if workers do it.

    gearmand destroys what is queued in it, in silence, and compares names
    without case: discard what is queued first, and name no function of which
    another differs only in case.

    :raises ServerLost: the server is away or did not answer in time.
    """
    return await _in_time(_drop_function(server, settings, function), server, settings)


async def _in_time(work: Awaitable[T], server: Server, settings: Settings) -> T:
    try:
        return await asyncio.wait_for(work, settings.connect_timeout)
    except (OSError, EOFError, asyncio.TimeoutError, errors.FramingError) as error:
        raise errors.ServerLost(
            f"job server {server}: {str(error) or 'no answer in time'}"
        ) from None


async def _discard_queued(server: Server, settings: Settings, function: str) -> int:
    discarded = 0
    packets = framing.PacketReader(framing.OVERSIZE_HEAD_BYTES)
    grab = framing.pack(constants.GRAB_JOB_UNIQ)
    async with _connected(server, settings) as (reader, writer):
        writer.write(framing.pack(constants.CAN_DO, function.encode()) + grab)
        while data := await reader.read(65536):
            for packet_type, body in packets.feed(data):
                if packet_type == constants.NO_JOB:
                    return discarded
                if packet_type & ~framing.OVERSIZE == constants.JOB_ASSIGN_UNIQ:
                    handle = body.partition(b"\0")[0]
                    writer.write(framing.pack(constants.WORK_FAIL, handle) + grab)
                    discarded += 1
    raise EOFError("the server closed the connection")


async def _drop_function(server: Server, settings: Settings, function: str) -> bool:
    async with _connected(server, settings) as (reader, writer):
        writer.write(b"drop function %s\n" % function.encode())
        return (await reader.readuntil(b"\n")).startswith(b"OK")
