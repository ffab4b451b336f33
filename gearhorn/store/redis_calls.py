# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""One call of a script: on the store that this is, as it is, and whole.

What a call finds wrong is mended here, or translated: a store that went back, one that
has lost a key, one that is away.
"""

import functools
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection

from gearhorn import clock, errors
from gearhorn.store import redis_replies, redis_scripts, redis_warnings
from gearhorn.store.base import Store
from gearhorn.store.numbers import NONCES, Told, WentBack, new_nonce
from gearhorn.store.redis_client import RedisClient
from gearhorn.store.redis_cluster import ReachedHolder

_PAGE = 2_000
"""The members of a set that are asked for at once.

A page stops the event loop for about 1 ms, with redis-py's own parser for
20 ms, and Redis for 1 ms. Each costs the way to Redis and back.
"""

_NEEDS = "\0needs"
"""The beginning of a reply that names topics, whose keys a script has to be given."""


class Page(NamedTuple):
    """A page of a topic's set, the reader's renewal number, limits by client_id, and the version
    of the patterns.

    Or of the unconfirmed changes, which have none of these.
    """

    rows: list[str]
    renewal: str | None
    limits: Mapping[str, str]
    patterns: int


class RedisCalls(Store):
    """The calls of a :class:`~gearhorn.store.redis.RedisStore`, and its connections.

    :param url: as :mod:`gearhorn.store.redis_url` describes.
    :param key_prefix: the beginning of every key.
    :param matchmaking_topic: the topic to which the daemons subscribe.
    :param timeout: seconds that connecting, and each answer, may take.
    :param worker_id: the daemon that calls; ``""`` if none does.
    """

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str,
        matchmaking_topic: str,
        timeout: float,
        worker_id: str = "",
    ) -> None:
        super().__init__(worker_id)
        self._worker_id = worker_id
        self._matchmaking = matchmaking_topic
        self._identity = ""
        self._run: str | None = None
        self._mended = 0
        self._client = RedisClient(
            url, key_prefix=key_prefix, timeout=timeout, on_connect=self._on_connect
        )
        self._connections = self._client.connections
        self._prefix = self._connections.key_prefix
        self._set_of = f"{self._prefix}topic:"
        self._limits_of = f"{self._prefix}limits:"
        # Else a slot that is being moved would have to be left alone until it has.
        self._lasting = int(self._connections.cluster is not None)
        self._all_keys = self._keys(redis_scripts.KEYS)

    def set_timeout(self, timeout: float) -> None:
        self._connections.set_timeout(timeout)

    def _keys(self, names: Iterable[str]) -> list[str]:
        return [self._prefix + name for name in names]

    def _source(self) -> tuple[object, ...]:
        """Return what changes when other sets may answer than before."""
        return self._run, self._identity, self._mended, self.numbers.epoch

    async def _numbered(
        self, name: str, *arguments: str | int, topics: Collection[str] = ()
    ) -> Any:
        """Run a script that gives numbers, and note the last one."""
        return await self._checked(name, *arguments, topics=topics, numbered=True)

    async def _checked(
        self,
        name: str,
        *arguments: str | int,
        topics: Collection[str] = (),
        numbered: bool = False,
    ) -> Any:
        """Run a script on the store that this is, as it is, and whole.

        :param topics: those whose keys it uses, as far as they are known.
        :param numbered: the reply is a number, or an array of a number and the result.
        """
        mended = False
        while True:
            told = self.numbers.now(self._identity)
            fault: errors.StoreError
            try:
                reply = await self._declaring(name, told, topics, *arguments)
            except (WentBack, errors.StoreIncomplete) as error:
                fault = error
            else:
                break
            # Not in the handler: oslo.log would add the exception to what is logged.
            if isinstance(fault, WentBack):
                await self._go_back(told)
            elif mended:
                raise fault
            else:
                await self._mend_loudly()
                mended = True
        if reply is None:
            raise _replaced()
        number = 0
        if numbered and isinstance(reply, list):
            number, reply = reply
        elif numbered and isinstance(reply, int):
            number = reply
        self.numbers.answered(told, number)
        return reply

    async def _declaring(
        self, name: str, told: Told, topics: Collection[str], *arguments: str | int
    ) -> Any:
        """Run a script with the keys of the topics, and of those that it turns out to need."""
        declared = set(topics)
        while True:
            keys = [*self._all_keys, *self._keys_of(declared)]
            reply = await self._script(name, keys, *self._own_arguments(told), *arguments)
            if not (isinstance(reply, list) and reply and reply[0] == _NEEDS):
                return reply
            declared.update(reply[1:])

    def _keys_of(self, topics: Iterable[str]) -> Iterator[str]:
        for topic in topics:
            yield self._set_of + topic
            # A daemon has no limits.
            if topic != self._matchmaking:
                yield self._limits_of + topic

    def _own_arguments(self, told: Told) -> Sequence[str | int]:
        """Return the ARGV of ``shared/store.lua``."""
        return (
            self._identity,
            self._matchmaking,
            self._set_of,
            self._limits_of,
            self._worker_id,
            told.own,
            told.least,
            f"{new_nonce():0{len(str(NONCES)) - 1}d}",
            self._lasting,
        )

    async def _mend_loudly(self) -> None:
        """Mend the store; say so too if no answer tells what was rebuilt."""
        fault: errors.StoreError
        try:
            await self.mend()
            return
        except errors.StoreError as error:
            fault = error
        # Not in the handler: oslo.log would add the exception to what is logged.
        redis_warnings.rebuilt_unseen()
        raise fault

    async def mend(self, *, strike_out: bool = False) -> Mapping[str, int]:
        told = self.numbers.now(self._identity)
        reply = await self._declaring("mend", told, [self._matchmaking], int(strike_out))
        if reply is None:
            raise _replaced()
        rebuilt = dict(redis_replies.pairs(reply))
        if rebuilt:
            self._mended += 1
            # Entries of daemons may be gone as well.
            self.run_changed_at = clock.now()
            # An operator is told by the command.
            if not strike_out:
                redis_warnings.rebuilt(rebuilt)
        return rebuilt

    async def _script(self, name: str, keys: list[str], *arguments: str | int) -> Any:
        return await self._client.run(name, keys, *arguments)

    async def _scan(self, reader: str, *topic: str) -> AsyncIterator[Page]:
        """Yield the pages of a topic's set, or, without a topic, of the unconfirmed changes."""
        cursor = "0"
        while True:
            cursor, rows, renewal, limits, patterns = await self._checked(
                "page", cursor, _PAGE, reader, *topic, topics=topic
            )
            yield Page(rows, renewal, redis_replies.strings(limits), int(patterns or 0))
            if cursor == "0":
                return

    async def _on_connect(self, connection: AbstractConnection) -> None:
        """Greet the server, and note how it runs."""
        await connection.on_connect()
        await connection.send_command("INFO")
        lines = str(await connection.read_response()).splitlines()
        pairs = (line.partition(":") for line in lines)
        note = functools.partial(self._note, {name: value for name, _, value in pairs})
        if isinstance(connection, ReachedHolder):
            # Another node may serve the keys by now.
            connection.on_answer = note
        else:
            note()

    def _note(self, info: Mapping[str, str]) -> None:
        """Note if another process answers than before, and if it throws away keys."""
        run = ":".join(str(info.get(name, "")) for name in ("run_id", "master_replid"))
        if run != self._run:
            if self._run is not None:
                redis_warnings.other_process()
            self._run = run
            self.run_changed_at = clock.now()
        policy = str(info.get("maxmemory_policy", ""))
        evicts = policy if policy.startswith("allkeys") else None
        if evicts is not None and evicts != self.evicts:
            redis_warnings.evicts(evicts)
        self.evicts = evicts


def _replaced() -> errors.StoreReplaced:
    return errors.StoreReplaced("Redis: the identity of the store is gone or is another one")
