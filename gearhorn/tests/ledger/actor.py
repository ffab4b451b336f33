# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the programs of the ledger have in common: how they are told what to do, and started."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from gearhorn.tests.processes import Process

SomePart = TypeVar("SomePart", bound="Part")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a program is told on its command line."""

    name: str
    record: str
    """The file that it appends to."""
    servers: list[str]
    topics: list[str]


class PublisherPart(Part, frozen=True, kw_only=True):
    """A publisher's. Times are in seconds."""

    pause: float
    """How long it rests between two messages of a topic, on the average."""
    foreground: float
    """The share of its messages that wait for their receivers."""
    patience: float
    """How long a report may take."""


class SubscriberPart(Part, frozen=True, kw_only=True):
    """A subscriber's: it receives for all these client_ids in all topics."""

    client_ids: list[str]


class RegistrarPart(Part, frozen=True, kw_only=True):
    """A registrar's. Times are in seconds."""

    standing: list[str]
    """client_ids that are registered at the start, in every topic, and stay."""
    passing: list[str]
    """client_ids that come and go."""
    at_once: int
    """How many of those are registered at a time, in a topic."""
    ttl: float
    """How long the registrations last that have an end."""
    pause: float
    """How long it rests between two requests of a topic, on the average."""
    patience: float
    """How long an answer may take."""


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
    """What this program was told."""
    return msgspec.json.decode(sys.argv[1], type=kind)
