# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Single questions to one job server, each on a connection of its own."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import async_timeout

from gearhorn import errors
from gearhorn.net import tls
from gearhorn.net.connecting import describe, open_socket
from gearhorn.wire import framing, status
from gearhorn.wire.address import Address
from gearhorn.wire.answer import Answer, AnswerParts
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.status import QueueState, StatusReader

T = TypeVar("T")

TRIAL = b"gearhorn-trial-"
"""The beginning of the unique of a job that only tries if it is taken."""

_DISCARD_AHEAD = 64
"""The jobs that are asked for before the first has come. 89,000 a second pass this
way, and 10,000 if each is waited for."""
_DROP_AT_ONCE = 10
"""The most functions that are dropped at a time. gearmand looks for each among all, 0.6 ms
among 20,000 and 17 among 100,000, and serves nobody else until it has answered what was
sent at once."""
_DROP_S = 0.01
"""The seconds that those which are dropped at a time may take. Others have as long then."""
_MAX_ANSWER_BYTES = 64 << 20
_worker_line = re.compile(r"\S+ \S+ (.*?) : ?(.*)").fullmatch


async def version(server: Address, settings: ConnectionSettings) -> str:
    """Return the version that the server tells.

    :raises ServerLost: the server is away or did not answer in time.
    """
    line = await in_time(_ask_line(server, settings, b"version"), server, settings)
    return line.removeprefix("OK").strip()


async def gives_jobs(server: Address, settings: ConnectionSettings) -> bool:
    """Return true if the server knows GRAB_JOB_UNIQ, without which gearhorn cannot use it.

    :raises ServerLost: the server is away or did not answer in time.
    """
    return await in_time(_gives_jobs(server, settings), server, settings)


async def _gives_jobs(server: Address, settings: ConnectionSettings) -> bool:
    # Without a function there is no job for it. gear.Server answers no ECHO_REQ.
    question = framing.pack(framing.GRAB_JOB_UNIQ) + framing.pack(framing.GET_STATUS, b"gearhorn")
    packet_type, _, _ = await _first_answer(server, settings, question)
    return packet_type == framing.NO_JOB


async def _first_answer(
    server: Address, settings: ConnectionSettings, question: bytes
) -> framing.Packet:
    packets = framing.PacketReader(framing.OVERSIZE_HEAD_BYTES)
    async with connected(server, settings) as (reader, writer):
        writer.write(question)
        while True:
            for packet in packets.feed(await read_some(reader)):
                return packet


async def takes_jobs(server: Address, settings: ConnectionSettings, function: str) -> bool:
    """Return false if the server takes no more jobs of ``function``: its own limit is reached.

    It submits an empty job, whose unique begins with :data:`TRIAL`.

    :raises ServerLost: the server is away or did not answer in time.
    """
    return await in_time(_takes_jobs(server, settings, function), server, settings)


async def _takes_jobs(server: Address, settings: ConnectionSettings, function: str) -> bool:
    unique = TRIAL + os.urandom(8).hex().encode()
    question = framing.pack(framing.SUBMIT_JOB, function.encode(), unique, b"")
    packet_type, body, _ = await _first_answer(server, settings, question)
    return packet_type != framing.ERROR or not framing.is_queue_full(body)


async def queues(
    server: Address, settings: ConnectionSettings, beginning: Collection[str] = ()
) -> Mapping[str, QueueState]:
    """Return the state of each function that the server knows, by name.

    :param beginning: what the names of the functions in question begin with. A list of
        all of many takes a while to read.
    :raises ServerLost: the server is away or did not answer in time.
    """
    return await in_time(_queues(server, settings, beginning), server, settings)


async def workers(server: Address, settings: ConnectionSettings) -> Sequence[tuple[str, str]]:
    """Return the name of each connection to the server, and the functions that it does.

    The functions stand in one string with spaces between them, and names may hold
    spaces too.

    :raises ServerLost: the server is away or did not answer in time.
    """
    lines = await in_time(_ask_lines(server, settings, b"workers"), server, settings)
    found = (_worker_line(line.decode("utf-8", "replace")) for line in lines.splitlines())
    return [(line[1], line[2].strip()) for line in found if line is not None]


async def ask(
    server: Address, settings: ConnectionSettings, function: str, data: bytes, timeout: float
) -> Answer:
    """Submit a foreground job and wait for its end.

    :param timeout: the longest wait for the end, in seconds.
    :raises ServerLost: the server is away, or refused the job.
    :raises NoAnswer: the job did not end in time.
    """
    # Without a unique, so it joins no job that another client has left.
    packet = framing.pack(framing.SUBMIT_JOB, function.encode(), b"", data)
    async with connected(server, settings) as (reader, writer):
        writer.write(packet)
        work = asyncio.ensure_future(in_time(_answer(reader), server, settings, 2 * timeout))
        done, _ = await asyncio.wait((work,), timeout=timeout)
        if done:
            return work.result()
        work.cancel()
        raise errors.NoAnswer(
            f"no daemon answered in {timeout:g} seconds; the request may still be done"
        )


async def submit_background(
    server: Address, settings: ConnectionSettings, function: str, data: bytes, *, unique: bytes
) -> bool:
    """Submit a background job, and return true if the server has queued it.

    :raises ServerLost: the server is away or did not answer in time.
    """
    packet_type = framing.SUBMIT_TYPES[True, "normal"]
    question = framing.pack(packet_type, function.encode(), unique, data)
    answer = await in_time(_first_answer(server, settings, question), server, settings)
    return answer[0] == framing.JOB_CREATED


async def discard_queued(
    server: Address, settings: ConnectionSettings, function: str, timeout: float | None = None
) -> int:
    """Take every job that waits in ``function``, fail it, and return their number.

    :param timeout: the longest time for all of it, in seconds; that for connecting
        unless given.
    :raises ServerLost: the server is away, or was not done in time.
    """
    work = _discard_queued(server, settings, function)
    return await in_time(work, server, settings, timeout)


async def _discard_queued(server: Address, settings: ConnectionSettings, function: str) -> int:
    packets = framing.PacketReader(framing.OVERSIZE_HEAD_BYTES)
    grab = framing.pack(framing.GRAB_JOB_UNIQ)
    discarded = 0
    outstanding = _DISCARD_AHEAD
    async with connected(server, settings) as (reader, writer):
        writer.write(framing.pack(framing.CAN_DO, function.encode()) + grab * outstanding)
        while outstanding:
            for packet_type, body, _ in packets.feed(await read_some(reader)):
                if packet_type == framing.NO_JOB:
                    outstanding -= 1
                elif packet_type == framing.JOB_ASSIGN_UNIQ:
                    handle = body.partition(b"\0")[0]
                    writer.write(framing.pack(framing.WORK_FAIL, handle) + grab)
                    discarded += 1
        # CANT_DO, so the function can be dropped at once: closing is noticed late. No
        # job is held that this would requeue. NO_JOB says that it is done.
        writer.write(framing.pack(framing.CANT_DO, function.encode()) + grab)
        await reader.readexactly(framing.HEADER_BYTES)
    return discarded


async def drop_function(server: Address, settings: ConnectionSettings, function: str) -> bool:
    """Remove ``function`` from the server's list.

    gearmand silently destroys the jobs in it, and compares names without case. So
    discard the jobs first, and name no function if another differs only in case.

    :returns: false if workers do the function, and it stays.
    :raises ServerLost: the server is away or did not answer in time.
    """
    work = _ask_line(server, settings, b"drop function " + function.encode())
    return (await in_time(work, server, settings)).startswith("OK")


async def drop_functions(
    server: Address, settings: ConnectionSettings, functions: Sequence[str], seconds: float
) -> tuple[int, int]:
    """Remove functions as :func:`drop_function` does, with time for others in between.

    :param functions: names of which no two are equal without case.
    :param seconds: the time after which no further ones are removed.
    :returns: the number that are gone, and the number of those that were tried, at the
        beginning of ``functions``.
    :raises ServerLost: the server is away or did not answer in time.
    """
    gone = tried = 0
    most = 1
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    async with connected(server, settings) as (reader, writer):
        while tried < len(functions) and (not tried or clock() < until):
            some = functions[tried : tried + most]
            began = clock()
            gone += await in_time(_drop_functions(reader, writer, some), server, settings)
            took = max(clock() - began, 1e-6)
            tried += len(some)
            most = max(1, min(_DROP_AT_ONCE, 2 * most, int(_DROP_S / took * len(some))))
            await asyncio.sleep(took)
    return gone, tried


async def _drop_functions(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, functions: Sequence[str]
) -> int:
    # gearmand answers a line for each function that it drops, which may be several for one
    # name. The answer to "version" shows that there are no more.
    for function in functions:
        writer.write(b"drop function " + function.encode() + b"\n")
    writer.write(b"version\n")
    gone = 0
    while (line := (await reader.readuntil(b"\n")).strip()) == b"OK" or line.startswith(b"ERR"):
        gone += line == b"OK"
    return gone


@asynccontextmanager
async def connected(
    server: Address, settings: ConnectionSettings
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a server, and close the connection at the end.

    :raises ServerLost: the server is away.
    """
    reader, writer = await in_time(_connect(server, settings), server, settings)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _connect(
    server: Address, settings: ConnectionSettings
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    connected = await open_socket(server.host, server.port)
    context = tls.for_connection(settings.tls)
    try:
        return await asyncio.open_connection(
            sock=connected, ssl=context, server_hostname=server.host if context else None
        )
    except BaseException:
        connected.close()
        raise


async def read_some(reader: asyncio.StreamReader, most: int = 65536) -> bytes:
    """Return the bytes that have come, or come next: ``most`` at the most.

    :raises EOFError: the server has closed the connection.
    """
    data = await reader.read(most)
    if not data:
        raise EOFError("it closed the connection")
    return data


async def in_time(
    work: Awaitable[T], server: Address, settings: ConnectionSettings, timeout: float | None = None
) -> T:
    """Wait for an exchange with a server, at most ``timeout`` seconds.

    :raises ServerLost: the server is away or did not answer in time.
    """
    try:
        async with async_timeout.timeout(timeout or settings.connect_timeout):
            return await work
    except (
        OSError,
        EOFError,
        # The name cannot be a host name.
        UnicodeError,
        asyncio.TimeoutError,
        asyncio.LimitOverrunError,
        errors.FramingError,
    ) as error:
        raise errors.ServerLost(
            f"job server {server}: {describe(error) or 'no answer in time'}"
        ) from None


async def _ask_line(server: Address, settings: ConnectionSettings, command: bytes) -> str:
    async with connected(server, settings) as (reader, writer):
        writer.write(command + b"\n")
        return (await reader.readuntil(b"\n")).decode("utf-8", "replace").strip()


async def _ask_lines(server: Address, settings: ConnectionSettings, command: bytes) -> bytes:
    async with connected(server, settings) as (reader, writer):
        writer.write(command + b"\n")
        parts: list[bytes] = []
        # A line with only a dot ends the list, and can be cut between two reads.
        while not b"".join(parts[-2:]).endswith((b"\n.\n", b"\n.\r\n")) and parts != [b".\n"]:
            parts.append(await read_some(reader, 1 << 20))
        return b"".join(parts)


async def _queues(
    server: Address, settings: ConnectionSettings, beginning: Collection[str]
) -> Mapping[str, QueueState]:
    answer = StatusReader(beginning)
    states: dict[str, QueueState] = {}
    async with connected(server, settings) as (reader, writer):
        writer.write(status.COMMAND)
        while not answer.ended:
            for name, *numbers in answer.feed(await read_some(reader, 1 << 20)):
                states[name.decode("utf-8", "replace")] = QueueState(*map(int, numbers))
    return states


async def _answer(reader: asyncio.StreamReader) -> Answer:
    packets = framing.PacketReader(_MAX_ANSWER_BYTES)
    parts = AnswerParts()
    while True:
        for packet_type, body, whole in packets.feed(await read_some(reader)):
            if not whole:
                raise OSError("its answer is too large")
            if packet_type == framing.ERROR:
                raise OSError(body.replace(b"\0", b" ").decode("utf-8", "replace"))
            answer = parts.add(packet_type, body.partition(b"\0")[2])
            if answer is not None:
                return answer
