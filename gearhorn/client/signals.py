# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Stopping on signals."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call ``stop`` at the first signal; a second one has its former effect.

    This works in the main thread only, as others cannot handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)
        former.clear()

    def on_signal(number: int, frame: FrameType | None) -> None:
        restore()
        stop()

    for number in STOP_SIGNALS:
        former[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()
