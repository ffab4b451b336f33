# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A log of what a careless client could cause by the thousand."""

import asyncio
import logging
from collections.abc import Callable

LOG = logging.getLogger(__name__)

LINES = 3
"""The lines of each code that are logged in a period; further ones are counted."""

PERIOD_S = 60.0
"""The length of a period, in seconds. It begins with its first line."""


class LimitedLog:
    """A log of lines with a code, of which a few are written in each period."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        """The lines of the period, written or not, by code."""

    def log(
        self,
        level: int,
        code: str,
        make_line: Callable[[], str],
        error: BaseException | None = None,
    ) -> None:
        """Write the line with the traceback of ``error``, or count it.

        :param make_line: called only if the line is written.
        """
        lines = self._lines.get(code, 0)
        if not lines:
            asyncio.get_running_loop().call_later(PERIOD_S, self._end_period, code)
        self._lines[code] = lines + 1
        if lines < LINES:
            LOG.log(level, "%s: %s", code, make_line(), exc_info=error)

    def _end_period(self, code: str) -> None:
        omitted = self._lines.pop(code, 0) - LINES
        if omitted > 0:
            LOG.warning("%s: %d more in the last %g seconds", code, omitted, PERIOD_S)

    def close(self) -> None:
        """Write the counts of the periods that have not ended."""
        for code in tuple(self._lines):
            self._end_period(code)
