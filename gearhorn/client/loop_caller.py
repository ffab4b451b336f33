# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The caller of an object that is used on one event loop at a time, and in forked processes."""

import asyncio
import os
from collections.abc import Callable, Sequence

from gearhorn import errors
from gearhorn.client import forks
from gearhorn.client.caller import Caller
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.watch import Watch


class LoopCaller:
    """The caller of the event loop and the process that use it.

    It connects at its first use: on a loop, in a process that was forked, and on another
    loop once the first has ended.

    :param whose: the kind of object that it belongs to, for names and errors.
    :param max_bytes: the most bytes of an answer.
    :param on_made: called when there is a caller, or another one.
    """

    def __init__(
        self,
        whose: str,
        servers: Sequence[Address],
        settings: ConnectionSettings,
        max_bytes: int,
        on_made: Callable[[], object] = lambda: None,
    ) -> None:
        self._whose = whose
        self._servers = servers
        self._settings = settings
        self._max_bytes = max_bytes
        self._on_made = on_made
        self._caller: Caller | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        forks.tell(self)

    def _forked(self) -> None:
        """Leave the connections to the parent; the child makes its own."""
        if self._caller is not None:
            forks.leave(self._caller)
            self._caller = None

    def get(self) -> Caller:
        """Return the caller of the running loop.

        :raises Closed: it was closed.
        :raises WrongLoop: it is in use on another event loop, which still runs.
        """
        if self._is_closed:
            raise errors.Closed(f"the {self._whose} is closed")
        loop = asyncio.get_running_loop()
        if self._caller is not None and self._loop is not loop:
            # What the former loop had open ended with it.
            if self._loop is not None and self._loop.is_running():
                raise errors.WrongLoop(
                    f"this {self._whose} is in use on another event loop: make one for each loop"
                )
            self._caller = None
        if self._caller is None:
            self._loop = loop
            self._caller = Caller(
                f"gearhorn-{self._whose}-{os.getpid()}",
                self._settings,
                self._max_bytes,
                Watch(),
                self._settings.connect_timeout,
            )
            self._caller.connect(self._servers)
            self._on_made()
        return self._caller

    async def close(self) -> None:
        """Close the connections; requests that are still open fail."""
        self._is_closed = True
        if self._caller is not None and self._loop is asyncio.get_running_loop():
            await self._caller.close()
