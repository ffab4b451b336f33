# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The library's subscribers, run by the tests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

from gearhorn import AsyncSubscriber, Subscriber, errors


class Running:
    """A subscriber of either kind that runs in a thread, with a loop if it needs one."""

    def __init__(self, subscriber: Subscriber | AsyncSubscriber) -> None:
        self._subscriber = subscriber
        self._loop = asyncio.new_event_loop()
        self.raised: BaseException | None = None
        """What ``run()`` raised, once it has ended."""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            if isinstance(self._subscriber, AsyncSubscriber):
                self._loop.run_until_complete(self._subscriber.run())
            else:
                self._subscriber.run()
        except BaseException as error:
            self.raised = error
        finally:
            self._loop.close()

    def call(self, change: Callable[[], object]) -> None:
        """Change what it receives, in the thread in which it may be changed."""
        if isinstance(self._subscriber, AsyncSubscriber):
            self._loop.call_soon_threadsafe(change)
        else:
            change()

    def stop(self) -> None:
        if isinstance(self._subscriber, AsyncSubscriber):
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._subscriber.stop)
        else:
            self._subscriber.stop()

    def join(self) -> None:
        """Wait for the end of ``run()``."""
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def running(subscriber: Subscriber | AsyncSubscriber) -> Iterator[Running]:
    """The subscriber runs in a thread until the end of the block."""
    running = Running(subscriber)
    try:
        yield running
    except BaseException as error:
        running.stop()
        running.join()
        if running.raised is not None:
            # Perhaps why the block failed.
            raise error from running.raised
        raise
    running.stop()
    running.join()
    if isinstance(running.raised, errors.GearhornError):
        raise running.raised
