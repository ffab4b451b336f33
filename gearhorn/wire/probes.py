# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Questions that only a try can answer: how gearmand gives jobs out.

Its version does not tell how it was started, and one that was built outside its git
repository has none. Each probe is a connection that submits jobs of its own functions,
takes them itself, and drops the functions at the end. The jobs are in the foreground: no
persistent queue writes them down, and none is given out once the connection is closed.

CANT_DO stands for the death of the worker. gearmand does the same on both: it takes the
job back, and counts that.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from gearhorn.wire import framing
from gearhorn.wire.address import Address
from gearhorn.wire.admin import connected, in_time, read_some
from gearhorn.wire.connection import ConnectionSettings

MOST_RETRIES = 255
"""The largest number that ``--job-retries`` takes."""

_GRAB = framing.pack(framing.GRAB_JOB_UNIQ)


async def takes_turns(server: Address, settings: ConnectionSettings) -> bool:
    """Return true if the server serves the functions of a connection in turn.

    :raises ServerLost: the server is away or did not answer in time.
    """
    return await in_time(_takes_turns(server, settings), server, settings)


async def _takes_turns(server: Address, settings: ConnectionSettings) -> bool:
    async with _probing(server, settings, 2) as probe:
        for function in probe.functions:
            probe.submit(function)
            probe.submit(function)
        jobs = await probe.grab(4)
        probe.complete(jobs)
        if len(jobs) != 4:
            raise OSError("it does not give out what was submitted")
        return jobs[0].function != jobs[1].function


async def deaths_until_dropped(server: Address, settings: ConnectionSettings) -> int | None:
    """Return how many workers of a job die until the server drops it.

    :returns: ``None`` if it never does, as its promise is.
    :raises ServerLost: the server is away or did not answer in time.
    """
    return await in_time(_deaths_until_dropped(server, settings), server, settings)


async def _deaths_until_dropped(server: Address, settings: ConnectionSettings) -> int | None:
    async with _probing(server, settings, 1) as probe:
        (function,) = probe.functions
        probe.submit(function)
        # All at once, as the server may be far away.
        jobs = await probe.grab(1 + MOST_RETRIES, between=_pack_death(function))
        if not jobs:
            raise OSError("it does not give out what was submitted")
        if len(jobs) <= MOST_RETRIES:
            return len(jobs)
        probe.complete(jobs[-1:])
        return None


def _pack_death(function: bytes) -> bytes:
    return framing.pack(framing.CANT_DO, function) + framing.pack(framing.CAN_DO, function)


class _Job(NamedTuple):
    handle: bytes
    function: bytes


class _Probe:
    """A connection that is client and worker of functions that nobody else has."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, functions: Sequence[bytes]
    ) -> None:
        self.functions = functions
        self._reader = reader
        self._writer = writer
        self._packets = framing.PacketReader(framing.OVERSIZE_HEAD_BYTES)
        self._received: list[framing.Packet] = []

    def submit(self, function: bytes) -> None:
        """Submit a job in the foreground."""
        self._write(framing.SUBMIT_JOB, function, b"", b"")

    async def grab(self, times: int, *, between: bytes = b"") -> Sequence[_Job]:
        """Ask for a job so many times, and return those that the server gave.

        :param between: sent after each of them but the last.
        """
        self._writer.write(between.join([_GRAB] * times))
        jobs = []
        answers = 0
        while answers < times:
            packet_type, body, _ = await self._next()
            if packet_type == framing.ERROR:
                raise OSError(framing.error_text(body))
            if packet_type == framing.JOB_ASSIGN_UNIQ:
                handle, _, rest = body.partition(b"\0")
                jobs.append(_Job(handle, rest.partition(b"\0")[0]))
            answers += packet_type in (framing.JOB_ASSIGN_UNIQ, framing.NO_JOB)
        return jobs

    def complete(self, jobs: Sequence[_Job]) -> None:
        """Answer jobs with WORK_COMPLETE."""
        for job in jobs:
            self._write(framing.WORK_COMPLETE, job.handle, b"")

    async def leave_nothing(self) -> None:
        """Drop the functions, and return when the server has done so."""
        self._leave()
        # With its answer all answers have been read, and what follows are lines of text.
        await self.grab(1)
        self._drop()
        for _ in self.functions:
            await self._reader.readuntil(b"\n")

    def give_up(self) -> None:
        """Drop the functions with their jobs, once the server reads that."""
        self._leave()
        self._drop()

    def _leave(self) -> None:
        for function in self.functions:
            self._write(framing.CANT_DO, function)

    def _drop(self) -> None:
        for function in self.functions:
            self._writer.write(b"drop function " + function + b"\n")

    def _write(self, packet_type: int, *arguments: bytes) -> None:
        self._writer.write(framing.pack(packet_type, *arguments))

    async def _next(self) -> framing.Packet:
        while not self._received:
            self._received += self._packets.feed(await read_some(self._reader))
        return self._received.pop(0)


@asynccontextmanager
async def _probing(
    server: Address, settings: ConnectionSettings, functions: int
) -> AsyncIterator[_Probe]:
    token = os.urandom(8).hex()
    names = [f"gearhorn_probe_{token}_{number}".encode() for number in range(functions)]
    async with connected(server, settings) as (reader, writer):
        probe = _Probe(reader, writer, names)
        writer.write(b"".join([framing.pack(framing.CAN_DO, name) for name in names]))
        try:
            yield probe
            await probe.leave_nothing()
        except BaseException:
            probe.give_up()
            raise
