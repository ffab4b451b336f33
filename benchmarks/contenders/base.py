# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The interface of a contender: a server, receivers of many client_ids, a publisher."""

from __future__ import annotations

import abc
import importlib.util
import mmap
import pathlib
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, TypeAlias

from benchmarks.processes import PACKAGES, find

Address: TypeAlias = dict[str, Any]
"""The place of the servers, which can be written as JSON."""

Publish: TypeAlias = Callable[[bytes, int, float], int]
"""Publishes a payload so many times, and returns the number once all are accepted.

The last argument is the time, on time.monotonic(), at which to stop early.
"""


class Contender(abc.ABC):
    """A way to get one message to many subscribers, each of whom acknowledges it."""

    name: ClassVar[str]
    modules: ClassVar[Sequence[str]] = ()
    programs: ClassVar[Sequence[str]] = ()
    acknowledged: ClassVar[bool] = True
    """True if a receiver acknowledges each message, so that none is lost where nobody listens."""
    max_subscribers: ClassVar[int] = 10_000
    """The most subscribers; with more, setting up takes minutes or is refused."""

    def missing(self) -> str | None:
        """Return a sentence about a missing module or program, if there is one."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"the Python module {module} is missing"
        for program in self.programs:
            if find(program) is None:
                return f"{program} (package {PACKAGES[program]}) is missing"
        return None

    @abc.abstractmethod
    def serving(self, client_ids: Sequence[str]) -> AbstractContextManager[Address]:
        """Run the servers, with all that must be set up before receivers start."""

    @abc.abstractmethod
    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        """Receive and acknowledge for ever, for all client_ids, in this process."""

    @abc.abstractmethod
    def publishing(
        self, address: Address, client_ids: Sequence[str]
    ) -> AbstractContextManager[Publish]:
        """Connect a publisher, and yield its function to publish."""


class Receipts:
    """The number of acknowledged deliveries, for another process to see.

    It stands in a shared page, as a pipe would cost both sides far more.
    """

    _layout = struct.Struct("dq")

    def __init__(self, path: pathlib.Path) -> None:
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), self._layout.size)
        self._count = 0

    @classmethod
    def create(cls, path: pathlib.Path) -> Receipts:
        path.write_bytes(cls._layout.pack(0.0, -1))
        return cls(path)

    def ready(self) -> None:
        """Record that all client_ids have subscribed."""
        self.add(0)

    def add(self, count: int = 1) -> None:
        """Count so many more acknowledged deliveries."""
        self._count += count
        self._layout.pack_into(self._page, 0, time.monotonic(), self._count)

    def read(self) -> tuple[float, int]:
        """Return the time of the last one, on time.monotonic(), and the number; -1 until ready."""
        return self._layout.unpack_from(self._page)
