# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A store of journals in memory, whose questions a test can keep open."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from gearhorn import errors
from gearhorn.store.identity import Opened, Terms
from gearhorn.store.journal import (
    Append,
    Appended,
    Entry,
    First,
    Head,
    JournalLimits,
    JournalMessage,
    JournalRow,
    Journals,
    Memory,
    Placed,
    Question,
    Reading,
    Refused,
)

ID = "5f0c"


class PlayedJournal:
    """The journal of one topic."""

    def __init__(self) -> None:
        self.messages: list[JournalMessage] = []
        self.last = 0
        self.ids: dict[str, tuple[int, First]] = {}
        self.done: dict[str, tuple[int, Appended]] = {}


class PlayedJournals(Journals):
    """Does what it is asked at once, unless :attr:`held`.

    :ivar held: keep appends open until :meth:`run` does them and :meth:`answer` says so.
    :ivar fault: raised by each call while it is set.
    :ivar faults: raised by each call that reads one of these topics.
    """

    def __init__(self, worker_id: str = "worker", journals: dict[str, PlayedJournal] | None = None):
        super().__init__(worker_id, max_topics=1000, id_window=120.0)
        self.topics_held: dict[str, PlayedJournal] = {} if journals is None else journals
        self.held = False
        self.fault: errors.StoreError | None = None
        self.faults: dict[str, errors.StoreError] = {}
        self.asked: list[tuple[Sequence[Append], asyncio.Event, asyncio.Event]] = []
        self.turns: list[Sequence[Append]] = []
        """All that was asked to be appended."""
        self.reads = self.calls = 0
        """Questions that were answered, and the calls that brought them."""
        self.watched: set[str] = set()

    async def open(self, known: Collection[str] = (), terms: Terms = Terms.MAKE) -> Opened:
        return Opened("0" * 32, False, frozenset())

    def set_timeout(self, timeout: float) -> None:
        """Nothing takes long."""

    async def close(self) -> None:
        """Nothing is open."""

    async def append(
        self, turn: Sequence[Append]
    ) -> Sequence[Appended | Refused | errors.StoreError]:
        self.turns.append(tuple(turn))
        if self.fault is not None:
            raise self.fault
        if not self.held:
            return [self._append(append) for append in turn]
        run, answered = asyncio.Event(), asyncio.Event()
        self.asked.append((turn, run, answered))
        await run.wait()
        answers = [self._append(append) for append in turn]
        await answered.wait()
        return answers

    def _append(self, append: Append) -> Appended | Refused:
        if append.topic not in self.topics_held and len(self.topics_held) >= self.max_topics:
            return Refused.TOO_MANY_JOURNALS
        journal = self.topics_held.setdefault(append.topic, PlayedJournal())
        for mark in append.marks:
            if mark.id in journal.ids and journal.ids[mark.id][0] == mark.sequence:
                sequence, first = journal.ids[mark.id]
                journal.ids[mark.id] = (sequence, first._replace(counts=mark.counts))
        if not append.number:
            return Appended(ID, ())
        number, answer = journal.done.get(self.worker_id, (0, Appended(ID, ())))
        if append.number < number:
            return Refused.LATE
        if append.number > number:
            answer = Appended(ID, [self._place(journal, entry) for entry in append.entries])
            journal.done[self.worker_id] = append.number, answer
            self._trim(journal, append.limits)
            if append.topic in self.watched:
                asyncio.get_running_loop().call_soon(self.on_append, append.topic)
        return answer

    def _place(self, journal: PlayedJournal, entry: Entry) -> Placed:
        payloads, groups, name, background = entry
        if name in journal.ids:
            sequence, first = journal.ids[name]
            if background and first.counts:
                return Placed(sequence, first)
            kept = {found.sequence: found.payload for found in journal.messages}
            wanted = range(sequence, sequence + first.messages)
            return Placed(sequence, first._replace(payloads=[kept.get(n) for n in wanted]))
        sequence = journal.last + 1
        for payload in payloads:
            journal.last += 1
            journal.messages.append(JournalMessage(journal.last, 1.5, groups, payload))
        if name:
            journal.ids[name] = (sequence, First(len(payloads), groups, "", ()))
        return Placed(sequence)

    def _trim(self, journal: PlayedJournal, limits: JournalLimits) -> None:
        del journal.messages[: -limits.max_messages]

    async def heads(self, topics: Sequence[str]) -> Sequence[Head]:
        found = (self.topics_held.get(topic) for topic in topics)
        return [Head(None, 0) if each is None else Head(ID, each.last) for each in found]

    async def read_all(self, questions: Sequence[Question]) -> Sequence[Reading]:
        self.calls += 1
        return [self._read(*question) for question in questions]

    def _read(
        self, topic: str, after: int, journal: str | None, limit: int, max_bytes: int
    ) -> Reading:
        self.reads += 1
        if self.fault is not None:
            raise self.fault
        if topic in self.faults:
            raise self.faults[topic]
        found = self.topics_held.get(topic)
        if found is None:
            return Reading(None, 1, 0, (), False, False, False)
        reset = journal is not None and journal != ID
        after = 0 if reset else after
        first = found.messages[0].sequence if found.messages else found.last + 1
        page = [message for message in found.messages if message.sequence > after][:limit]
        return Reading(ID, first, found.last, page, after < first - 1, False, reset)

    async def rows(self, topics: Sequence[str]) -> Sequence[JournalRow]:
        return [
            JournalRow(topic, ID, 1, journal.last, len(journal.messages), 0, None)
            for topic in topics
            if (journal := self.topics_held.get(topic)) is not None
        ]

    async def topics(self, after: str, limit: int) -> Sequence[str]:
        return sorted(topic for topic in self.topics_held if topic > after)[:limit]

    async def memory(self) -> Memory:
        return Memory(1, None)

    async def trim(self, topic: str, limits: JournalLimits | None) -> None:
        """Nothing is too old."""

    async def watch(self, topic: str) -> None:
        self.watched.add(topic)

    def unwatch(self, topic: str) -> None:
        self.watched.discard(topic)
