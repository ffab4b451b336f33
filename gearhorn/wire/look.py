# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A look at all queues of a job server, on a connection that is kept for the next."""

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

from gearhorn.wire import admin, status
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.status import StatusReader

_PIECE_BYTES = 1 << 16
"""The bytes that are read at a time: two milliseconds of work."""


class Look(NamedTuple):
    """The queues of a server at one moment.

    Each mapping lacks the queues for which it would say 0.

    :param jobs: the jobs that wait or run in each queue.
    :param running: those of them that run.
    :param workers: the workers that do each queue.
    :param took: seconds until the answer began to come. gearmand serves nobody else
        while it makes the answer, and sends it when it is whole.
    :param own: seconds of processor time of this process for reading it.
    """

    jobs: Mapping[bytes, int]
    running: Mapping[bytes, int]
    workers: Mapping[bytes, int]
    took: float = 0.0
    own: float = 0.0


NOTHING = Look({}, {}, {})
"""What is known of a server before the first look at it."""


async def look(
    server: Address,
    settings: ConnectionSettings,
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    timeout: float,
) -> Look:
    """Ask for the state of all queues.

    :param streams: those of a connection to the server, for nothing but looks. If this
        fails it is to be closed.
    :param timeout: the longest time for all of it, in seconds.
    :raises ServerLost: the server is away or did not answer in time.
    """
    return await admin.in_time(_look(*streams), server, settings, timeout)


async def _look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Look:
    answer = StatusReader()
    jobs: dict[bytes, int] = {}
    running: dict[bytes, int] = {}
    workers: dict[bytes, int] = {}
    own = took = 0.0
    asked = time.perf_counter()
    writer.write(status.COMMAND)
    while not answer.ended:
        data = await admin.read_some(reader, _PIECE_BYTES)
        took = took or time.perf_counter() - asked
        began = time.thread_time()
        for name, total, runs, serve in answer.feed(data):
            if total != b"0":
                jobs[name] = int(total)
                if runs != b"0":
                    running[name] = int(runs)
            if serve != b"0":
                workers[name] = int(serve)
        own += time.thread_time() - began
        # read() does not wait while more is there.
        await asyncio.sleep(0)
    return Look(jobs, running, workers, took, own)
