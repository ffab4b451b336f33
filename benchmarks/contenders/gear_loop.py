# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The way without gearhorn: gear.Client.submitJob for each subscriber, in a loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from benchmarks import servers, workload
from benchmarks.contenders.base import Address, Contender, Publish, Receipts


class GearLoop(Contender):
    """The publisher knows its subscribers, and one gear.Worker receives for all of them."""

    name = "gear loop"
    modules = ("gear",)
    programs = ("gearmand",)

    @contextlib.contextmanager
    def serving(self, client_ids: Sequence[str]) -> Iterator[Address]:
        with servers.gearmand() as port:
            yield {"port": port}

    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        import gear

        worker = gear.Worker("benchmark")
        worker.addServer("127.0.0.1", address["port"])
        worker.waitForServer()
        for queue in workload.queues_of(client_ids):
            worker.registerFunction(queue)
        receipts.ready()
        while True:
            worker.getJob().sendWorkComplete()
            receipts.add()

    @contextlib.contextmanager
    def publishing(self, address: Address, client_ids: Sequence[str]) -> Iterator[Publish]:
        import gear

        queues = workload.queues_of(client_ids)
        client = gear.Client("benchmark")
        client.addServer("127.0.0.1", address["port"])
        client.waitForServer()

        def publish(payload: bytes, count: int, until: float) -> int:
            for published in range(count):
                if time.monotonic() > until:
                    return published
                for queue in queues:
                    client.submitJob(gear.Job(queue, payload), background=True)
            return count

        try:
            yield publish
        finally:
            client.shutdown()
