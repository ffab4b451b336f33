# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""An event loop in a thread of its own, for programs that have none."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gearhorn import errors

T = TypeVar("T")


class LoopThread:
    """A thread that runs an event loop from its first use until it is stopped.

    :param name: the name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` in the loop, wait for it, and return its result.

        :raises Closed: the loop has been stopped.
        """
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:
            coroutine.close()
            raise errors.Closed("it was closed before") from None
        try:
            return future.result()
        except BaseException:
            # KeyboardInterrupt, for one, may come while waiting.
            future.cancel()
            raise

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` in the loop, unless the loop has been stopped.

        Any thread or signal handler may call this.
        """
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            pass

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop. It is started if need be."""
        loop = self._loop
        return self._start() if loop is None else loop

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``last``, then end the loop and the thread, if they were started."""
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                return
            self.run(last())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                # daemon=True: a program that forgets to close can still end.
                self._thread = threading.Thread(
                    target=self._serve, args=(loop,), name=self._name, daemon=True
                )
                self._thread.start()
                self._loop = loop
            return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()
