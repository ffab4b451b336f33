# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The physical limit: bare sockets through gearmand that do only what it demands."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks import bare, servers, workload
from benchmarks.contenders.base import Address, Contender, Publish, Receipts
from benchmarks.packets import SUBMIT_JOB, Connection, packet, run_jobs, submit
from benchmarks.processes import directory, running

_BLOCK = 500
_BLOCK_BYTES = 1 << 20
_TOKEN = b"?" * len(workload.new_token())


class Bare(Contender):
    """Copies submitted straight to the queues, in blocks, each answered before the next.

    The copies are ready-made, except the token in their uniques.
    """

    name = "bare sockets"
    programs = ("gearmand",)

    @contextlib.contextmanager
    def serving(self, client_ids: Sequence[str]) -> Iterator[Address]:
        with servers.gearmand() as port:
            yield {"port": port}

    def receive(self, address: Address, client_ids: Sequence[str], receipts: Receipts) -> None:
        bare.receive_for_ever(
            address["port"],
            workload.queues_of(client_ids),
            on_ready=receipts.ready,
            on_receipts=receipts.add,
        )

    @contextlib.contextmanager
    def publishing(self, address: Address, client_ids: Sequence[str]) -> Iterator[Publish]:
        names = workload.queues_of(client_ids)
        with Connection(address["port"]) as client:

            def publish(payload: bytes, count: int, until: float) -> int:
                size = max(1, min(_BLOCK, _BLOCK_BYTES // len(payload)))
                at_once = max(1, size // len(names))
                copies = workload.background_copies(names, payload, _TOKEN)
                blocks = [copies[start : start + size] for start in range(0, len(copies), size)]
                ready_made = [(b"".join(block), len(block)) for block in blocks]
                for published in range(0, count, at_once):
                    if time.monotonic() > until:
                        return published
                    messages = min(at_once, count - published)
                    for block, jobs in ready_made:
                        # With the same token gearmand would coalesce them.
                        fresh = [
                            block.replace(_TOKEN, workload.new_token()) for _ in range(messages)
                        ]
                        submit(client, b"".join(fresh), jobs * messages)
                return count

            yield publish


class TwoHops(Bare):
    """A job to a bare relay, which submits the copies: the two hops of any fan-out."""

    name = "two bare hops"

    @contextlib.contextmanager
    def serving(self, client_ids: Sequence[str]) -> Iterator[Address]:
        with servers.gearmand() as port, directory() as place:
            log = place / "log"
            command = [sys.executable, "-m", "benchmarks.bare", str(port), "relay"]
            names = b"\n".join(workload.queues_of(client_ids))
            with running(command, log, given=names, name="relay") as process:
                process.wait_until(lambda: log.read_bytes().startswith(b"ready\n"))
                yield {"port": port}

    @contextlib.contextmanager
    def publishing(self, address: Address, client_ids: Sequence[str]) -> Iterator[Publish]:
        with Connection(address["port"]) as client:

            def publish(payload: bytes, count: int, until: float) -> int:
                run_jobs(client, [packet(SUBMIT_JOB, workload.FANOUT, b"", payload)] * count)
                return count

            yield publish
