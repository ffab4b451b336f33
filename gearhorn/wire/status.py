# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The answer to a job server's command "status", read in pieces; no I/O.

It has a line for each function: its name, the jobs that wait or run, those that run,
and the workers that do the function, with tabs between. A line with only a dot ends it.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

COMMAND = b"status\n"

Line = tuple[bytes, bytes, bytes, bytes]
"""A function's name and its three numbers, as they were sent."""


class QueueState(NamedTuple):
    """The state of a function on a job server.

    ``total`` counts the jobs that wait and those that run.
    """

    total: int
    running: int
    workers: int


class StatusReader:
    """A reader of one answer.

    :param beginning: what the names of the functions in question begin with. A list of
        all of many takes a while to read.
    """

    def __init__(self, beginning: Collection[str] = ()) -> None:
        names = b"|".join(re.escape(name.encode()) for name in beginning)
        wanted = b"(?=%s)" % names if names else b""
        # The name is as long as it can be: it may hold anything but a line break.
        self._lines = re.compile(
            rb"^%s(.*)\t *(\d+)\t *(\d+)\t *(\d+)\r?$" % wanted, re.MULTILINE
        ).findall
        self._rest = b""
        self.ended = False
        """True once the line that ends the answer has come."""

    def feed(self, data: bytes) -> Sequence[Line]:
        """Return the lines that ``data`` completes."""
        whole, line_break, self._rest = (self._rest + data).rpartition(b"\n")
        if not line_break:
            return ()
        # The last line ends the answer, and nothing else is asked on the connection.
        self.ended = whole.rpartition(b"\n")[2] in (b".", b".\r")
        found: Sequence[Line] = self._lines(whole)
        return found
