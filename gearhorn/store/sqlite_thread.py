# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The thread of a connection to SQLite, which blocks and may be used in one thread only."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class OneThread:
    """A thread that calls functions one after the other."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, function: Callable[[], _T]) -> _T:
        """Call a function, and return its result.

        :raises RuntimeError: the thread has ended.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, function)

    def later(self, function: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Have a function called, unless the thread has ended, and do not wait for it."""
        with contextlib.suppress(RuntimeError):
            self._executor.submit(function, *args, **kwargs)

    async def end(self, function: Callable[[], object]) -> None:
        """Call a last function, which closes the connection. It may be called again."""
        with contextlib.suppress(sqlite3.Error, RuntimeError):
            await self.run(function)
        self._executor.shutdown(wait=False)
