# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The journals in Redis: a stream for each topic.

Every key begins with the key prefix:

==========================  ======  ============================================
``journals``                zset    every topic that has a journal, all with
                                    score 0
``journal:<topic>``         stream  the messages, with ids ``SEQUENCE-0``: ``t``,
                                    the milliseconds of the server's clock, ``g``,
                                    the number of groups, ``p``, the payload
``journal_head:<topic>``    hash    ``id``; ``last``, ``trimmed``, ``jump`` and
                                    ``first``: sequences; ``first_at`` and ``at``,
                                    the milliseconds of the oldest and the newest
                                    message; ``bytes`` of all and of the
                                    ``largest``; ``run``, the process of Redis that
                                    appended; ``max_age``; and ``w:<worker id>``,
                                    its last append
``journal_ids:<topic>``     hash    id -> journal, sequence, number of messages and
                                    of groups, and the counts of a complete run
``journal_ids_at:<topic>``  zset    the same ids, by the milliseconds at which each
                                    was last used
==========================  ======  ============================================

The channel that tells of an append has the name of the stream. The keys beside
``journals`` and ``identity`` are those of one topic each, and each script is told all that
it touches. In a cluster the prefix has a hash tag, so all of them are in one slot.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio.connection import AbstractConnection

from gearhorn import errors
from gearhorn.store import journal_replies
from gearhorn.store.identity import Opened, Terms, check_layout, new_identity, unusable
from gearhorn.store.journal import (
    MOST_IDS,
    MOST_WORKERS,
    UNUSED_AFTER,
    Answer,
    Append,
    Appended,
    Head,
    JournalLimits,
    JournalRow,
    Journals,
    Memory,
    Question,
    Reading,
)
from gearhorn.store.journal_numbers import milliseconds
from gearhorn.store.redis_client import RedisClient
from gearhorn.store.redis_watch import RedisWatch
from gearhorn.store.told import Told

_LEAST_VERSION = (6, 2)
"""The release that can read a stream from behind a sequence."""

_pack = msgspec.msgpack.Encoder().encode

_KINDS = ("journal_head", "journal", "journal_ids", "journal_ids_at")

_QUESTIONS_AT_ONCE = 100
"""The journals that one call reads."""

_TRIMMED_AT_ONCE = 1000
"""The messages and ids that one step of upkeep ends: it holds up everybody else."""


class RedisJournals(Journals):
    """:class:`~gearhorn.store.journal.Journals` in Redis 6.2 or newer.

    :param url: as :mod:`gearhorn.store.redis_url` describes.
    :param key_prefix: the beginning of every key.
    :param timeout: seconds that connecting, and each answer, may take.
    """

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str,
        timeout: float,
        worker_id: str = "",
        max_topics: int,
        id_window: float,
    ) -> None:
        super().__init__(worker_id, max_topics=max_topics, id_window=id_window)
        self._identity = ""
        self._told = Told()
        self._client = RedisClient(
            url,
            key_prefix=key_prefix,
            timeout=timeout,
            on_connect=AbstractConnection.on_connect,
            decodes=False,
        )
        self._prefix = self._client.connections.key_prefix
        self._watch = RedisWatch(
            self._client, f"{self._prefix}journal:", lambda topic: self.on_append(topic), timeout
        )

    async def open(self, known: Collection[str] = (), terms: Terms = Terms.MAKE) -> Opened:
        await self._check_version()
        keys = [self._prefix + name for name in ("identity", "counter", "run", "follows")]
        lasting = int(self._client.connections.cluster is not None)
        identity, usable, made, _, follows = await self._client.run(
            "open", keys, new_identity(), "", int(terms), lasting, *sorted(known)
        )
        identity = identity.decode()
        check_layout(identity)
        if not usable:
            raise errors.StoreReplaced(f"Redis: {unusable(identity, known)}")
        if terms is not Terms.LOOK:
            self._identity = identity
        return Opened(identity, bool(made), frozenset(tag.decode() for tag in follows if tag))

    def set_timeout(self, timeout: float) -> None:
        self._client.connections.set_timeout(timeout)

    async def close(self) -> None:
        await self._watch.close()
        await self._client.connections.close()

    async def append(self, turn: Sequence[Append]) -> Sequence[Answer]:
        arguments: list[str | bytes | int] = [
            self.worker_id,
            milliseconds(self.id_window),
            MOST_IDS,
            MOST_WORKERS,
            self.max_topics,
            f"{self._prefix}journal:",
        ]
        for append in turn:
            arguments += _arguments(append, self._told.of(append.topic))
        topics = [append.topic for append in turn]
        replies = await self._checked("journal_append", topics, *arguments)
        answers = [
            journal_replies.appended(append, reply)
            for append, reply in zip(turn, replies, strict=True)
        ]
        faults = [answer for answer in answers if isinstance(answer, errors.StoreError)]
        if faults and len(faults) == len(answers):
            raise faults[0]
        self._told.note(turn, answers)
        if not all(answer.told for answer in answers if isinstance(answer, Appended)):
            self._watch.refused()
        return answers

    async def heads(self, topics: Sequence[str]) -> Sequence[Head]:
        if not topics:
            return []
        keys = self._keys(topics, ("journal_head", "journal"))
        reply = await self._run_checked("journal_heads", keys)
        fields = reply.decode().split()
        return [
            Head(None if journal == "-" else journal, int(last))
            for journal, last in zip(fields[::2], fields[1::2], strict=True)
        ]

    async def read_all(self, questions: Sequence[Question]) -> Sequence[Reading]:
        found: list[Reading] = []
        while len(found) < len(questions):
            some = questions[len(found) : len(found) + _QUESTIONS_AT_ONCE]
            asked = [tuple(question[1:]) for question in some]
            topics = [question.topic for question in some]
            replies = await self._checked("journal_read", topics, _pack(asked))
            # Those beyond what one answer can hold are asked again.
            found += [
                journal_replies.reading(reply, question.journal)
                for reply, question in zip(replies, some, strict=False)
            ]
        return found

    async def rows(self, topics: Sequence[str]) -> Sequence[JournalRow]:
        if not topics:
            return []
        try:
            return await self._rows(topics)
        except errors.StoreMisconfigured:
            if len(topics) == 1:
                raise
        # A key that is another program's holds up no other topic.
        rows: list[JournalRow] = []
        faults: list[errors.StoreError] = []
        for topic in topics:
            try:
                rows += await self._rows([topic])
            except errors.StoreMisconfigured as error:
                faults.append(error)
        if len(faults) == len(topics):
            raise faults[0]
        return rows

    async def _rows(self, topics: Sequence[str]) -> Sequence[JournalRow]:
        reply = await self._checked("journal_rows", topics)
        rows = map(journal_replies.row, topics, reply)
        return [row for row in rows if row is not None]

    async def topics(self, after: str, limit: int) -> Sequence[str]:
        return [topic.decode() for topic in await self._checked("journal_topics", [], after, limit)]

    async def memory(self) -> Memory:
        async with self._client.talking():
            info = await self._client.redis.info("memory")
        return Memory(int(info["used_memory"]), int(info.get("maxmemory", 0)) or None)

    async def trim(self, topic: str, limits: JournalLimits | None) -> None:
        age = "" if limits is None else milliseconds(limits.max_age)
        window = milliseconds(self.id_window)
        arguments = (topic, age, UNUSED_AFTER, window, MOST_IDS, _TRIMMED_AT_ONCE)
        while await self._checked("journal_trim", [topic], *arguments):
            pass

    async def upkeep(
        self, limits_of: Callable[[str], JournalLimits | None]
    ) -> Mapping[str, errors.StoreError]:
        faults = await super().upkeep(limits_of)
        await self._told.forget_ended(self.max_topics, self.rows)
        return faults

    async def watch(self, topic: str) -> None:
        await self._watch.add(topic)

    def unwatch(self, topic: str) -> None:
        self._watch.discard(topic)

    async def _checked(
        self, name: str, topics: Sequence[str], *arguments: str | bytes | int
    ) -> Any:
        """Run a script on the store that this is."""
        return await self._run_checked(name, self._keys(topics), *arguments)

    async def _run_checked(
        self, name: str, keys: Sequence[str], *arguments: str | bytes | int
    ) -> Any:
        reply = await self._client.run(name, keys, self._identity, *arguments)
        if reply is None:
            raise errors.StoreReplaced(
                "Redis: the identity of the journals' store is gone or is another one"
            )
        return reply

    async def _check_version(self) -> None:
        async with self._client.talking():
            info = await self._client.redis.info("server")
        version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
        if version < _LEAST_VERSION:
            raise errors.StoreMisconfigured(
                f"Redis: it is release {info['redis_version']}, and journals need "
                f"{'.'.join(map(str, _LEAST_VERSION))} or newer"
            )

    def _keys(self, topics: Sequence[str], kinds: Sequence[str] = _KINDS) -> list[str]:
        """Return the keys of some topics' journals, after those of all journals."""
        own = [f"{self._prefix}{kind}:{topic}" for topic in topics for kind in kinds]
        return [f"{self._prefix}identity", f"{self._prefix}journals", *own]


def _arguments(append: Append, told: Head | None) -> list[str | bytes | int]:
    """Return what ``journal_append.lua`` takes for a topic."""
    limits = append.limits
    asked = (
        append.topic,
        *((told.journal or "", told.sequence) if told else ("", 0)),
        append.number,
        limits.max_messages,
        limits.max_bytes,
        milliseconds(limits.max_age),
        append.marks,
        [
            (entry.id, entry.background, entry.groups, list(map(len, entry.payloads)))
            for entry in append.entries
        ],
    )
    payloads = [payload for entry in append.entries for payload in entry.payloads]
    return [_pack(asked), b"".join(payloads)]
