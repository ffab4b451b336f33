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
``topics``          zset  every topic that has a set, all with score 0, and an
                          empty name, so that it never goes by itself
``claims``          hash  queue name -> topic NUL client_id
``expiry``          zset  topic NUL client_id, by the milliseconds of the
                          server's clock at which it expires
``unconfirmed``     hash  topic -> version of its latest change: number and nonce
``daemons``         hash  worker id -> renewal number, negative once barred
``seen``            hash  worker id -> milliseconds of the server's clock
``settings``        hash  worker id -> the settings that all daemons need alike
``told``            hash  worker id -> the last number that the daemon was told
``secrets``         hash  worker id -> the key of its answers to notices
==================  ====  ===================================================

Each call is a Lua script (:mod:`gearhorn.store.redis_scripts`), which also checks
the identity, that the store has not gone back, and that no key is gone. Sets are read
page by page.
"""

import asyncio
import contextlib
import heapq
import math
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from gearhorn import clock, errors, messages
from gearhorn.store import redis_replies, redis_scripts, redis_url, redis_warnings
from gearhorn.store.base import Change, DaemonEntry, Members, Store, SubscriberExpiry, TopicSize
from gearhorn.store.identity import Opened, Terms, check_layout, new_identity, unusable
from gearhorn.store.numbers import NONCES, Told, WentBack, new_nonce
from gearhorn.store.redis_errors import TRANSLATED, translate

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
        self._prefix = key_prefix
        self._set_of = f"{key_prefix}topic:"
        self._matchmaking = matchmaking_topic
        self._identity = ""
        self._run: str | None = None
        self._mended = 0
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._connections = redis_url.Connections(url, timeout=timeout, on_connect=self._on_connect)
        self._redis = Redis(connection_pool=self._connections.pool)
        self._scripts: dict[str, Any] = {}
        self._all_keys = self._keys(redis_scripts.KEYS)

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
            await self._checked("vouch", self._run)

    async def close(self) -> None:
        await self._connections.close()

    async def look(self) -> None:
        # A failover can leave all connections open.
        async with self._talking():
            self._note(await self._redis.info())

    async def add(self, topic: str, client_id: str, ttl: float | None) -> Sequence[Change]:
        ttl_ms = 0 if ttl is None else max(1, math.ceil(ttl * 1000))
        queue = messages.queue_name(topic, client_id)
        reply = await self._numbered("add", topic, client_id, ttl_ms, *messages.topics_of(queue))
        if isinstance(reply, str):
            holder = reply.split("\0")
            raise errors.QueueTaken(
                f"the queue {queue} belongs to client_id {holder[1]!r} of topic {holder[0]!r}"
            )
        return redis_replies.changes(reply)

    async def remove(self, topic: str, client_id: str) -> Sequence[Change]:
        return redis_replies.changes(await self._numbered("remove", topic, client_id))

    async def members(self, topic: str, reader: str) -> Members:
        while True:
            begun = self._source()
            # SSCAN may give a member twice.
            client_ids: set[str] = set()
            reader_known = True
            pages = 0
            async for page, renewal in self._scan(reader, topic):
                client_ids.update(page)
                reader_known &= renewal is not None and int(renewal) > 0
                pages += 1
            # A cursor is good only for the set that gave it: with another one, members
            # would be passed over.
            if pages == 1 or begun == self._source():
                return Members(list(client_ids), reader_known)

    async def reap(self, limit: int) -> Sequence[Change]:
        count, *changed = await self._numbered("reap", limit)
        self.reaped += int(count)
        return redis_replies.changes(changed)

    async def unconfirmed(self, limit: int) -> Sequence[Change]:
        found: dict[str, int] = {}
        async for page, _ in self._scan(""):
            found.update(redis_replies.pairs(page))
            if len(found) >= limit:
                break
        return [Change(*item) for item in found.items()][:limit]

    async def confirm(self, change: Change) -> None:
        await self._checked("confirm", change.topic, change.version)

    async def join(self, worker_id: str, settings: str, secret: str = "") -> None:
        await self._numbered("join", worker_id, settings, secret)

    async def renew(self, worker_id: str, secret: str = "") -> bool:
        return bool(await self._numbered("renew", worker_id, secret))

    async def leave(self, worker_id: str) -> None:
        await self._checked("leave", worker_id)
        if worker_id == self._worker_id:
            self.numbers.left()

    async def daemons(self) -> dict[str, DaemonEntry]:
        return redis_replies.entries(await self._checked("entries"))

    async def bar(self, worker_id: str) -> int | None:
        return await self._checked("bar", worker_id) or None

    async def remove_daemon(self, worker_id: str, renewal: int) -> bool:
        return bool(await self._checked("remove_daemon", worker_id, renewal))

    async def topics(self, after: str, limit: int) -> Sequence[TopicSize]:
        reply = await self._checked("topics", after, limit)
        return [TopicSize(*row) for row in redis_replies.pairs(reply)]

    async def subscribers(self, topic: str, after: str, limit: int) -> Sequence[SubscriberExpiry]:
        # A Redis set has no order, so each page of the answer reads all of it. That
        # is fast enough for people; an ordered set would slow every registration.
        # Strings sort as their UTF-8 does.
        first: list[str] = []
        async for page, _ in self._scan("", topic):
            later = {client_id for client_id in page if client_id > after}
            first = heapq.nsmallest(limit, later.union(first))
        now, *expiries = await self._checked("expiries", *(f"{topic}\0{name}" for name in first))
        return [
            SubscriberExpiry(name, None if at is None else (int(at) - now) / 1000)
            for name, at in zip(first, expiries, strict=True)
        ]

    # Talking to Redis.

    def _keys(self, names: Iterable[str]) -> list[str]:
        return [self._prefix + name for name in names]

    def _source(self) -> tuple[object, ...]:
        """Return what changes when other sets may answer than before."""
        return self._run, self._identity, self._mended, self.numbers.epoch

    async def _numbered(self, name: str, *arguments: str | int) -> Any:
        """Run a script that gives numbers, and note the last one."""
        return await self._checked(name, *arguments, numbered=True)

    async def _checked(self, name: str, *arguments: str | int, numbered: bool = False) -> Any:
        """Run a script on the store that this is, as it is, and whole.

        :param numbered: the reply is a number, or an array of a number and the result.
        """
        mended = False
        while True:
            told = self.numbers.now(self._identity)
            fault: errors.StoreError
            try:
                reply = await self._script(
                    name, self._all_keys, *self._own_arguments(told), *arguments
                )
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

    def _own_arguments(self, told: Told) -> Sequence[str | int]:
        """Return the ARGV of ``shared/store.lua``."""
        return (
            self._identity,
            self._matchmaking,
            self._set_of,
            self._worker_id,
            told.own,
            told.least,
            f"{new_nonce():0{len(str(NONCES)) - 1}d}",
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
        arguments = self._own_arguments(told)
        reply = await self._script("mend", self._all_keys, *arguments, int(strike_out))
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
        """Run a script, by its hash if the server has it already."""
        run = self._scripts.get(name)
        if run is None:
            run = self._redis.register_script(redis_scripts.SCRIPTS[name])
            self._scripts[name] = run
        async with self._talking():
            return await run(keys=keys, args=arguments)

    async def _scan(self, reader: str, *topic: str) -> AsyncIterator[tuple[list[str], str | None]]:
        """Yield the pages of a topic's set, each with the reader's renewal number.

        Without a topic the pages are those of the unconfirmed changes.
        """
        cursor = "0"
        while True:
            cursor, page, renewal = await self._checked("page", cursor, _PAGE, reader, *topic)
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
        """Greet the server, and note how it runs."""
        await connection.on_connect()
        await connection.send_command("INFO")
        lines = str(await connection.read_response()).splitlines()
        pairs = (line.partition(":") for line in lines)
        self._note({name: value for name, _, value in pairs})

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
