# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Receives in its queues, and writes down what came before it answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gearhorn.client.async_subscriber import AsyncSubscriber
from gearhorn.tests.ledger.actor import SubscriberPart, part
from gearhorn.tests.ledger.record import Receipt, Writer, digest_of, name_of, now


async def receive(part: SubscriberPart) -> None:
    """Receive until SIGTERM."""
    writer = Writer(Path(part.record))
    # Who is registered is the registrar's business.
    subscriber = AsyncSubscriber(part.servers, register=False, drain_timeout=5.0)
    for topic in part.topics:
        for client_id in part.client_ids:
            subscriber.on(topic, client_id=client_id)
    async for message in subscriber:
        writer.write(
            Receipt(
                at=now(),
                by=part.name,
                message=name_of(message.payload),
                topic=message.topic,
                client_id=message.client_id,
                digest=digest_of(message.payload),
            )
        )
        message.ack()


if __name__ == "__main__":
    asyncio.run(receive(part(SubscriberPart)))
