# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What every contender offers: a server, receivers of many client_ids, a publisher."""

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
"""Where the servers are; can be written as JSON."""

Publish: TypeAlias = Callable[[bytes, int, float], int]
"""Publishes a payload so many times and returns how often it did, once all are accepted.

The last argument is when, on time.monotonic(), to stop early.
"""


class Contender(abc.ABC):
    """A way to get one message to many subscribers, each of whom acknowledges it."""

    name: ClassVar[str]
    modules: ClassVar[Sequence[str]] = ()
    programs: ClassVar[Sequence[str]] = ()
    max_subscribers: ClassVar[int] = 10_000
    """Beyond which setting it up takes minutes, or it is refused."""

    def missing(self) -> str | None:
        """What has to be installed, if anything."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"the Python module {module} is missing"
        for program in self.programs:
            if find(program) is None:
                return f"{program} (package {PACKAGES[program]}) is missing"
        return None

    @abc.abstractmethod
    def serving(self, client_ids: Sequence[str]) -> AbstractContextManager[Address]:
        """The servers, with whatever must be set up before receivers start."""

    @abc.abstractmethod
    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        """Receive and acknowledge for ever, for all client_ids, in this process."""

    @abc.abstractmethod
    def publishing(
        self, address: Address, client_ids: Sequence[str]
    ) -> AbstractContextManager[Publish]:
        """A connected publisher."""


class Receipts:
    """How many deliveries have been acknowledged, for another process to see.

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
        """All client_ids have subscribed."""
        self.add(0)

    def add(self, count: int = 1) -> None:
        """So many more have been acknowledged."""
        self._count += count
        self._layout.pack_into(self._page, 0, time.monotonic(), self._count)

    def read(self) -> tuple[float, int]:
        """When the last one came, on time.monotonic(), and how many there are; -1 until ready."""
        return self._layout.unpack_from(self._page)
