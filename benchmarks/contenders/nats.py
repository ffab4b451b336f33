# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""NATS: core, which acknowledges nothing, and JetStream with acks, through nats-py."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from benchmarks.contenders.base import Address, Contender, Publish, Receipts
from benchmarks.processes import directory, free_port, installed, running

SUBJECT = "benchmark"
STREAM = "BENCHMARK"
_WINDOW_BYTES = 4 << 20
_UNACKNOWLEDGED = 20_000
# Without max_pending a receiver of many client_ids is cut off as slow, and messages are lost.
_CONFIGURATION = """\
listen: "127.0.0.1:{port}"
max_payload: 8MB
max_pending: 2GB
write_deadline: "60s"
jetstream: {{store_dir: "{directory}/jetstream"}}
"""


class NatsCore(Contender):
    """A subscription for each client_id, over one connection. Nothing is acknowledged."""

    name = "NATS core"
    acknowledged = False
    modules = ("nats",)
    programs = ("nats-server",)

    @contextlib.contextmanager
    def serving(self, client_ids: Sequence[str]) -> Iterator[Address]:
        port = free_port()
        with directory() as place:
            configuration = place / "nats.conf"
            configuration.write_text(_CONFIGURATION.format(port=port, directory=place))
            command = [installed("nats-server"), "--config", str(configuration)]
            with running(command, place / "log") as process:
                process.wait_for_port(port)
                yield {"port": port}

    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        async def receive() -> None:
            client = await connect(address)
            await self._subscribe(client, client_ids, receipts)
            await client.flush()
            receipts.ready()
            await asyncio.Event().wait()

        asyncio.run(receive())

    @contextlib.contextmanager
    def publishing(self, address: Address, client_ids: Sequence[str]) -> Iterator[Publish]:
        loop = asyncio.new_event_loop()
        client = loop.run_until_complete(connect(address))
        publish = self._publisher(client)
        try:
            yield lambda *arguments: loop.run_until_complete(publish(*arguments))
        finally:
            loop.run_until_complete(client.close())
            loop.close()

    async def _subscribe(self, client: Any, client_ids: Sequence[str], receipts: Receipts) -> None:
        async def on_message(message: Any) -> None:
            receipts.add()

        for _ in client_ids:
            await client.subscribe(
                SUBJECT, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1
            )

    def _publisher(self, client: Any) -> Callable[[bytes, int, float], Awaitable[int]]:
        async def publish(payload: bytes, count: int, until: float) -> int:
            for published in range(count):
                if time.monotonic() > until:
                    return published
                await client.publish(SUBJECT, payload)
                # flush() is a round trip, after which all messages have been taken.
                if published % 100 == 99:
                    await client.flush()
            await client.flush()
            return count

        return publish


class JetStream(NatsCore):
    """A stream on disk, a durable consumer for each client_id, each message acknowledged."""

    name = "JetStream"
    acknowledged = True
    max_subscribers = 1_000

    @contextlib.contextmanager
    def serving(self, client_ids: Sequence[str]) -> Iterator[Address]:
        with super().serving(client_ids) as address:
            asyncio.run(self._add_stream(address))
            yield address

    async def _add_stream(self, address: Address) -> None:
        client = await connect(address)
        await client.jetstream().add_stream(name=STREAM, subjects=[SUBJECT])
        await client.close()

    async def _subscribe(self, client: Any, client_ids: Sequence[str], receipts: Receipts) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig

        async def on_message(message: Any) -> None:
            await message.ack()
            receipts.add()

        context = client.jetstream()
        for client_id in client_ids:
            await context.subscribe(
                SUBJECT,
                stream=STREAM,
                durable=client_id,
                cb=on_message,
                manual_ack=True,
                config=ConsumerConfig(
                    ack_policy=AckPolicy.EXPLICIT, max_ack_pending=_UNACKNOWLEDGED
                ),
                pending_msgs_limit=-1,
                pending_bytes_limit=-1,
            )

    def _publisher(self, client: Any) -> Callable[[bytes, int, float], Awaitable[int]]:
        async def publish(payload: bytes, count: int, until: float) -> int:
            window = max(1, min(500, _WINDOW_BYTES // len(payload)))
            context = client.jetstream(publish_async_max_pending=window)
            published = 0
            while published < count and time.monotonic() < until:
                await context.publish_async(SUBJECT, payload)
                published += 1
            await context.publish_async_completed()
            return published

        return publish


async def connect(address: Address) -> Any:
    import nats

    return await nats.connect(f"nats://127.0.0.1:{address['port']}", pending_size=64 << 20)
