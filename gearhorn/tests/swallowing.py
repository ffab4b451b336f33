# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Addresses that swallow what they are sent."""

from __future__ import annotations

import contextlib
import socket

from gearhorn.tests.closing import Closing


class Swallowing(Closing):
    """A port that answers to nothing, not even with a refusal, as a host that is gone."""

    def __init__(self, host: str = "127.0.0.2", port: int = 0) -> None:
        self._listener = socket.socket()
        self._listener.bind((host, port))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._held: list[socket.socket] = []
        # Its queue of connections is full from here on: what asks for one is not answered.
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect((host, self.port))
            self._held.append(one)

    def close(self) -> None:
        for one in (self._listener, *self._held):
            one.close()
