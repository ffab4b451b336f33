# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Background tasks that do not fail in silence, and long work in steps."""

import asyncio
import logging
from collections.abc import Coroutine, Generator, Iterable
from typing import Any, TypeVar

LOG = logging.getLogger(__name__)

T = TypeVar("T")

_AGAIN_S = 0.2


class Tasks:
    """Running tasks. The event loop keeps only weak references to them."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``coroutine`` as a task, and log any exception it raises."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("unexpected error", exc_info=task.exception())

    async def cancel(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        await end(self._running)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks`` until they have ended.

    One cancellation may not do: before Python 3.12 ``asyncio.wait_for()``, which
    redis-py uses, loses it if what it waits for ends in the same moment.
    """
    everyone = tuple(tasks)
    pending = {task for task in everyone if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    await asyncio.gather(*everyone, return_exceptions=True)


Steps = Generator[None, None, T]
"""Work that yields after each piece, and returns its result at the end."""


def at_once(steps: Steps[T]) -> T:
    """Do all of ``steps`` now, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            made: T = done.value
            return made


async def in_turns(steps: Steps[T]) -> T:
    """Do ``steps``, let the loop do other work after each, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            made: T = done.value
            return made
        await asyncio.sleep(0)
