# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Opening stores of journals, and appending to one topic as a daemon does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from gearhorn import errors
from gearhorn.store import open_journals
from gearhorn.store.journal import (
    Append,
    Appended,
    Entry,
    JournalLimits,
    Journals,
    Mark,
    Placed,
    Reading,
)
from gearhorn.tests.functional.store.stores import PREFIX

LIMITS = JournalLimits(max_messages=1000, max_bytes=1_000_000, max_age=3600.0)
TOPIC = "orders"

_numbers = itertools.count(1)


class NewJournals(Protocol):
    """Makes a daemon's view of the journals, still to be opened."""

    def __call__(self, worker_id: str = "one", **options: Any) -> Journals: ...


def make(url: str, key_prefix: str = PREFIX, *, worker_id: str = "one", **options: Any) -> Journals:
    """Journals, still to be opened."""
    options = {"timeout": 5.0, "max_topics": 100, "id_window": 60.0, **options}
    return open_journals(url, key_prefix=key_prefix, worker_id=worker_id, **options)


@contextlib.asynccontextmanager
async def opened(url: str, worker_id: str = "one", **options: Any) -> AsyncIterator[Journals]:
    journals = make(url, worker_id=worker_id, **options)
    try:
        await journals.open()
        yield journals
    finally:
        await journals.close()


def request(
    *entries: Entry | str,
    topic: str = TOPIC,
    limits: JournalLimits = LIMITS,
    number: int = 0,
    marks: Sequence[Mark] = (),
) -> Append:
    """An append with a number that no other has had. A text stands for an entry with it."""
    made = [Entry([entry.encode()]) if isinstance(entry, str) else entry for entry in entries]
    return Append(topic, number or next(_numbers), made, limits, marks)


async def send(journals: Journals, append: Append) -> Appended:
    """Append to one topic, and expect that it is done."""
    (answer,) = await journals.append([append])
    assert isinstance(answer, Appended), answer
    return answer


async def append(journals: Journals, *entries: Entry | str, **options: Any) -> Appended:
    return await send(journals, request(*entries, **options))


async def placed(journals: Journals, entry: Entry, **options: Any) -> Placed:
    """Append one entry, and return where it is."""
    (found,) = (await append(journals, entry, **options)).placed
    return found


async def read(
    journals: Journals,
    after: int = 0,
    journal: str | None = None,
    *,
    topic: str = TOPIC,
    limit: int = 1000,
    max_bytes: int = 1 << 20,
) -> Reading:
    return await journals.read(topic, after, journal, limit, max_bytes)


async def shown(journals: Journals, after: int = 0, topic: str = TOPIC) -> list[tuple[int, str]]:
    """Sequences and payloads."""
    found = await read(journals, after, topic=topic)
    return [(message.sequence, message.payload.decode()) for message in found.messages]


async def until_appended(journals: Journals, request: Append) -> Appended:
    """Repeat an append as a daemon does, until the store answers."""
    while True:
        try:
            return await send(journals, request)
        except (errors.StoreAway, errors.StoreFull):
            await asyncio.sleep(0.05)
