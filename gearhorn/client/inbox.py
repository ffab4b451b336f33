# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The inbox between the event loop and the threads that handle messages."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """A queue that takes many items at a time and hands them out one by one.

    One by one, so no item waits behind one that takes long. While there are items, no
    lock is taken.

    :param on_empty: called in a thread that finds the inbox empty, before it waits.
    """

    def __init__(self, on_empty: Callable[[], object]) -> None:
        self._items: deque[T] = deque()
        self._on_empty = on_empty
        self._condition = threading.Condition()
        self._idle = 0
        self._closed = False
        self._discards = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Iterable[T]) -> None:
        """Add items, and wake as many idle threads as there are items."""
        if self._discards:
            return
        self._items.extend(items)
        if self._idle:
            with self._condition:
                self._condition.notify(len(self._items))

    def forked(self) -> None:
        """Hand out nothing more in a forked process: the messages are the parent's."""
        self._items = deque()
        self._condition = threading.Condition()
        self._closed = True

    def discard(self) -> None:
        """Hand out nothing more, neither what is there nor what comes."""
        self._discards = True
        self._items.clear()
        self.close()

    def close(self) -> None:
        """Make :meth:`get` return ``None`` once all items have been handed out."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def get(self) -> T | None:
        """Wait for the next item and return it; ``None`` if there will be none."""
        while True:
            try:
                return self._items.popleft()
            except IndexError:
                self._on_empty()
            with self._condition:
                # Counted before the look: an item that is put meanwhile is either seen
                # here or announced.
                self._idle += 1
                try:
                    if not self._items:
                        if self._closed:
                            return None
                        self._condition.wait()
                finally:
                    self._idle -= 1
