# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A program on a terminal, with somebody who types and reads."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence

from gearhorn.tests.closing import Closing

_MOST_SHOWN = 3000


class Terminal(Closing):
    """A program on a terminal of its own, which ends with the block."""

    def __init__(self, call: Sequence[str], environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._seen = ""
        self.process = subprocess.Popen(
            call,
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)

    def write(self, keys: str) -> None:
        """Type something, and look only at what comes then."""
        self._seen = ""
        os.write(self._ours, keys.encode())

    def until(self, text: str, timeout_s: float = 30.0) -> None:
        """Wait until a text is shown."""
        deadline = time.monotonic() + timeout_s
        while text not in self._seen:
            assert time.monotonic() < deadline, self._seen[-_MOST_SHOWN:]
            if select.select([self._ours], [], [], 0.1)[0]:
                self._seen += os.read(self._ours, 65536).decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
