# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A thread that handles the log records of the library's event loops, and may wait.

A handler of the program's can take long, and can even publish what it is given.
In the thread of an event loop it would hold up everything, or wait for itself
for ever: so the loop's records are handled in another thread, in their order.
"""

import logging
import os
import queue
import threading

_OTHERS = ("asyncio", "concurrent.futures", "py.warnings")
"""The loggers of Python that may have records of these threads."""

FLUSH_S = 1.0
"""The time, in seconds, that handlers get for the records left at the end."""

_Item = tuple[logging.Logger, logging.LogRecord] | threading.Event


class _LogThread:
    def __init__(self) -> None:
        self._records: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loops: set[threading.Thread] = set()
        self._lock = threading.Lock()
        """Held while a loop is added."""

    def add(self, loop: threading.Thread) -> None:
        with self._lock:
            self._loops = {thread for thread in self._loops if thread.is_alive()} | {loop}
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gearhorn log", daemon=True)
                self._thread.start()
            for logger in _loggers():
                if self not in logger.filters:
                    # First, so that those of the program see each record once.
                    logger.filters.insert(0, self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Queue a record that a loop's thread made, and let all others pass."""
        if threading.current_thread() not in self._loops:
            return True
        self._records.put((logging.getLogger(record.name), record))
        return False

    def flush(self) -> None:
        if self._thread is None or threading.current_thread() is self._thread:
            return
        done = threading.Event()
        self._records.put(done)
        done.wait(FLUSH_S)

    def _work(self) -> None:
        while True:
            item = self._records.get()
            if isinstance(item, threading.Event):
                item.set()
            else:
                logger, record = item
                logger.handle(record)


_log_thread = _LogThread()


def _loggers() -> list[logging.Logger]:
    # Each of them, as a filter of a logger sees the records of that logger alone.
    own = [name for name in list(logging.root.manager.loggerDict) if name.startswith("gearhorn.")]
    return [logging.getLogger(name) for name in ("gearhorn", *own, *_OTHERS)]


def log_elsewhere(loop: threading.Thread) -> None:
    """Handle the records of the thread ``loop`` in another thread."""
    _log_thread.add(loop)


def flush() -> None:
    """Wait until earlier records have been handled, for a second at most."""
    _log_thread.flush()


def _forked() -> None:
    global _log_thread
    former, _log_thread = _log_thread, _LogThread()
    for logger in _loggers():
        logger.removeFilter(former)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
