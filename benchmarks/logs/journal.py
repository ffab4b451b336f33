# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The journal of a topic, in Redis."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

from benchmarks import servers, workload
from benchmarks.contenders.base import Address
from benchmarks.contenders.gearhorn import Gearhorn
from benchmarks.journaled import ALL_TOPICS
from benchmarks.logs.base import Log
from benchmarks.logs.redis_streams import ON_DISK


class Journal(Log):
    """A background fan-out of each message to nobody, and a ``Reader``."""

    name = "journal"
    contender = Gearhorn()
    keeper = "redis-server"

    @contextlib.contextmanager
    def serving(self, *, on_disk: bool) -> Iterator[Address]:
        with (
            servers.gearmand() as port,
            servers.redis(*(ON_DISK if on_disk else ())) as store,
            servers.daemon_beside([port], store.port, journal=ALL_TOPICS),
        ):
            yield {"port": port}

    def read(self, address: Address, messages: int) -> None:
        from gearhorn import Reader

        with Reader(f"127.0.0.1:{address['port']}", workload.TOPIC) as reader:
            for entry in itertools.islice(reader, messages):
                assert entry.payload
