# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""An event loop in a thread of its own, for programs that have none."""

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from gearhorn import errors
from gearhorn.client import forks, log_thread

T = TypeVar("T")

_CLOSED = "it was closed before"

_here = threading.local()
"""``loop_thread`` is the LoopThread whose thread this is, if it is one's."""


class LoopThread:
    """A thread that runs an event loop from its first use until it is stopped.

    A process that was forked starts another one at its first use.

    :param name: the name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._waits_for: LoopThread | None = None
        """The one for which a callback in this thread waits."""
        forks.tell(self)

    def _forked(self) -> None:
        """Forget the thread, which only the parent has."""
        self._lock = threading.Lock()
        self._waits_for = None
        if getattr(_here, "loop_thread", None) is self:
            _here.loop_thread = None
        if not self._stopped:
            self._loop = self._thread = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` in the loop, wait for it, and return its result.

        :raises Closed: the loop has been stopped, perhaps meanwhile, or the program is at its
            end.
        :raises WrongThread: the loop itself would wait, for ever.
        """
        try:
            self.check_thread()
            if sys.is_finalizing():
                raise errors.Closed("the program is at its end, and its threads with it")
            with self._lock:
                # Whatever is handed over before the end is run before it.
                if self._stopped:
                    raise errors.Closed(_CLOSED)
                future = asyncio.run_coroutine_threadsafe(coroutine, self._started())
        except errors.GearhornError:
            coroutine.close()
            raise
        try:
            with self.waited_for():
                return future.result()
        except CancelledError:
            # The loop gave it up at its end.
            if self._stopped:
                raise errors.Closed(_CLOSED) from None
            raise
        except BaseException:
            # KeyboardInterrupt, for one, may come while waiting.
            future.cancel()
            raise

    @contextlib.contextmanager
    def waited_for(self) -> Iterator[None]:
        """Wait for the loop in this block.

        :raises WrongThread: the loop itself would wait, for ever.
        """
        here: LoopThread | None = getattr(_here, "loop_thread", None)
        if here is None:
            yield
            return
        # Before the check: of two that begin to wait for each other one sees the other.
        here._waits_for = self
        try:
            self.check_thread()
            yield
        finally:
            here._waits_for = None

    def check_thread(self) -> None:
        """Refuse to wait for the loop in its own thread.

        :raises WrongThread: the caller is in that thread, or in that of a loop for which
            this one waits.
        """
        here: LoopThread | None = getattr(_here, "loop_thread", None)
        if here is None:
            return
        other: LoopThread | None = self
        while other is not None and other is not here:
            other = other._waits_for
        if other is here:
            raise errors.WrongThread(
                f"this was called in the thread of the {here._name} itself, which would wait for "
                "itself: do it in another thread, or with an object of its own"
            )

    def call_soon(self, callback: Callable[[], object]) -> bool:
        """Call ``callback`` in the loop, and return false if that has been stopped.

        Any thread or signal handler may call this.
        """
        # Without the lock, which the thread that a signal interrupts may hold.
        loop = self._loop
        if loop is None:
            loop = self.loop
        try:
            loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return False
        return True

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop. It is started if need be."""
        with self._lock:
            return self._started()

    def stop(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``last``, then end the loop and the thread, if they were started.

        :raises WrongThread: the loop itself would wait for its end.
        """
        self.check_thread()
        if sys.is_finalizing():
            # A generator that is collected at the end. Nobody could run `last` any more.
            return
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            loop, thread = self._loop, self._thread
            if loop is None or thread is None or not thread.is_alive():
                return
            ending = asyncio.run_coroutine_threadsafe(last(), loop)
        try:
            with self.waited_for():
                ending.result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            log_thread.flush()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            # A program that forgets to close is not kept from ending.
            self._thread = threading.Thread(
                target=self._serve, args=(loop,), name=self._name, daemon=True
            )
            log_thread.log_elsewhere(self._thread)
            self._thread.start()
            self._loop = loop
        return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        _here.loop_thread = self
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            # Whoever still waits for something is told that it was given up.
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            loop.close()
