# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The common part of the ledger's programs: their command lines, and their start."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from gearhorn.tests.processes import Process

SomePart = TypeVar("SomePart", bound="Part")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a program, which it gets on its command line."""

    name: str
    record: str
    """The file that it appends to."""
    servers: list[str]
    topics: list[str]


class PublisherPart(Part, frozen=True, kw_only=True):
    """A publisher's. Times are in seconds."""

    pause: float
    """The mean pause between two messages of a topic."""
    foreground: float
    """The share of its messages that wait for their receivers."""
    patience: float
    """The time that a report may take."""
    timeout: float | None = None
    """The time that receivers have to answer, if it is another."""
    batches: float = 0.1
    """The share of its turns in which it publishes many messages at once."""
    retries: int = 0
    """How often a message without an answer is published again with the same ``id``."""


class SubscriberPart(Part, frozen=True, kw_only=True):
    """A subscriber's: it receives for all these client_ids in all topics."""

    client_ids: list[str]


class FollowerPart(Part, frozen=True, kw_only=True):
    """That of a subscriber with a position. Times are in seconds."""

    positions: str
    """The directory of its positions."""
    max_waiting: int
    check_interval: float
    renew: float


class RegistrarPart(Part, frozen=True, kw_only=True):
    """A registrar's. Times are in seconds."""

    standing: list[str]
    """client_ids that are registered at the start, in every topic, and stay."""
    passing: list[str]
    """client_ids that come and go."""
    at_once: int
    """The number of those that are registered at a time, in a topic."""
    ttl: float | None
    """The time that a registration lasts, if it has an end; some have none."""
    renew: float | None
    """The time after which those without an end are registered again, as by the client library."""
    pause: float
    """The mean pause between two requests of a topic."""
    patience: float
    """The time that an answer may take."""


class Actor(Process):
    """A program of the ledger, ``gearhorn.tests.ledger.<module>``."""

    def __init__(self, module: str, part: Part) -> None:
        super().__init__()
        self.program = module  # type: ignore[misc]
        self._module = module
        self._part = part

    def command(self) -> Sequence[str]:
        return [
            sys.executable,
            "-m",
            f"gearhorn.tests.ledger.{self._module}",
            msgspec.json.encode(self._part).decode(),
        ]

    def is_ready(self) -> bool:
        # Nobody waits for it: whether it works is what the ledger is about.
        return True


def part(kind: type[SomePart]) -> SomePart:
    """Return the settings on this program's command line."""
    return msgspec.json.decode(sys.argv[1], type=kind)
