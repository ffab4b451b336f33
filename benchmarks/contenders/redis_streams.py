# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Redis Streams, a consumer group for each client_id, through redis-py. Nothing is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from benchmarks import servers
from benchmarks.contenders.base import Address, Contender, Publish, Receipts

STREAM = "benchmark"
_CONSUMER = "consumer"
_AT_ONCE = 100
_WINDOW = 100
_WINDOW_BYTES = 4 << 20
_GROUPS_A_READ = 100


class _RedisStreams(Contender):
    """The base of both ways: one stream, and its groups."""

    modules = ("redis",)
    programs = ("redis-server",)

    @contextlib.contextmanager
    def serving(self, client_ids: Sequence[str]) -> Iterator[Address]:
        with servers.redis() as server:
            with Redis(host="127.0.0.1", port=server.port) as redis:
                for client_id in client_ids:
                    redis.xgroup_create(STREAM, client_id, mkstream=True)
            yield {"port": server.port}

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
                            pipeline.xadd(STREAM, {"payload": payload})
                        pipeline.execute()
                return count

            yield publish


class RedisStreamsEach(_RedisStreams):
    """A connection and a blocking read for each client_id."""

    name = "Streams-each"
    max_subscribers = 1_000

    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        async def consume(redis: AsyncRedis, group: str) -> None:
            while True:
                reply = await redis.xreadgroup(
                    group, _CONSUMER, {STREAM: ">"}, count=_AT_ONCE, block=60_000
                )
                for ids in _ids(reply):
                    await redis.xack(STREAM, group, *ids)
                    receipts.add(len(ids))

        async def receive() -> None:
            clients = [
                AsyncRedis(host="127.0.0.1", port=address["port"], single_connection_client=True)
                for _ in client_ids
            ]
            for client in clients:
                await client.ping()
            receipts.ready()
            await asyncio.gather(
                *[consume(client, group) for client, group in zip(clients, client_ids, strict=True)]
            )

        asyncio.run(receive())


class RedisStreamsBatched(_RedisStreams):
    """All groups read in batches over one connection, which waits in between."""

    name = "Streams-batched"

    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        with Redis(host="127.0.0.1", port=address["port"]) as redis:
            seen: Any = "$"
            receipts.ready()
            while True:
                # Until a round finds none: messages may come while others are read.
                received = 1
                while received:
                    received = 0
                    for start in range(0, len(client_ids), _GROUPS_A_READ):
                        groups = client_ids[start : start + _GROUPS_A_READ]
                        count, seen = self._read(redis, groups, seen)
                        received += count
                        if count:
                            receipts.add(count)
                redis.xread({STREAM: seen}, count=1, block=10 if seen == "$" else 60_000)

    def _read(self, redis: Redis, groups: Sequence[str], seen: Any) -> tuple[int, Any]:
        """Read and acknowledge the entries of these groups; return their number and the last id."""
        with redis.pipeline(transaction=False) as reads:
            for group in groups:
                reads.xreadgroup(group, _CONSUMER, {STREAM: ">"}, count=_AT_ONCE)
            replies = reads.execute()
        count = 0
        with redis.pipeline(transaction=False) as acknowledgements:
            for group, reply in zip(groups, replies, strict=True):
                for ids in _ids(reply):
                    acknowledgements.xack(STREAM, group, *ids)
                    count += len(ids)
                    seen = ids[-1]
            if count:
                acknowledgements.execute()
        return count, seen


def _ids(reply: Any) -> Iterator[list[bytes]]:
    """Yield the ids of the entries in an answer to XREADGROUP, stream by stream.

    The answer is a dictionary or a list of pairs, by the version of redis-py and its protocol.
    """
    for _, entries in reply.items() if isinstance(reply, dict) else reply or ():
        if entries and isinstance(entries[0], list) and isinstance(entries[0][0], (list, tuple)):
            entries = entries[0]
        if entries:
            yield [entry[0] for entry in entries]
