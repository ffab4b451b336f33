# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Redis Pub/Sub, which acknowledges and keeps nothing, through redis-py."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.client import PubSub

from benchmarks import servers
from benchmarks.contenders.base import Address, Contender, Publish, Receipts

_CHANNEL = "benchmark"
_WINDOW = 100
_WINDOW_BYTES = 4 << 20


class RedisPubSub(Contender):
    """A connection for each client_id, all in one event loop."""

    name = "Redis Pub/Sub"
    acknowledged = False
    modules = ("redis",)
    programs = ("redis-server",)
    max_subscribers = 1_000

    @contextlib.contextmanager
    def serving(self, client_ids: Sequence[str]) -> Iterator[Address]:
        # Otherwise a receiver that falls behind is cut off, and messages are lost.
        with servers.redis("--client-output-buffer-limit", "pubsub 0 0 0") as server:
            yield {"port": server.port}

    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        async def listen(subscription: PubSub) -> None:
            async for message in subscription.listen():
                if message["type"] == "message":
                    receipts.add()

        async def receive() -> None:
            redis = AsyncRedis(
                host="127.0.0.1", port=address["port"], max_connections=len(client_ids) + 1
            )
            subscriptions = [redis.pubsub() for _ in client_ids]
            for subscription in subscriptions:
                await subscription.subscribe(_CHANNEL)
                # The answer says that it is subscribed.
                await subscription.get_message(timeout=60)
            receipts.ready()
            await asyncio.gather(*map(listen, subscriptions))

        asyncio.run(receive())

    @contextlib.contextmanager
    def publishing(self, address: Address, client_ids: Sequence[str]) -> Iterator[Publish]:
        with Redis(host="127.0.0.1", port=address["port"]) as redis:

            def publish(payload: bytes, count: int, until: float) -> int:
                window = max(1, min(_WINDOW, _WINDOW_BYTES // len(payload)))
                for published in range(0, count, window):
                    if time.monotonic() > until:
                        return published
                    with redis.pipeline(transaction=False) as pipeline:
                        for _ in range(min(window, count - published)):
                            pipeline.publish(_CHANNEL, payload)
                        pipeline.execute()
                return count

            yield publish
