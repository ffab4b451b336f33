# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A client of Redis that runs the scripts, a few at a time, and translates errors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, TryAgainError

from gearhorn import clock, errors
from gearhorn.store import redis_scripts, redis_url
from gearhorn.store.redis_errors import TRANSLATED, translate

_CONNECTIONS = 16
"""The most calls that talk to Redis at a time; the others wait their turn."""


class RedisClient:
    """The connections to a server, and the scripts in it.

    :param url: as :mod:`gearhorn.store.redis_url` describes.
    :param key_prefix: the beginning of every key. In a cluster it is given a hash tag.
    :param timeout: seconds that connecting, and each answer, may take.
    :param on_connect: awaited with each new connection.
    :param decodes: whether answers are text, or else bytes.
    """

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str,
        timeout: float,
        on_connect: redis_url.OnConnect,
        decodes: bool = True,
    ) -> None:
        self.connections = redis_url.Connections(
            url, key_prefix=key_prefix, timeout=timeout, on_connect=on_connect, decodes=decodes
        )
        self.redis = Redis(connection_pool=self.connections.pool)
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    async def run(self, name: str, keys: Sequence[str], *arguments: str | bytes | int) -> Any:
        """Run a script, by its hash if the server has it already."""
        text = redis_scripts.SCRIPTS[name]
        evalsha: Any = self.redis.evalsha
        evaluate: Any = self.redis.eval
        async with self.talking():
            try:
                return await evalsha(redis_scripts.digest_of(text), len(keys), *keys, *arguments)
            except NoScriptError:
                # Not loaded by itself first: in a cluster that may go to another node.
                return await evaluate(text, len(keys), *keys, *arguments)

    @contextlib.asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        """Wait for a turn, and translate errors."""
        async with self._slots:
            begun = clock.now()
            try:
                yield
            except TRANSLATED as error:
                fault = translate(error)
                # While a slot is moved, the node is the right one.
                if isinstance(fault, errors.StoreAway) and not isinstance(error, TryAgainError):
                    await self.connections.drop_idle(begun)
                raise fault from error
