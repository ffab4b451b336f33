# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ: a fanout exchange and a queue for each client_id, through pika."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.contenders.base import Address, Contender, Publish, Receipts
from benchmarks.processes import directory, free_port, installed, running

_EXCHANGE = "benchmark"
_WINDOW = 500
_WINDOW_BYTES = 4 << 20
# Debian's rabbitmq-server in the PATH runs this as another user, in a directory of its own.
_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
# With this the server replaces the shell, and a signal ends it.
_RUN_DIRECTLY = {"RUNNING_UNDER_SYSTEMD": "true"}


class RabbitMQ(Contender):
    """Publisher confirms, and each delivery acknowledged on its own. Nothing is on disk."""

    name = "RabbitMQ"
    modules = ("pika",)
    programs = ("rabbitmq-server", "epmd")
    max_subscribers = 1_000

    @contextlib.contextmanager
    def serving(self, client_ids: Sequence[str]) -> Iterator[Address]:
        with _node() as port:
            _declare(port, client_ids)
            yield {"port": port}

    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        import pika

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            channel.basic_ack(method.delivery_tag)
            receipts.add()

        def on_channel(channel: Any) -> None:
            for client_id in client_ids:
                channel.basic_consume(client_id, on_message)
            receipts.ready()

        connection = pika.SelectConnection(
            _parameters(address["port"]),
            on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel),
        )
        connection.ioloop.start()

    @contextlib.contextmanager
    def publishing(self, address: Address, client_ids: Sequence[str]) -> Iterator[Publish]:
        loop = asyncio.new_event_loop()
        publisher = _Publisher(loop, address["port"])
        loop.run_until_complete(publisher.opened)
        try:
            yield lambda payload, count, until: loop.run_until_complete(
                publisher.publish(payload, count, until)
            )
        finally:
            publisher.close()
            loop.run_until_complete(publisher.closed)
            loop.close()


class _Publisher:
    """A publisher with confirms, many under way at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int) -> None:
        from pika.adapters.asyncio_connection import AsyncioConnection

        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._unconfirmed: dict[int, None] = {}
        self._tag = 0
        self._confirmed = asyncio.Event()
        self._channel: Any = None
        self._connection = AsyncioConnection(
            _parameters(port),
            on_open_callback=lambda connection: connection.channel(
                on_open_callback=self._on_channel
            ),
            on_close_callback=lambda connection, reason: self.closed.set_result(None),
            custom_ioloop=loop,
        )

    async def publish(self, payload: bytes, count: int, until: float) -> int:
        window = max(1, min(_WINDOW, _WINDOW_BYTES // len(payload)))
        published = 0
        while published < count and time.monotonic() < until:
            self._tag += 1
            self._unconfirmed[self._tag] = None
            self._channel.basic_publish(_EXCHANGE, "", payload)
            published += 1
            await self._wait_for_fewer_than(window)
        await self._wait_for_fewer_than(1)
        return published

    def close(self) -> None:
        self._connection.close()

    async def _wait_for_fewer_than(self, count: int) -> None:
        while len(self._unconfirmed) >= count:
            self._confirmed.clear()
            await self._confirmed.wait()

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self.opened.set_result(None))

    def _on_confirm(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        if frame.method.multiple:
            for each in [each for each in self._unconfirmed if each <= tag]:
                del self._unconfirmed[each]
        else:
            del self._unconfirmed[tag]
        self._confirmed.set()


def _parameters(port: int) -> Any:
    import pika

    return pika.ConnectionParameters("127.0.0.1", port, heartbeat=0)


def _declare(port: int, client_ids: Sequence[str]) -> None:
    import pika

    connection = pika.BlockingConnection(_parameters(port))
    channel = connection.channel()
    channel.exchange_declare(_EXCHANGE, "fanout")
    for client_id in client_ids:
        channel.queue_declare(client_id)
        channel.queue_bind(client_id, _EXCHANGE)
    connection.close()


@contextlib.contextmanager
def _node() -> Iterator[int]:
    """Run a node with its own name, directory, cookie and port mapper; yield its port."""
    port, mapper_port = free_port(), free_port()
    with directory() as place:
        environment = {
            "HOME": str(place),
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"benchmark{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(place / "data"),
            "RABBITMQ_LOG_BASE": str(place / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(place / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(place / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(place / "environment"),
        }
        (place / "plugins").write_text("[].\n")
        (place / "environment").write_text("")
        mapper = [installed("epmd"), "-address", "127.0.0.1", "-port", str(mapper_port)]
        with (
            running(mapper, place / "mapper.log", name="rabbitmq-server"),
            running([_server()], place / "node.log", environment | _RUN_DIRECTLY) as node,
        ):
            node.wait_until(_accepts(port))
            yield port


def _server() -> str:
    return _SERVER if os.access(_SERVER, os.X_OK) else installed("rabbitmq-server")


def _accepts(port: int) -> Callable[[], bool]:
    """Return a check that the node takes connections, as it does later than its port opens."""
    import pika

    def accepts() -> bool:
        try:
            pika.BlockingConnection(_parameters(port)).close()
        except (pika.exceptions.AMQPError, OSError):
            time.sleep(0.2)
            return False
        return True

    return accepts
