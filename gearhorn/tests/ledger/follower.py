# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A subscriber with a position, which writes down what its handler is given."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from gearhorn import FilePosition
from gearhorn.client.async_subscriber import AsyncSubscriber
from gearhorn.client.journal.following import Missed as Told
from gearhorn.client.message import Message
from gearhorn.tests.ledger.actor import FollowerPart, part
from gearhorn.tests.ledger.record import Life, Missed, Seen, Writer, digest_of, name_of, now

_MOST_WORK_S = 0.01


async def follow(part: FollowerPart) -> None:
    """Receive until SIGTERM, from the first message of each journal on."""
    writer = Writer(Path(part.record))
    writer.write(Life(at=now(), by=part.name, ends=False))

    def missed(told: Told) -> None:
        writer.write(
            Missed(
                at=now(),
                by=part.name,
                topic=told.topic,
                journal=told.journal,
                first=told.first,
                last=told.last,
                why=told.why,
            )
        )

    async def handle(message: Message) -> None:
        writer.write(
            Seen(
                at=now(),
                by=part.name,
                topic=message.topic,
                journal=message.journal,
                sequence=message.sequence or 0,
                message=name_of(message.payload),
                digest=digest_of(message.payload),
            )
        )
        # Some are killed with it in hand.
        await asyncio.sleep(random.uniform(0, _MOST_WORK_S))

    with FilePosition(part.positions) as position:
        subscriber = AsyncSubscriber(
            part.servers,
            part.name,
            # Its queue may be full: the journal has the rest.
            max_waiting=part.max_waiting,
            overflow="skip",
            renew=part.renew,
            drain_timeout=5.0,
            position=position,
            on_missed=missed,
            check_interval=part.check_interval,
        )
        for topic in part.topics:
            subscriber.on(topic, start="first")(handle)
        await subscriber.run()
    writer.write(Life(at=now(), by=part.name, ends=True))


if __name__ == "__main__":
    asyncio.run(follow(part(FollowerPart)))
