# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A store in Redis, shared by daemons on any number of machines.

Every key begins with the key prefix:

==================  ====  ===================================================
``identity``        str   random, made by whoever opens an empty store
``follows``         set   the tags of the stores in whose place it was accepted
``counter``         str   the last version or renewal number
``run``             str   the process of Redis that has answered for so long
                          that no list from before it is in use
``topic:<topic>``   set   the topic's client_ids; for the matchmaking topic
                          the worker ids of the daemons
``topics``          zset  every topic that has a set, all with score 0
``claims``          hash  queue name -> topic NUL client_id
``expiry``          zset  topic NUL client_id, by the milliseconds of the
                          server's clock at which it expires
``unconfirmed``     hash  topic -> version of its latest change
``daemons``         hash  worker id -> renewal number, negative once barred
``seen``            hash  worker id -> milliseconds of the server's clock
``settings``        hash  worker id -> the settings that all daemons need alike
==================  ====  ===================================================

Each call is a Lua script (:mod:`gearhorn.store.redis_scripts`), which also checks
the identity. Sets are read page by page.
"""

import asyncio
import contextlib
import heapq
import logging
import math
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from gearhorn import clock, errors, messages
from gearhorn.store import redis_scripts, redis_url
from gearhorn.store.base import (
    Change,
    DaemonEntry,
    Members,
    Opened,
    Store,
    SubscriberExpiry,
    Terms,
    TopicSize,
    check_layout,
    new_identity,
    unusable,
)
from gearhorn.store.redis_errors import TRANSLATED, translate

LOG = logging.getLogger(__name__)

_PAGE = 2_000
"""The members of a set that are asked for at once.

A page stops the event loop for about 1 ms, with redis-py's own parser for
20 ms, and Redis for 1 ms. Each costs the way to Redis and back.
"""

_CONNECTIONS = 16
"""The most calls that talk to Redis at a time; the others wait their turn."""


class RedisStore(Store):
    """A :class:`~gearhorn.store.base.Store` in Redis 6 or newer.

    :param url: as :mod:`gearhorn.store.redis_url` describes.
    :param key_prefix: the beginning of every key.
    :param matchmaking_topic: the topic to which the daemons subscribe.
    :param timeout: seconds that connecting, and each answer, may take.
    """

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str,
        matchmaking_topic: str,
        timeout: float,
    ) -> None:
        self._prefix = key_prefix
        self._set_of = f"{key_prefix}topic:"
        self._matchmaking = matchmaking_topic
        self._identity = ""
        self._run: str | None = None
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._connections = redis_url.Connections(url, timeout=timeout, on_connect=self._on_connect)
        self._redis = Redis(connection_pool=self._connections.pool)
        self._scripts: dict[str, Any] = {}
        self._subscription_keys = self._keys(redis_scripts.SUBSCRIPTION_KEYS)
        self._daemon_keys = [
            *self._keys(redis_scripts.DAEMON_KEYS),
            self._set_of + matchmaking_topic,
        ]

    async def open(self, known: Collection[str] = (), terms: Terms = Terms.MAKE) -> Opened:
        keys = self._keys(("identity", "counter", "run", "follows"))
        # Connects, and so asks for the run.
        async with self._talking():
            await self._redis.ping()
        identity, usable, made, run, follows = await self._script(
            "open", keys, new_identity(), self._run or "", int(terms), *sorted(known)
        )
        check_layout(identity)
        if not usable:
            raise errors.StoreReplaced(f"Redis: {unusable(identity, known)}")
        if terms is not Terms.LOOK:
            self._identity = identity
            self.run_changed_at = -math.inf if run == self._run else clock.now()
        return Opened(identity, bool(made), frozenset(follows))

    async def vouch(self) -> None:
        if self._run is not None:
            await self._checked("vouch", self._keys(("identity", "run")), self._run)

    async def close(self) -> None:
        await self._connections.close()

    async def add(self, topic: str, client_id: str, ttl: float | None) -> Sequence[Change]:
        ttl_ms = 0 if ttl is None else max(1, math.ceil(ttl * 1000))
        queue = messages.queue_name(topic, client_id)
        reply = await self._subscriptions(
            "add", topic, client_id, ttl_ms, *messages.topics_of(queue), set_of=topic
        )
        if isinstance(reply, str):
            holder = reply.split("\0")
            raise errors.QueueTaken(
                f"the queue {queue} belongs to client_id {holder[1]!r} of topic {holder[0]!r}"
            )
        return _changes(reply)

    async def remove(self, topic: str, client_id: str) -> Sequence[Change]:
        return _changes(await self._subscriptions("remove", topic, client_id, set_of=topic))

    async def members(self, topic: str, reader: str) -> Members:
        while True:
            begun = self._run, self._identity
            # SSCAN may give a member twice.
            client_ids: set[str] = set()
            reader_known = True
            pages = 0
            key = self._set_of + topic
            async for page, renewal in self._scan("SSCAN", key, reader):
                client_ids.update(page)
                reader_known &= renewal is not None and int(renewal) > 0
                pages += 1
            # A cursor is good only for the process and the store that gave it: others
            # would pass over members.
            if pages == 1 or begun == (self._run, self._identity):
                return Members(list(client_ids), reader_known)

    async def reap(self, limit: int) -> Sequence[Change]:
        return _changes(await self._subscriptions("reap", limit))

    async def unconfirmed(self, limit: int) -> Sequence[Change]:
        found: dict[str, int] = {}
        async for page, _ in self._scan("HSCAN", f"{self._prefix}unconfirmed"):
            found.update(_pairs(page))
            if len(found) >= limit:
                break
        return [Change(*item) for item in found.items()][:limit]

    async def confirm(self, change: Change) -> None:
        await self._subscriptions("confirm", change.topic, change.version)

    async def join(self, worker_id: str, settings: str) -> None:
        await self._daemon("join", worker_id, settings)

    async def renew(self, worker_id: str) -> bool:
        return bool(await self._daemon("renew", worker_id))

    async def leave(self, worker_id: str) -> None:
        await self._daemon("leave", worker_id)

    async def daemons(self) -> dict[str, DaemonEntry]:
        keys = self._keys(("identity", "daemons", "seen", "settings"))
        now, renewals, seen, settings = await self._checked("entries", keys)
        seen_at = dict(_pairs(seen))
        settings_of = dict(zip(settings[::2], settings[1::2], strict=True))
        return {
            worker_id: DaemonEntry(
                renewal,
                max(0, now - seen_at.get(worker_id, 0)) / 1000,
                settings_of.get(worker_id),
            )
            for worker_id, renewal in _pairs(renewals)
        }

    async def bar(self, worker_id: str) -> int | None:
        return await self._daemon("bar", worker_id) or None

    async def remove_daemon(self, worker_id: str, renewal: int) -> bool:
        return bool(await self._daemon("remove_daemon", worker_id, renewal))

    async def topics(self, after: str, limit: int) -> Sequence[TopicSize]:
        reply = await self._subscriptions("topics", after, limit)
        return [TopicSize(*row) for row in _pairs(reply)]

    async def subscribers(self, topic: str, after: str, limit: int) -> Sequence[SubscriberExpiry]:
        # A Redis set has no order, so each page of the answer reads all of it. That
        # is fast enough for people; an ordered set would slow every registration.
        # Strings sort as their UTF-8 does.
        first: list[str] = []
        async for page, _ in self._scan("SSCAN", self._set_of + topic):
            later = {client_id for client_id in page if client_id > after}
            first = heapq.nsmallest(limit, later.union(first))
        keys = self._keys(("identity", "expiry"))
        now, *expiries = await self._checked(
            "expiries", keys, *(f"{topic}\0{name}" for name in first)
        )
        return [
            SubscriberExpiry(name, None if at is None else (int(at) - now) / 1000)
            for name, at in zip(first, expiries, strict=True)
        ]

    # Talking to Redis.

    def _keys(self, names: Iterable[str]) -> list[str]:
        return [self._prefix + name for name in names]

    async def _subscriptions(
        self, name: str, *arguments: str | int, set_of: str | None = None
    ) -> Any:
        """Run a script on subscriptions, perhaps on the set of a topic."""
        keys = self._subscription_keys
        if set_of is not None:
            keys = [*keys, self._set_of + set_of]
        return await self._checked(name, keys, self._set_of, *arguments)

    async def _daemon(self, name: str, worker_id: str, *arguments: str | int) -> Any:
        """Run a script on the entry of a daemon."""
        return await self._checked(
            name, self._daemon_keys, self._matchmaking, worker_id, *arguments
        )

    async def _checked(self, name: str, keys: list[str], *arguments: str | int) -> Any:
        """Run a script that returns nil if the identity is gone or is another."""
        reply = await self._script(name, keys, self._identity, *arguments)
        if reply is None:
            raise _replaced()
        return reply

    async def _script(self, name: str, keys: list[str], *arguments: str | int) -> Any:
        """Run a script, by its hash if the server has it already."""
        run = self._scripts.get(name)
        if run is None:
            run = self._redis.register_script(redis_scripts.SCRIPTS[name])
            self._scripts[name] = run
        async with self._talking():
            return await run(keys=keys, args=arguments)

    async def _scan(
        self, scan: str, key: str, reader: str = ""
    ) -> AsyncIterator[tuple[list[str], str | None]]:
        """Yield the pages of a set or hash, each with the reader's renewal number."""
        keys = [f"{self._prefix}identity", key, f"{self._prefix}daemons"]
        cursor = "0"
        while True:
            cursor, page, renewal = await self._checked("page", keys, scan, cursor, _PAGE, reader)
            yield page, renewal
            if cursor == "0":
                return

    @contextlib.asynccontextmanager
    async def _talking(self) -> AsyncIterator[None]:
        """Wait for a turn, and translate errors."""
        async with self._slots:
            try:
                yield
            except TRANSLATED as error:
                fault = translate(error)
                if isinstance(fault, errors.StoreAway):
                    await self._connections.drop_idle()
                raise fault from error

    async def _on_connect(self, connection: AbstractConnection) -> None:
        """Greet the server, and note if it is another process than before."""
        await connection.on_connect()
        run = ":".join(
            [
                await _info(connection, "server", "run_id"),
                await _info(connection, "replication", "master_replid"),
            ]
        )
        if run != self._run:
            self._run = run
            self.run_changed_at = clock.now()
            policy = await _info(connection, "memory", "maxmemory_policy")
            if policy.startswith("allkeys"):
                LOG.warning(
                    "Redis throws away any key when its memory is full (%s), and with it "
                    "subscribers: set maxmemory-policy noeviction",
                    policy,
                )


async def _info(connection: AbstractConnection, section: str, field: str) -> str:
    """Return a field of INFO, empty if the server does not have it."""
    await connection.send_command("INFO", section)
    for line in str(await connection.read_response()).splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return value
    return ""


def _replaced() -> errors.StoreReplaced:
    return errors.StoreReplaced("Redis: the identity of the store is gone or is another one")


def _pairs(flat: list[Any]) -> Iterable[tuple[str, int]]:
    """Return the elements of a flat list as pairs."""
    return ((flat[i], int(flat[i + 1])) for i in range(0, len(flat), 2))


def _changes(flat: list[Any]) -> list[Change]:
    return [Change(*pair) for pair in _pairs(flat)]
