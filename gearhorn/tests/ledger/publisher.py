# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Publishes to each topic, one message after the other, and writes down how it went."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
from pathlib import Path

from gearhorn import errors
from gearhorn.client.async_publisher import AsyncPublisher
from gearhorn.messages import QUEUE_FULL
from gearhorn.tests.ledger.actor import PublisherPart, part
from gearhorn.tests.ledger.record import Acknowledged, Attempt, Unanswered, Writer, digest_of, now

_SIZES = (0, 20, 200, 2_000, 20_000)
_MOST_AT_ONCE = 20


class Publisher:
    """One run of the program."""

    def __init__(self, part: PublisherPart) -> None:
        self._part = part
        self._writer = Writer(Path(part.record))
        # Each start has message ids of its own.
        self._prefix = f"{part.name}.{os.urandom(4).hex()}"
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Publish until SIGTERM."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        async with AsyncPublisher(self._part.servers, timeout=self._part.patience) as publisher:
            await asyncio.gather(*[self._serve(publisher, topic) for topic in self._part.topics])

    async def _serve(self, publisher: AsyncPublisher, topic: str) -> None:
        while not self._stopping.is_set():
            await self._take_turn(publisher, topic)
            pause = random.uniform(0, 2 * self._part.pause)
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
            except asyncio.TimeoutError:
                pass

    async def _take_turn(self, publisher: AsyncPublisher, topic: str) -> None:
        if random.random() >= self._part.batches:
            # Every byte value, so that whatever cuts or converts is seen.
            data = os.urandom(random.choice(_SIZES))
            background = random.random() >= self._part.foreground
            await self._publish(publisher, topic, data, background, self._part.retries)
            return
        # The library sends those in one request that wait for another to be answered, if they
        # are text. They have one id together, so each alone would be another message.
        many = [
            os.urandom(random.choice(_SIZES) // 2).hex().encode()
            for _ in range(random.randint(2, _MOST_AT_ONCE))
        ]
        batch = f"{self._prefix}.{next(self._numbers)}"
        await asyncio.gather(
            *[self._publish(publisher, topic, data, True, 0, batch) for data in many]
        )

    async def _publish(
        self,
        publisher: AsyncPublisher,
        topic: str,
        data: bytes,
        background: bool,
        retries: int,
        batch: str = "",
    ) -> None:
        name = self._part.name
        message = f"{self._prefix}.{next(self._numbers)}"
        payload = message.encode() + b"\n" + data
        given_id = message if retries else None
        self._writer.write(
            Attempt(
                at=now(),
                by=name,
                message=message,
                topic=topic,
                digest=digest_of(payload),
                background=background,
            )
        )
        while True:
            try:
                report = await publisher.publish(
                    topic,
                    payload,
                    background=background,
                    id=given_id,
                    timeout=None if background else self._part.timeout,
                )
                break
            except errors.PartialFailure as error:
                report = error.report
                break
            except errors.GearhornError as error:
                refused = isinstance(error, errors.RequestError)
                if retries > 0 and not refused and not self._stopping.is_set():
                    retries -= 1
                    continue
                reason = f"{type(error).__name__}: {error}"
                self._writer.write(
                    Unanswered(at=now(), by=name, message=message, reason=reason, refused=refused)
                )
                return
        skipped = report.skipped or 0
        said = (report.delivered or 0) + (report.queued or 0) + (report.failed_count or 0) + skipped
        self._writer.write(
            Acknowledged(
                at=now(),
                by=name,
                message=message,
                failed=sorted(report.failed),
                full=sorted(who for who, why in report.failed.items() if why == QUEUE_FULL),
                skipped=skipped,
                batch=batch,
                subscribers=report.subscribers,
                unsaid=report.subscribers - said,
                journal=report.journal or None,
                sequence=report.sequence or 0,
            )
        )


if __name__ == "__main__":
    asyncio.run(Publisher(part(PublisherPart)).run())
