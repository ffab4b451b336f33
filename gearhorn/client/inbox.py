# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages on their way from the event loop to the threads that handle them."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Takes items many at a time and hands them out one by one.

    One at a time, so that none waits behind one that takes long; and without
    a lock while there are some.

    :param on_empty: called in a thread that finds it empty, before it waits.
    """

    def __init__(self, on_empty: Callable[[], object]) -> None:
        self._items: deque[T] = deque()
        self._on_empty = on_empty
        self._condition = threading.Condition()
        self._idle = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Iterable[T]) -> None:
        """Add items; of many, one call wakes as many threads as there is work for."""
        self._items.extend(items)
        if self._idle:
            with self._condition:
                self._condition.notify(len(self._items))

    def forked(self) -> None:
        """Hand out nothing in a process that was forked: it is the parent's."""
        self._items = deque()
        self._condition = threading.Condition()
        self._closed = True

    def close(self) -> None:
        """Let :meth:`get` return ``None`` once all has been handed out."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def get(self) -> T | None:
        """The next item, waiting for it; ``None`` if there will be none."""
        while True:
            try:
                return self._items.popleft()
            except IndexError:
                self._on_empty()
            with self._condition:
                # Counted before it looks, so that an item put meanwhile is
                # either seen here or announced.
                self._idle += 1
                try:
                    if not self._items:
                        if self._closed:
                            return None
                        self._condition.wait()
                finally:
                    self._idle -= 1
