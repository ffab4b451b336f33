# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Waiting while a job is held, for as long as it is this subscriber's."""

import asyncio

from gearhorn.wire.grabber import Job


class Holding:
    """The waits of a subscriber's handlers. All of it runs in the event loop."""

    def __init__(self) -> None:
        self._pauses: set[asyncio.Future[None]] = set()
        self._stopped = False

    def stop(self) -> None:
        """End all pauses, and let none begin."""
        self._stopped = True
        for pause in self._pauses:
            end(pause)

    async def pause(self, job: Job, seconds: float) -> bool:
        """Wait so long, and return true.

        :returns: false if it was stopped, or the job is lost with its connection.
        """
        loop = asyncio.get_running_loop()
        pause: asyncio.Future[None] = loop.create_future()
        if self._stopped:
            return False
        timer = loop.call_later(seconds, end, pause)
        self._pauses.add(pause)
        try:
            return await self.keep(job, pause) and not self._stopped
        finally:
            timer.cancel()
            self._pauses.discard(pause)

    async def keep(self, job: Job, future: asyncio.Future[None]) -> bool:
        """Wait for ``future``, and return true if the job is still held then.

        The loss of its connection ends the wait.
        """
        if not job.connection.connected:
            return False
        job.hold(lambda: end(future))
        try:
            await future
        finally:
            job.let_go()
        return job.connection.connected


def end(future: asyncio.Future[None]) -> None:
    """End the wait for ``future``, unless it has ended."""
    if not future.done():
        future.set_result(None)
