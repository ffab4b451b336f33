# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Background tasks that do not fail in silence, and long work in steps."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, TypeVar

import async_timeout

LOG = logging.getLogger(__name__)

T = TypeVar("T")

OnFailed = Callable[[BaseException], object]

_AGAIN_S = 0.2


class Tasks:
    """Running tasks. The event loop keeps only weak references to them.

    :param on_failed: called with the error by which a task of :meth:`keep` has
        ended: there is no going on without it.
    """

    def __init__(self, on_failed: OnFailed = lambda error: None) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._on_failed = on_failed

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``coroutine`` as a task, and log any exception it raises."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def keep(self, coroutine: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Run ``coroutine`` until it is cancelled; it must not end before.

        :param what: what it does, for the log.
        """
        task = self.start(coroutine)
        task.add_done_callback(lambda done: self._lost(done, what))
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("unexpected error", exc_info=task.exception())

    def _lost(self, task: asyncio.Task[None], what: str) -> None:
        if task.cancelled():
            return
        error = task.exception() or RuntimeError(f"{what} has ended")
        LOG.critical("%s is no longer kept up: %s", what, error)
        self._on_failed(error)

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


async def wait_until(event: asyncio.Event, timeout: float) -> None:
    """Return once an event is set, or after so many seconds."""
    try:
        async with async_timeout.timeout(timeout):
            await event.wait()
    except asyncio.TimeoutError:
        pass
