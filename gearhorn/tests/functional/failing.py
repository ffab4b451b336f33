# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Handlers that fail, for tests of what becomes of their messages."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gearhorn import Message
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.processes import eventually


class Failing:
    """A handler that raises so many times, for ever unless told, and then returns the text."""

    def __init__(
        self, times: float = float("inf"), error: Callable[[], BaseException] = ValueError
    ):
        self._left = times
        self._error = error
        self.called = threading.Event()
        self.seen: list[str] = []
        """The text of each call, in order."""

    def __call__(self, message: Message) -> str:
        self.seen.append(message.text)
        self.called.set()
        if self._left > 0:
            self._left -= 1
            raise self._error()
        return message.text


def held(topic: Topic, client_id: str = "bob") -> bool:
    """True while a subscriber holds a message."""
    return topic.server.admin.queue(topic.queue(client_id)).running == 1


def pausing(topic: Topic, handler: Failing) -> None:
    """Wait until the handler has failed, and its message is still held."""
    assert handler.called.wait(20)
    eventually(lambda: held(topic))
