# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Signals that stop all the subscribers of a process."""

import asyncio
import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from gearhorn.client import forks

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_LoopHandler = tuple[asyncio.AbstractEventLoop, Callable[..., object], tuple[Any, ...]]


class _Signals:
    """The signal handlers while a subscriber runs in the main thread.

    The first stops every subscriber that runs in the process, in any thread and
    loop; the next does what it did before. What the program had set is put back
    when the last subscriber of the main thread has ended.
    """

    def __init__(self) -> None:
        self._stops: dict[int, Callable[[], object]] = {}
        self._numbers = itertools.count()
        self._of_main: set[int] = set()
        """The numbers of those that run in the main thread."""
        self._former: dict[signal.Signals, Any] = {}
        self._of_loop: dict[signal.Signals, _LoopHandler] = {}
        forks.tell(self)

    def _forked(self) -> None:
        """Restore the handlers in the child, which runs another program."""
        self._stops.clear()
        self._of_main.clear()
        # The loop is the parent's, and is not to be told.
        self._of_loop.clear()
        self._put_back()

    def add(self, stop: Callable[[], object]) -> int:
        """Call ``stop`` at the first signal, if one comes."""
        # In one step, as threads may do this at the same time.
        number = next(self._numbers)
        self._stops[number] = stop
        if _is_main_thread():
            self._of_main.add(number)
            self._take()
        return number

    def remove(self, number: int) -> None:
        """Stop calling ``stop``, as its subscriber has ended."""
        self._stops.pop(number, None)
        # It is not left in a process that was forked meanwhile.
        if number in self._of_main:
            self._of_main.discard(number)
            # An iteration can end in another thread, which may set no handlers.
            if not self._of_main and _is_main_thread():
                self._put_back()

    def _take(self) -> None:
        loop = asyncio._get_running_loop()
        for number in STOP_SIGNALS:
            # Taken before, and left as another thread may not put it back.
            if signal.getsignal(number) == self._on_signal:
                continue
            handle = getattr(loop, "_signal_handlers", {}).get(number)
            if loop is not None and handle is not None:
                # asyncio tells nobody what was set in it, and would call it beside ours.
                self._of_loop[number] = loop, handle._callback, handle._args
                loop.remove_signal_handler(number)
            self._former[number] = signal.signal(number, self._on_signal)

    def _put_back(self) -> None:
        for number, former in self._former.items():
            # Not over what the program has set meanwhile.
            if signal.getsignal(number) != self._on_signal:
                continue
            signal.signal(number, former)
            if number in self._of_loop:
                loop, callback, arguments = self._of_loop[number]
                if not loop.is_closed():
                    loop.add_signal_handler(number, callback, *arguments)
        self._former.clear()
        self._of_loop.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._put_back()
        stops = tuple(self._stops.values())
        for stop in stops:
            stop()
        if not stops:
            signal.raise_signal(number)


_signals = _Signals()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call ``stop`` at SIGTERM and SIGINT, while a subscriber runs in the main thread.

    :param stop: called in a signal handler, so it may do no more than leave word.
    """
    number = _signals.add(stop)
    try:
        yield
    finally:
        _signals.remove(number)
