# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A worker on the loop that keeps its jobs, for tests of the grabber."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gearhorn.tests import packets as wire
from gearhorn.tests.fake import Conversation, FakeServer
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.grabber import Grabber, Job
from gearhorn.wire.watch import Watch

FAST = ConnectionSettings(
    connect_timeout=5.0, liveness_interval=30.0, liveness_timeout=30.0, reconnect_max=0.05
)


class Worker(Grabber):
    """Does ``work`` by keeping the jobs."""

    def __init__(
        self, settings: ConnectionSettings, window: int, window_bytes: int, max_bytes: int
    ) -> None:
        super().__init__("worker-1", settings, max_bytes, Watch(), window, window_bytes)
        self.jobs: asyncio.Queue[Job] = asyncio.Queue()
        self.add_function("other", self.jobs.put_nowait)
        self.add_function("work", self.jobs.put_nowait)

    async def job(self) -> Job:
        return await asyncio.wait_for(self.jobs.get(), 10)


NewWorker = Callable[..., Worker]


async def asked(server: FakeServer) -> Conversation:
    """The next connection, once it has asked for the first two jobs."""
    there = await server.accept()
    await there.expect(wire.GRAB_JOB_UNIQ, 2)
    return there
