# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The interface of a log: servers that keep messages, a publisher, and a reader that comes late."""

from __future__ import annotations

import abc
from contextlib import AbstractContextManager
from typing import ClassVar

from benchmarks.contenders.base import Address, Contender, Publish


class Log(abc.ABC):
    """A way to keep messages for whoever comes late."""

    name: ClassVar[str]
    contender: ClassVar[Contender]
    """Whose publisher is used, and whose servers are needed."""
    keeper: ClassVar[str]
    """The program that has the messages."""

    def missing(self) -> str | None:
        """Return a sentence about a missing module or program, if there is one."""
        return self.contender.missing()

    @abc.abstractmethod
    def serving(self, *, on_disk: bool) -> AbstractContextManager[Address]:
        """Run the servers, with all that must be set up before a publisher comes.

        Messages stand in memory, or on disk as well, where they are synced some time later.
        """

    def publishing(self, address: Address) -> AbstractContextManager[Publish]:
        """Connect a publisher, and yield its function to publish."""
        return self.contender.publishing(address, ())

    @abc.abstractmethod
    def read(self, address: Address, messages: int) -> None:
        """Read so many messages, from the first on."""
