# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A job that a server assigned, which its holder answers."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from gearhorn.wire import framing
from gearhorn.wire.connection import Connection


class Keeper(Protocol):
    """The keeper of jobs: it counts them, and knows which may still be answered."""

    def release(self, job: "Job") -> bool:
        """Stop holding ``job``; return true if it was held and can be answered."""

    def drop_data(self, job: "Job") -> None:
        """Hold ``job`` without its data, and make use of the room."""

    def set_aside(self, job: "Job") -> None:
        """Hold ``job`` outside the window, and make use of its place."""

    def take_up(self, job: "Job") -> None:
        """Hold ``job``, which was set aside, in the window again."""


class Job(msgspec.Struct, eq=False):
    """A job that a server assigned, bound to the connection it came on.

    Every job is to be answered once, by :meth:`complete` or :meth:`fail`. If its
    connection is lost, the answer goes nowhere: the server gives the job to a
    worker again.
    """

    _keeper: Keeper
    connection: Connection
    handle: bytes
    function: bytes
    unique: bytes
    data: bytes
    oversize: bool
    """True if the job was too large, and ``data`` may be only a part of it."""
    taken: float = 0.0
    """The time at which it came, on :func:`gearhorn.clock.now`."""
    _on_abandoned: Callable[[], object] | None = None

    def hold(self, on_abandoned: Callable[[], object]) -> None:
        """Take the job over from its holder.

        :param on_abandoned: called if the connection is lost before the answer: the
            job is somebody else's then.
        """
        self._on_abandoned = on_abandoned

    def abandon(self) -> None:
        """Tell the holder that the connection is lost."""
        if self._on_abandoned is not None:
            self._on_abandoned()
        self.let_go()

    def let_go(self) -> None:
        """Forget the holder.

        Otherwise job and callback would hold each other, and the message, until
        Python looks for reference cycles.
        """
        self._on_abandoned = None

    def drop_data(self) -> None:
        """Release the data before the job is answered: it is no longer needed."""
        self._keeper.drop_data(self)

    def set_aside(self) -> None:
        """Hold the job outside the window: it keeps no other from being taken."""
        self._keeper.set_aside(self)

    def take_up(self) -> None:
        """Hold the job in the window again, also where that has no room."""
        self._keeper.take_up(self)

    @property
    def holder(self) -> Any:
        """The object whose method :meth:`hold` was given last, if it has not let go."""
        return getattr(self._on_abandoned, "__self__", None)

    def complete(self, data: bytes) -> None:
        """End the job with WORK_COMPLETE."""
        if self._keeper.release(self):
            handle = self.handle
            self.connection.write(
                framing.header(framing.WORK_COMPLETE, len(handle) + 1 + len(data))
                + handle
                + b"\0"
                + data
            )

    def fail(self, data: bytes | None = None) -> None:
        """End the job with WORK_FAIL, after a WORK_WARNING that carries ``data``."""
        if self._keeper.release(self):
            if data is not None:
                self.connection.write(framing.pack(framing.WORK_WARNING, self.handle, data))
            self.connection.write(framing.pack(framing.WORK_FAIL, self.handle))

    def progress(self, done: int, total: int) -> None:
        """Send WORK_STATUS, unless the connection is congested."""
        if not self.connection.congested:
            self.connection.write(
                framing.pack(
                    framing.WORK_STATUS,
                    self.handle,
                    b"%d" % done,
                    b"%d" % total,
                )
            )
