# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The library's subscribers, run by the tests."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from gearhorn import Subscriber, errors


@contextlib.contextmanager
def running(subscriber: Subscriber) -> Iterator[None]:
    """The subscriber runs in a thread until the end of the block."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            subscriber.run()
        except errors.GearhornError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        subscriber.stop()
        thread.join(20)
        assert not thread.is_alive()
    if raised:
        raise raised[0]
