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
``limits:<topic>``  hash  client_id -> what it brought for its queue, in JSON;
                          only those that brought any
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
``knows``           hash  worker id -> what it knows that older releases do not
``ended``           hash  queue of an ended subscription -> topic NUL client_id
``ended_at``        zset  the same queues by the milliseconds at which they ended
``ended_queues``    zset  the same queues, all with score 0
``discards``        hash  queue -> the lease of the daemon that discards what is in
                          it: token, milliseconds, and when they are over
``idle``            zset  queue that is not served, by the milliseconds at which its
                          subscription is to end
``idle_after``      hash  the same queues -> after how many milliseconds it ends
``looked``          str   the milliseconds of the last look at all job servers
``patterns``        hash  the patterns of topics with journals, their version, and
                          the identity of the journals' store
==================  ====  ===================================================

In a cluster the prefix has a hash tag, ``{gearhorn:}`` for ``gearhorn:``, and all of these but
those of topics always exist: see :mod:`gearhorn.store.redis_scripts`.

Each call is a Lua script (:mod:`gearhorn.store.redis_scripts`), which also checks
the identity, that the store has not gone back, and that no key is gone. Sets are read
page by page.
"""

import heapq
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gearhorn import clock, errors, messages
from gearhorn.messages import NO_LIMITS, Limits
from gearhorn.store import redis_replies
from gearhorn.store.base import Change, DaemonEntry, Members, SubscriberExpiry, TopicSize
from gearhorn.store.endings import BeingDiscarded
from gearhorn.store.identity import Opened, Terms, check_layout, new_identity, unusable
from gearhorn.store.redis_endings import RedisEndings
from gearhorn.store.redis_lists import RedisLists
from gearhorn.store.redis_patterns import RedisPatterns


class RedisStore(RedisEndings, RedisPatterns, RedisLists):
    """A :class:`~gearhorn.store.base.Store` in Redis 6 or newer."""

    async def open(self, known: Collection[str] = (), terms: Terms = Terms.MAKE) -> Opened:
        keys = self._keys(("identity", "counter", "run", "follows"))
        # Connects, and so asks for the run.
        async with self._client.talking():
            await self._client.redis.ping()
        identity, usable, made, run, follows = await self._script(
            "open",
            keys,
            new_identity(),
            self._run or "",
            int(terms),
            self._lasting,
            *sorted(known),
        )
        check_layout(identity)
        if not usable:
            raise errors.StoreReplaced(f"Redis: {unusable(identity, known)}")
        if terms is not Terms.LOOK:
            self._identity = identity
            if self._lasting:
                await self._settle()
            self.run_changed_at = -math.inf if run == self._run else clock.now()
        return Opened(identity, bool(made), frozenset(follows) - {""})

    async def _settle(self) -> None:
        keys = [*self._all_keys, *self._keys(["follows"])]
        arguments = self._own_arguments(self.numbers.now(self._identity))
        await self._script("settle", keys, *arguments)

    async def vouch(self) -> None:
        if self._run is not None:
            await self._checked("vouch", self._run)

    async def close(self) -> None:
        await self._connections.close()

    async def look(self) -> None:
        # A failover can leave all connections open.
        async with self._client.talking():
            self._note(await self._client.redis.info())

    async def add(
        self,
        topic: str,
        client_id: str,
        ttl: float | None,
        limits: Limits = NO_LIMITS,
        despite: str = "",
    ) -> Sequence[Change]:
        ttl_ms = 0 if ttl is None else max(1, math.ceil(ttl * 1000))
        queue = messages.queue_name(topic, client_id)
        reply = await self._numbered(
            "add",
            topic,
            client_id,
            ttl_ms,
            limits.text(),
            despite,
            *messages.topics_of(queue),
            topics=[topic],
        )
        if isinstance(reply, str) and reply.startswith("\0"):
            token, length_ms = reply[1:].split()
            raise BeingDiscarded(token, int(length_ms) / 1000)
        if isinstance(reply, str):
            holder = reply.split("\0")
            raise errors.QueueTaken(
                f"the queue {queue} belongs to client_id {holder[1]!r} of topic {holder[0]!r}"
            )
        return redis_replies.changes(reply)

    async def remove(self, topic: str, client_id: str) -> Sequence[Change]:
        return redis_replies.changes(
            await self._numbered("remove", topic, client_id, topics=[topic])
        )

    async def members(self, topic: str, reader: str) -> Members:
        while True:
            begun = self._source()
            # SSCAN may give a member twice.
            client_ids: set[str] = set()
            limits: dict[str, str] = {}
            reader_known = True
            versions: set[int] = set()
            pages = 0
            async for page in self._scan(reader, topic):
                client_ids.update(page.rows)
                limits.update(page.limits)
                versions.add(page.patterns)
                reader_known &= page.renewal is not None and int(page.renewal) > 0
                pages += 1
            # A cursor is good only for the set that gave it: with another one, members
            # would be passed over.
            if pages == 1 or begun == self._source():
                read = {name: Limits.read(text) for name, text in limits.items()}
                # As the first page had it: of a later one the daemon is told.
                return Members(list(client_ids), reader_known, read, min(versions))

    async def reap(self, limit: int) -> Sequence[Change]:
        count, *changed = await self._numbered("reap", limit)
        self.reaped += int(count)
        return redis_replies.changes(changed)

    async def end_idle(self, queue: str) -> Sequence[Change]:
        return redis_replies.changes(await self._numbered("end_idle", queue))

    async def unconfirmed(self, limit: int) -> Sequence[Change]:
        found: dict[str, int] = {}
        async for page in self._scan(""):
            found.update(redis_replies.pairs(page.rows))
            found.pop("", None)
            if len(found) >= limit:
                break
        return [Change(*item) for item in found.items()][:limit]

    async def confirm(self, change: Change) -> None:
        await self._checked("confirm", change.topic, change.version)

    async def join(self, worker_id: str, settings: str, secret: str = "") -> None:
        await self._of_daemons("join", worker_id, settings, secret, numbered=True)

    async def renew(self, worker_id: str, secret: str = "") -> bool:
        return bool(await self._of_daemons("renew", worker_id, secret, numbered=True))

    async def leave(self, worker_id: str) -> None:
        await self._of_daemons("leave", worker_id)
        if worker_id == self._worker_id:
            self.numbers.left()

    async def daemons(self) -> dict[str, DaemonEntry]:
        return redis_replies.entries(await self._of_daemons("entries"))

    async def bar(self, worker_id: str) -> int | None:
        return await self._of_daemons("bar", worker_id) or None

    async def remove_daemon(self, worker_id: str, renewal: int) -> bool:
        return bool(await self._of_daemons("remove_daemon", worker_id, renewal))

    async def _of_daemons(self, name: str, *arguments: str | int, numbered: bool = False) -> Any:
        return await self._checked(name, *arguments, topics=[self._matchmaking], numbered=numbered)

    async def topics(self, after: str, limit: int) -> Sequence[TopicSize]:
        reply = await self._checked("topics", after, limit)
        return [TopicSize(*row) for row in redis_replies.pairs(reply)]

    async def subscribers(self, topic: str, after: str, limit: int) -> Sequence[SubscriberExpiry]:
        # A Redis set has no order, so each page of the answer reads all of it. That
        # is fast enough for people; an ordered set would slow every registration.
        # Strings sort as their UTF-8 does.
        first: list[str] = []
        limits: dict[str, str] = {}
        async for page in self._scan("", topic):
            limits.update(page.limits)
            later = {client_id for client_id in page.rows if client_id > after}
            first = heapq.nsmallest(limit, later.union(first))
        now, *expiries = await self._checked("expiries", *(f"{topic}\0{name}" for name in first))
        return [
            SubscriberExpiry(
                name,
                None if at is None else (int(at) - now) / 1000,
                Limits.read(limits.get(name, "{}")),
            )
            for name, at in zip(first, expiries, strict=True)
        ]

    async def holders(self, queues: Sequence[str]) -> Mapping[str, str]:
        if not queues:
            return {}
        topics = (await self._checked("holders", *queues)).split("\0")
        return {queue: topic for queue, topic in zip(queues, topics, strict=True) if topic}
