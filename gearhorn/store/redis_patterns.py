# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The patterns of topics with journals, in Redis: see :mod:`gearhorn.store.patterns`."""

import json
from collections.abc import Sequence
from typing import Any

from gearhorn.store import redis_replies
from gearhorn.store.patterns import Patterns, Written
from gearhorn.store.redis_calls import RedisCalls


class RedisPatterns(RedisCalls):
    """The part of a :class:`~gearhorn.store.redis.RedisStore` that is about patterns."""

    async def patterns(self) -> Patterns:
        return _read(await self._checked("patterns"))

    async def _write_patterns(
        self, patterns: Sequence[str], journals: str, *, over: bool
    ) -> Written:
        text = json.dumps(list(patterns))
        reply = await self._numbered("write_patterns", text, journals, int(over))
        standing, ignorant, changes = reply
        return Written(_read(standing), ignorant, redis_replies.changes(changes))


def _read(reply: list[Any]) -> Patterns:
    version, text, journals, in_force = reply
    return Patterns(int(version), tuple(json.loads(text)), journals, bool(in_force))
