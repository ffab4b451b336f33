# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A stream of JetStream, and an ordered consumer, which acknowledges nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from benchmarks.contenders.base import Address
from benchmarks.contenders.nats import STREAM, SUBJECT, JetStream, NatsCore, connect
from benchmarks.logs.base import Log


class JetStreamLog(Log):
    """Many messages under way, each acknowledged once the stream has it."""

    name = "JetStream"
    contender = JetStream()
    keeper = "nats-server"

    @contextlib.contextmanager
    def serving(self, *, on_disk: bool) -> Iterator[Address]:
        with NatsCore().serving(()) as address:
            asyncio.run(self._add_stream(address, on_disk))
            yield address

    def read(self, address: Address, messages: int) -> None:
        asyncio.run(self._read(address, messages))

    async def _add_stream(self, address: Address, on_disk: bool) -> None:
        from nats.js.api import StorageType

        client = await connect(address)
        await client.jetstream().add_stream(
            name=STREAM,
            subjects=[SUBJECT],
            storage=StorageType.FILE if on_disk else StorageType.MEMORY,
        )
        await client.close()

    async def _read(self, address: Address, messages: int) -> None:
        client = await connect(address)
        subscription = await client.jetstream().subscribe(
            SUBJECT,
            stream=STREAM,
            ordered_consumer=True,
            pending_msgs_limit=-1,
            pending_bytes_limit=-1,
        )
        for _ in range(messages):
            await subscription.next_msg()
        await client.close()
