# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What ends, in Redis: see :mod:`gearhorn.store.endings`."""

import itertools
import math
from collections.abc import Iterator, Sequence

from gearhorn.store.endings import Ended, Taken
from gearhorn.store.redis_calls import RedisCalls

_CHUNK = 500
"""The queues that one script is told of: half a millisecond of Redis."""

_IDLE_PAGE = 1000


class RedisEndings(RedisCalls):
    """The part of a :class:`~gearhorn.store.redis.RedisStore` that is about what ends."""

    async def ended(self, after: str, limit: int) -> Sequence[Ended]:
        found: list[Ended] = []
        while len(found) < limit:
            last, *flat = await self._checked("ended", after, limit - len(found))
            for i in range(0, len(flat), 3):
                topic, client_id = flat[i + 1].split("\0")
                found.append(Ended(flat[i], topic, client_id, max(0, int(flat[i + 2])) / 1000))
            if not last:
                break
            after = last
        return found

    async def discardable(self, queues: Sequence[str], age: float) -> Sequence[str]:
        found: list[str] = []
        for chunk in _chunks(queues):
            found += await self._checked("discardable", math.ceil(age * 1000), *chunk)
        return found

    async def take(
        self, queue: str, token: str, *, length: float, age: float, held: str = ""
    ) -> Taken:
        length_ms, age_ms = math.ceil(length * 1000), math.ceil(age * 1000)
        taken, *ignorant = await self._checked(
            "take", queue, token, length_ms, age_ms, held, topics=[self._matchmaking]
        )
        return Taken(bool(taken), ignorant)

    async def release(self, queue: str, token: str) -> None:
        await self._checked("release", queue, token)

    async def unserved(self, queues: Sequence[str], remove_idle: float) -> None:
        for chunk in _chunks(queues):
            await self._checked("unserved", math.ceil(remove_idle * 1000), *chunk)

    async def served(self, queues: Sequence[str]) -> None:
        for chunk in _chunks(queues):
            await self._checked("served", *chunk)

    async def idle(self) -> Sequence[str]:
        found: set[str] = set()
        cursor = "0"
        while True:
            cursor, flat = await self._checked("idle", cursor, _IDLE_PAGE)
            found.update(queue for queue in flat[::2] if queue)
            if cursor == "0":
                return list(found)

    async def looked(self, limit: int) -> Sequence[str]:
        found: Sequence[str] = await self._checked("looked", limit)
        return found


def _chunks(queues: Sequence[str]) -> Iterator[Sequence[str]]:
    rest = iter(queues)
    while chunk := list(itertools.islice(rest, _CHUNK)):
        yield chunk
