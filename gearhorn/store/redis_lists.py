# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The lists of several topics in one call of Redis.

A call costs the daemon and Redis many times what the list of a small topic does.
"""

from collections.abc import Mapping, Sequence

from redis.exceptions import TryAgainError

from gearhorn import errors
from gearhorn.messages import Limits
from gearhorn.store.base import LONGEST, Members
from gearhorn.store.redis_calls import RedisCalls


class RedisLists(RedisCalls):
    """The part of a :class:`~gearhorn.store.redis.RedisStore` that reads several lists at once."""

    async def lists(self, topics: Sequence[str], reader: str) -> Mapping[str, Members]:
        asked = [topic for topic in topics if topic != self._matchmaking]
        try:
            renewal, version, lists, brought = await self._checked(
                "lists", reader, LONGEST, *asked, topics=asked
            )
        except errors.StoreAway as error:
            # While their slot is moved, a call is refused for a topic without subscribers.
            if isinstance(error.__cause__, TryAgainError):
                return {}
            raise
        limits: dict[int, dict[str, Limits]] = {}
        for i in range(0, len(brought), 3):
            place, client_id, text = brought[i : i + 3]
            limits.setdefault(place, {})[client_id] = Limits.read(text)
        reader_known = renewal is not None and int(renewal) > 0
        return {
            topic: Members(
                text.split("\0") if text else [],
                reader_known,
                limits.get(place, {}),
                int(version or 0),
            )
            for place, (topic, text) in enumerate(zip(asked, lists, strict=True))
            if text is not None
        }
