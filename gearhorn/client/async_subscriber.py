# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The subscriber for asyncio programs."""

import asyncio
import contextlib
import inspect
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any

from gearhorn.client.message import EXITS, Message, encode_result
from gearhorn.client.reception import Reception
from gearhorn.client.retries import failed
from gearhorn.client.signals import stop_on_signals
from gearhorn.client.subscriber_base import SubscriberBase
from gearhorn.wire.grabber import Job

_TURN_S = 0.01
"""Seconds for which handlers that do not wait may keep the loop to themselves."""


class _Worker(asyncio.Task[None]):
    """A task that knows whether it was cancelled itself, and not what it awaits."""

    is_cancelled = False

    def cancel(self, msg: Any | None = None) -> bool:
        self.is_cancelled = True
        return super().cancel(msg)


class AsyncSubscriber(SubscriberBase):
    """A subscriber for asyncio programs, with handlers in :meth:`run` or by iteration.

    Handlers are coroutine functions, of which ``concurrency`` run at a time, or plain
    functions, which must not block. Iterating over the subscriber (``async for``)
    yields messages, each to be answered by :meth:`Message.ack` or
    :meth:`Message.fail`. A subscriber serves once, and in one process: the copy in a
    process that was forked meanwhile raises :class:`~gearhorn.errors.Closed`. The
    parameters are those of
    :class:`~gearhorn.client.subscriber_base.SubscriberBase`.
    """

    def _set_up(self) -> None:
        self._jobs: deque[Job] = deque()
        self._arrived = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._settled = False
        self._exit: BaseException | None = None
        """What a handler raised to end the program."""

    async def run(self) -> None:
        """Receive and handle messages until :meth:`stop` or a signal.

        SIGTERM and SIGINT stop it, and all other subscribers of the process, if one of
        them runs in the main thread. It then fetches no more messages, finishes those in
        hand within ``drain_timeout``, and unregisters if that was asked for. A handler
        that raises SystemExit or KeyboardInterrupt stops it as well, except that its
        message and those that no handler has begun go to a subscriber again.

        :raises SystemExit, KeyboardInterrupt: a handler raised it.
        :raises RequestError: a registration was refused; the class says why.
        :raises ConfigurationError: a topic has no handler.
        :raises Closed: the subscriber has served before.
        """
        self._check_handlers(expected=True)
        reception = self._start()
        workers = [
            _Worker(self._work(reception), loop=asyncio.get_running_loop())
            for _ in range(self._options.concurrency)
        ]
        try:
            with self._stop_on_signals():
                await self._stop_asked.wait()
                await self._settle(reception)
                await reception.drain(lambda: asyncio.wait(workers))
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await reception.close()
        if self._exit is not None:
            raise self._exit
        reception.raise_failure()

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Yield messages until :meth:`stop` or a signal.

        Messages that are not answered when the iteration ends go to a subscriber again.

        :raises RequestError: a registration was refused; the class says why.
        :raises ConfigurationError: a topic has a handler.
        :raises Closed: the subscriber has served before.
        """
        self._check_handlers(expected=False)
        reception = self._start()
        reception.count_kept = lambda: reception.held - len(self._jobs)
        stopping = asyncio.ensure_future(self._settle_when_asked(reception))
        try:
            with self._stop_on_signals():
                while True:
                    job = self._jobs.popleft() if self._jobs else await self._next(reception)
                    if job is None:
                        break
                    found = reception.message(job)
                    if found is not None:
                        handed_out = time.perf_counter()
                        message, _, _ = found
                        yield message
                        reception.pace.note(time.perf_counter() - handed_out)
        finally:
            stopping.cancel()
            await reception.close()
        reception.raise_failure()

    def stop(self) -> None:
        """Stop receiving. Handlers may call this; other threads must not."""
        self._stop_asked.set()

    def _stop_on_signals(self) -> AbstractContextManager[None]:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            # The loop may be another thread's, and may end meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self.stop)

        return stop_on_signals(stop)

    def _in_loop(self, callback: Callable[[], object]) -> None:
        callback()

    def _start(self) -> Reception:
        reception = self._new_reception(self._take, threaded=False)
        reception.ended_by.add_done_callback(lambda error: self.stop())
        return reception

    def _take(self, jobs: list[Job]) -> None:
        # After that no handler begins another.
        if self._exit is None:
            self._jobs.extend(jobs)
        self._arrived.set()

    async def _settle_when_asked(self, reception: Reception) -> None:
        await self._stop_asked.wait()
        await self._settle(reception)

    async def _work(self, reception: Reception) -> None:
        """Handle messages, one after the other; each worker is a task that runs this."""
        try:
            await self._handle(reception)
        except EXITS as error:
            # It would break the loop out of which run() is to raise it.
            self._exit = self._exit or error
            self._jobs.clear()
            self._arrived.set()
            self.stop()
        except Exception as error:
            reception.failed(error)

    async def _settle(self, reception: Reception) -> None:
        try:
            await reception.settle()
        except Exception as error:
            reception.failed(error)
        self._settled = True
        self._arrived.set()

    async def _next(self, reception: Reception) -> Job | None:
        while self._exit is None:
            if self._jobs:
                return self._jobs.popleft()
            if self._settled:
                return None
            reception.wake()
            self._arrived.clear()
            await self._arrived.wait()
        return None

    async def _handle(self, reception: Reception) -> None:
        worker = asyncio.current_task()
        turn_ends = time.perf_counter() + _TURN_S
        while (
            job := self._jobs.popleft() if self._jobs else await self._next(reception)
        ) is not None:
            found = reception.message(job)
            if found is None:
                continue
            message, handler, policy = found
            tries = 0
            while True:
                started = time.perf_counter()
                failure = None
                try:
                    result = handler(message)
                    if result is not None and inspect.isawaitable(result):
                        result = await result
                    message.settle(encode_result(result))
                except (Exception, asyncio.CancelledError) as error:
                    if isinstance(worker, _Worker) and worker.is_cancelled:
                        raise
                    tries += 1
                    failure = failed(message, policy, tries, error)
                ended = time.perf_counter()
                reception.pace.note(ended - started)
                if failure is None or not await reception.retries.again(failure):
                    break
            if ended > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.perf_counter() + _TURN_S
