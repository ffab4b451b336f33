# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Follows journals as a reader, from where its own record ends, and writes down what it reads."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from gearhorn import AsyncReader
from gearhorn.client.journal.actions import GAP, TRIMMED
from gearhorn.client.journal.entries import Entry
from gearhorn.tests.ledger.actor import Part, part
from gearhorn.tests.ledger.record import (
    AnyEntry,
    Life,
    Missed,
    Seen,
    Writer,
    digest_of,
    entries_of,
    name_of,
    now,
)


class Topic:
    """What is read of one topic."""

    def __init__(self, part: Part, topic: str, writer: Writer) -> None:
        self._part = part
        self._topic = topic
        self._writer = writer
        self._journal: str | None = None
        self._after = 0

    def remember(self, entry: AnyEntry) -> None:
        """Take what was written down in a life before."""
        if isinstance(entry, Seen) and entry.topic == self._topic:
            self._journal, self._after = entry.journal, entry.sequence

    async def run(self) -> None:
        """Read for ever."""
        async with AsyncReader(
            self._part.servers, self._topic, after=self._after, journal=self._journal, follow=True
        ) as reader:
            async for entry in reader:
                self._write(entry)

    def _write(self, entry: Entry) -> None:
        after = self._after if entry.journal == self._journal else 0
        if entry.gap or entry.trimmed:
            self._writer.write(
                Missed(
                    at=now(),
                    by=self._part.name,
                    topic=self._topic,
                    journal=entry.journal,
                    first=after + 1,
                    last=entry.sequence - 1,
                    why=TRIMMED if entry.trimmed else GAP,
                )
            )
        self._journal, self._after = entry.journal, entry.sequence
        self._writer.write(
            Seen(
                at=now(),
                by=self._part.name,
                topic=self._topic,
                journal=entry.journal,
                sequence=entry.sequence,
                message=name_of(entry.payload),
                digest=digest_of(entry.payload),
            )
        )


async def read(part: Part) -> None:
    """Read until SIGTERM."""
    path = Path(part.record)
    writer = Writer(path)
    topics = [Topic(part, topic, writer) for topic in part.topics]
    for entry in entries_of(path):
        for topic in topics:
            topic.remember(entry)
    writer.write(Life(at=now(), by=part.name, ends=False))
    reading = asyncio.gather(*[topic.run() for topic in topics])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, reading.cancel)
    try:
        await reading
    except asyncio.CancelledError:
        writer.write(Life(at=now(), by=part.name, ends=True))


if __name__ == "__main__":
    asyncio.run(read(part(Part)))
