# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A Redis stream, by XADD and XREAD."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from redis import Redis

from benchmarks import servers
from benchmarks.contenders.base import Address
from benchmarks.contenders.redis_streams import STREAM, RedisStreamsBatched
from benchmarks.logs.base import Log

ON_DISK = ("--appendonly", "yes", "--appendfsync", "everysec")
"""Options of a Redis that writes to a file at once, and syncs that each second."""

_AT_ONCE = 1_000


class RedisStreamsLog(Log):
    """XADD a hundred at a time in a pipeline, and XREAD a thousand at a time."""

    name = "Redis stream"
    contender = RedisStreamsBatched()
    keeper = "redis-server"

    @contextlib.contextmanager
    def serving(self, *, on_disk: bool) -> Iterator[Address]:
        with servers.redis(*(ON_DISK if on_disk else ())) as server:
            yield {"port": server.port}

    def read(self, address: Address, messages: int) -> None:
        last: Any = "0"
        with Redis(host="127.0.0.1", port=address["port"]) as redis:
            while messages > 0:
                entries = _entries(redis.xread({STREAM: last}, count=_AT_ONCE))
                last = entries[-1][0]
                messages -= len(entries)


def _entries(reply: Any) -> Any:
    """Return the entries in an answer to XREAD of one stream.

    The answer is a dictionary or a list of pairs, by the version of redis-py and its protocol.
    """
    ((_, entries),) = reply.items() if isinstance(reply, dict) else reply
    return entries[0] if isinstance(entries[0][0], (list, tuple)) else entries
