# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""gearhorn with its client library on both ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence

from benchmarks import servers, workload
from benchmarks.contenders.base import Address, Contender, Publish, Receipts
from benchmarks.packets import Connection

_WINDOW = 1_000
_WINDOW_BYTES = 4 << 20


class Gearhorn(Contender):
    """On asyncio: one publisher of background fan-outs, one subscriber for all client_ids."""

    name = "gearhorn"
    modules = ("gearhorn",)
    programs = ("gearmand", "redis-server")

    @contextlib.contextmanager
    def serving(self, client_ids: Sequence[str]) -> Iterator[Address]:
        with servers.gearmand() as port, servers.daemon(port):
            # Here and not in the receiver: all are to be subscribed when that is ready.
            with Connection(port) as client:
                workload.register(client, len(client_ids))
            yield {"port": port}

    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        from gearhorn import AsyncSubscriber

        async def receive() -> None:
            subscriber = AsyncSubscriber(_server(address), register=False)
            for client_id in client_ids:
                subscriber.on(workload.TOPIC, client_id=client_id)
            receipts.ready()
            async for message in subscriber:
                message.ack()
                receipts.add()

        asyncio.run(receive())

    @contextlib.contextmanager
    def publishing(self, address: Address, client_ids: Sequence[str]) -> Iterator[Publish]:
        from gearhorn import AsyncPublisher

        loop = asyncio.new_event_loop()
        publisher = AsyncPublisher(_server(address))

        async def publish(payload: bytes, count: int, until: float) -> int:
            reports = publisher.publish_many(
                _messages(payload, count, until), background=True, window=_window(payload)
            )
            return len([report async for report in reports])

        try:
            yield lambda *arguments: loop.run_until_complete(publish(*arguments))
        finally:
            loop.run_until_complete(publisher.close())
            loop.close()


class GearhornThreads(Gearhorn):
    """The same for programs with threads."""

    name = "gearhorn threads"

    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        from gearhorn import Subscriber

        subscriber = Subscriber(_server(address), register=False)
        for client_id in client_ids:
            subscriber.on(workload.TOPIC, client_id=client_id)
        receipts.ready()
        for message in subscriber:
            message.ack()
            receipts.add()

    @contextlib.contextmanager
    def publishing(self, address: Address, client_ids: Sequence[str]) -> Iterator[Publish]:
        from gearhorn import Publisher

        with Publisher(_server(address)) as publisher:

            def publish(payload: bytes, count: int, until: float) -> int:
                reports = publisher.publish_many(
                    _messages(payload, count, until), background=True, window=_window(payload)
                )
                return sum(1 for _ in reports)

            yield publish


def _server(address: Address) -> str:
    return f"127.0.0.1:{address['port']}"


def _window(payload: bytes) -> int:
    return max(1, min(_WINDOW, _WINDOW_BYTES // len(payload)))


def _messages(payload: bytes, count: int, until: float) -> Iterator[tuple[str, str]]:
    # As text, since bytes would be decoded anew for each message.
    message = (workload.TOPIC, payload.decode())
    return itertools.takewhile(lambda _: time.monotonic() < until, itertools.repeat(message, count))
