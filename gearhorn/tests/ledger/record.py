# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The record of a run.

Each process appends to a file of its own, one line an entry, in one ``write`` that a SIGKILL
cannot tear. Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TypeAlias

import msgspec


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A line of the record: its time, and the process that wrote it."""

    at: float
    by: str


class Attempt(Entry, frozen=True, kw_only=True):
    """A publisher is about to publish."""

    message: str
    topic: str
    digest: str
    background: bool


class Acknowledged(Entry, frozen=True, kw_only=True):
    """A publisher was given the report of a message."""

    message: str
    failed: list[str]
    """The client_ids that the report names as failed."""
    full: list[str] = []
    """Those of them whose queues are full: they were sent no copy."""
    skipped: int = 0
    """Further copies that were not sent because queues are full."""
    batch: str = ""
    """The name of those that it was published with, of which ``skipped`` is exact in sum."""
    subscribers: int = 0
    unsaid: int = 0
    """The copies that are in none of the report's counts."""
    queued: bool = False
    """The job of ``fanout`` is queued, says the job server; no daemon has reported."""
    journal: str | None = None
    sequence: int = 0
    """The number of the message in its journal, if it has one."""


class Unanswered(Entry, frozen=True, kw_only=True):
    """A publisher was given no report: the message may arrive or not."""

    message: str
    reason: str
    refused: bool = False


class Receipt(Entry, frozen=True, kw_only=True):
    """A subscriber has a message, and is about to acknowledge it."""

    message: str
    topic: str
    client_id: str
    digest: str


class Life(Entry, frozen=True, kw_only=True):
    """A program that reads journals has started, or is about to end because it was asked to."""

    ends: bool


class Seen(Entry, frozen=True, kw_only=True):
    """A reader, or the handler of a subscriber with a position, has a message in hand."""

    topic: str
    journal: str | None
    sequence: int
    message: str
    digest: str


class Missed(Entry, frozen=True, kw_only=True):
    """A reader, or a subscriber with a position, was told that messages are gone."""

    topic: str
    journal: str
    first: int
    last: int
    why: str


class Contents(Entry, frozen=True, kw_only=True):
    """A journal as it stands in the store, from the message after ``after`` on."""

    topic: str
    journal: str
    after: int
    most: int
    """The most messages that the journal may hold."""
    messages: list[tuple[int, str, str]]
    """Sequence, message and digest of each."""


class Asked(Entry, frozen=True, kw_only=True):
    """A registrar is about to ask for a registration, or for a removal."""

    number: int
    topic: str
    client_id: str
    remove: bool
    ttl: float | None = None


class Answered(Entry, frozen=True, kw_only=True):
    """The registrar's request of that number was answered."""

    number: int


class NotAnswered(Entry, frozen=True, kw_only=True):
    """The registrar heard nothing: it may be done, now or later."""

    number: int
    reason: str
    refused: bool = False


class FaultBegan(Entry, frozen=True, kw_only=True):
    """Something was done to a process or to the network."""

    number: int
    kind: str
    target: str


class FaultEnded(Entry, frozen=True, kw_only=True):
    """The process runs again, the network is whole."""

    number: int


class Healed(Entry, frozen=True, kw_only=True):
    """The last fault of a round has ended."""

    round: int


class Recovered(Entry, frozen=True, kw_only=True):
    """Everything works again after a round; or the time for that is up."""

    round: int
    missing: list[str]
    """The things that do not work yet."""


class Forgot(Entry, frozen=True, kw_only=True):
    """Between ``began`` and ``at`` the store lost what was answered ``since``."""

    began: float
    since: float
    kind: str


class Named(Entry, frozen=True, kw_only=True):
    """A line of WARNING or above in the log of a daemon, and when it was logged."""

    text: str


class Stored(Entry, frozen=True, kw_only=True):
    """The content of the store, read between ``began`` and ``at``."""

    began: float
    members: dict[str, list[str]]


class Ended(Entry, frozen=True, kw_only=True):
    """A process ended that nobody had ended, or said what it should never have to."""

    process: str
    reason: str


AnyEntry: TypeAlias = (
    Attempt
    | Acknowledged
    | Unanswered
    | Receipt
    | Life
    | Seen
    | Missed
    | Contents
    | Asked
    | Answered
    | NotAnswered
    | FaultBegan
    | FaultEnded
    | Healed
    | Recovered
    | Forgot
    | Named
    | Stored
    | Ended
)

_decode = msgspec.json.Decoder(AnyEntry).decode


def name_of(payload: bytes) -> str:
    """The name of the message that has this payload."""
    return payload.partition(b"\n")[0].decode("utf-8", "replace")


def digest_of(payload: bytes) -> str:
    return hashlib.sha1(payload).hexdigest()


def now() -> float:
    """The time as it is written down."""
    return time.monotonic()


class Writer:
    """Appends to a file; in any thread."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, entry: AnyEntry) -> None:
        """Write an entry down; when this returns, a crash of the writer does not undo it."""
        os.write(self._file, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        os.close(self._file)


class Reader:
    """Reads all files of a record, while they grow."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offsets: dict[Path, int] = {}

    def new(self) -> list[AnyEntry]:
        """Return the entries since the last call, in the order of time."""
        entries: list[AnyEntry] = []
        for path in self._directory.glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)
            entries.extend(map(_decode, whole.splitlines()))
        return sorted(entries, key=lambda entry: entry.at)


def entries_of(path: Path) -> list[AnyEntry]:
    """All entries of one file."""
    return [*map(_decode, path.read_bytes().splitlines())]


def read(directory: Path) -> list[AnyEntry]:
    """All entries of a record, in the order of time."""
    return Reader(directory).new()
