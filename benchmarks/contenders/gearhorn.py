"""gearhorn with its client library on both ends."""

from __future__ import annotations

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
    """One Publisher, background fan-outs, and one Subscriber for all client_ids."""

    name = "gearhorn"
    what = "gearhorn.Publisher and gearhorn.Subscriber"
    modules = ("gearhorn",)
    programs = ("gearmand", "redis-server")

    @contextlib.contextmanager
    def serving(self, client_ids: Sequence[str]) -> Iterator[Address]:
        with servers.gearmand() as port, servers.daemon(port):
            # Here and not by the receiver, so that all are subscribed when it is ready.
            with Connection(port) as client:
                workload.register(client, len(client_ids))
            yield {"port": port}

    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        from gearhorn import Subscriber

        subscriber = Subscriber(f"127.0.0.1:{address['port']}", register=False)
        for client_id in client_ids:
            subscriber.on(workload.TOPIC, client_id=client_id)
        receipts.ready()
        for message in subscriber:
            message.ack()
            receipts.add()

    @contextlib.contextmanager
    def publishing(self, address: Address, client_ids: Sequence[str]) -> Iterator[Publish]:
        from gearhorn import Publisher

        with Publisher(f"127.0.0.1:{address['port']}") as publisher:

            def publish(payload: bytes, count: int, until: float) -> int:
                window = max(1, min(_WINDOW, _WINDOW_BYTES // len(payload)))
                # As text, which is what these payloads are: bytes would be sent as base64.
                text = payload.decode()
                messages = itertools.takewhile(
                    lambda _: time.monotonic() < until,
                    itertools.repeat((workload.TOPIC, text), count),
                )
                reports = publisher.publish_many(messages, background=True, window=window)
                return sum(1 for _ in reports)

            yield publish
