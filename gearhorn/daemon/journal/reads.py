# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Reading journals, and waiting for what is not there yet: the function ``fanout_read``.

A reader that waits is enlisted before the journal is first looked at for it. So a message
that comes between is not missed. The store tells of appends while a topic is watched; it may
have been forbidden to, or the news was lost with a connection. So what is waited for is
looked at once a second as well, in one question for all topics.

Readers of one topic that ask for the same are answered by one read. The topics of which
there is news in one turn of the loop are read together.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from msgspec import UNSET

from gearhorn import errors, messages
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.refusals import Refusals
from gearhorn.store.journal import Head, Journals, Question, Reading
from gearhorn.store.patience import Patience
from gearhorn.tasks import Tasks
from gearhorn.wire.job import Job

LOOK_S = 1.0
"""Seconds between two looks at all that is waited for."""
MOST_WAITING = 10_000
"""The most readers that wait. Beyond it, the one that waits longest is answered."""
_TOPICS_AT_ONCE = 1000
_TOGETHER = 100
"""The topics that are read together; the first of more are answered before the last are read."""

_decode = messages.RequestDecoder(messages.Read)


class _Reader:
    """A job that reads."""

    __slots__ = ("job", "request", "timer")

    def __init__(self, job: Job, request: messages.Read) -> None:
        self.job = job
        self.request = request
        self.timer: asyncio.TimerHandle | None = None

    @property
    def question(self) -> Question:
        """What it asks for; readers that ask for the same get the same answer."""
        asked = self.request
        return Question(
            asked.topic,
            asked.after or 0,
            asked.journal,
            asked.limit or messages.READ_LIMIT,
            asked.max_bytes or messages.READ_BYTES,
        )


class Reads:
    """The jobs of the function ``fanout_read``.

    :param covers: returns true if a topic has a journal.
    """

    def __init__(
        self,
        journals: Journals,
        patience: Patience,
        refusals: Refusals,
        counts: Counts,
        *,
        covers: Callable[[str], bool],
    ) -> None:
        self._journals = journals
        self._patience = patience
        self._refusals = refusals
        self._counts = counts
        self._covers = covers
        self._waiting: dict[str, dict[_Reader, None]] = {}
        """Those that wait, by topic."""
        self._order: OrderedDict[_Reader, None] = OrderedDict()
        """All of them, the longest waiting first."""
        self._seen: dict[str, Head] = {}
        """The journal and the last sequence of each topic that is waited for, when it was last
        looked at."""
        self._looking: dict[str, bool] = {}
        """The topics that are being looked at; true if it is due once more."""
        self._due: list[str] = []
        """Those of them for which it begins in the next turn of the loop."""
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = Tasks()
        self._draining = False
        journals.on_append = self._appended

    @property
    def waiting(self) -> int:
        """The number of readers that wait for a message."""
        return len(self._order)

    def take(self, job: Job) -> None:
        """Take a request to read."""
        request = self._refusals.decoded(job, _decode)
        if request is None:
            return
        if not self._covers(request.topic):
            self._refusals.refuse(job, no_journal(request.topic))
            return
        reader = _Reader(job, request)
        if request.wait and not self._draining:
            self._enlist(reader, request.wait)
        else:
            job.hold(self._tasks.start(self._read_once(reader)).cancel)

    def drain(self) -> None:
        """Answer all that wait as if their time were up, and let nobody wait any more."""
        self._draining = True
        for reader in tuple(self._order):
            self._time_is_up(reader)

    async def close(self) -> None:
        """Stop all reading; the jobs are not answered."""
        if self._timer is not None:
            self._timer.cancel()
        for reader in tuple(self._order):
            self._leave(reader)
        await self._tasks.cancel()

    # Reading.

    async def _read_once(self, reader: _Reader) -> None:
        try:
            reading = await self._read(reader.question)
        except Exception as error:
            fault = error
        else:
            self._answer([reader], reading)
            return
        self._refusals.fail_unexpectedly(reader.job, fault)

    async def _read(self, question: Question) -> Reading:
        return await self._patience.call(self._journals.read, *question)

    def _answer(self, readers: Iterable[_Reader], reading: Reading) -> None:
        """Give readers of one topic what was read for all of them."""
        encoded = b""
        for reader in readers:
            encoded = encoded or _backlog(reader.request.topic, reading)
            self._counts.journal_read += len(reading.messages)
            self._refusals.done(reader.job, encoded)

    # Waiting.

    def _enlist(self, reader: _Reader, wait: float) -> None:
        topic = reader.request.topic
        is_first = topic not in self._waiting
        self._waiting.setdefault(topic, {})[reader] = None
        self._order[reader] = None
        loop = asyncio.get_running_loop()
        reader.timer = loop.call_later(wait, self._time_is_up, reader)
        reader.job.hold(lambda: self._leave(reader))
        # It holds nothing but a place: it keeps no other from being taken.
        reader.job.set_aside()
        if len(self._order) > MOST_WAITING:
            self._time_is_up(next(iter(self._order)))
        if is_first:
            self._tasks.start(self._watch(topic))
        else:
            self._look_soon(topic)
        if self._timer is None:
            self._timer = loop.call_later(LOOK_S, self._look_at_all)

    async def _watch(self, topic: str) -> None:
        await self._journals.watch(topic)
        if topic in self._waiting:
            self._look_soon(topic)
        else:
            self._journals.unwatch(topic)

    def _leave(self, reader: _Reader) -> bool:
        """Have a reader wait no more; return true if it did."""
        topic = reader.request.topic
        if reader not in self._order:
            return False
        del self._order[reader]
        if reader.timer is not None:
            reader.timer.cancel()
        readers = self._waiting[topic]
        del readers[reader]
        if not readers:
            del self._waiting[topic]
            self._seen.pop(topic, None)
            self._journals.unwatch(topic)
        return True

    def _time_is_up(self, reader: _Reader) -> None:
        if self._leave(reader):
            reader.job.hold(self._tasks.start(self._read_once(reader)).cancel)

    def _appended(self, topic: str | None) -> None:
        """Look at what may have something new."""
        for each in tuple(self._waiting) if topic is None else (topic,):
            self._look_soon(each)

    def _look_soon(self, topic: str) -> None:
        if topic in self._looking:
            self._looking[topic] = True
        elif topic in self._waiting:
            self._looking[topic] = False
            if not self._due:
                asyncio.get_running_loop().call_soon(self._look_at_due)
            self._due.append(topic)

    def _look_at_due(self) -> None:
        due, self._due = self._due, []
        if len(due) == 1:
            self._look_alone(due[0])
            return
        for start in range(0, len(due), _TOGETHER):
            self._tasks.start(self._look_together(due[start : start + _TOGETHER]))

    async def _look_together(self, topics: Sequence[str]) -> None:
        """Read for all that wait for some topics, or for each by itself if that fails."""
        looked = self._looked
        try:
            asked = [(topic, *each) for topic in topics for each in self._questions(topic).items()]
            readings = await self._journals.read_all([question for _, question, _ in asked])
            for (topic, _, readers), reading in zip(asked, readings, strict=True):
                self._found(topic, readers, reading)
        except errors.StoreError:
            # What is wrong with one of them does not hold up the others.
            looked = self._look_alone
        finally:
            for topic in topics:
                looked(topic)

    def _look_alone(self, topic: str) -> None:
        self._tasks.start(self._look(topic))

    async def _look(self, topic: str) -> None:
        """Read for all that wait for a topic, and answer those for whom there is something."""
        try:
            for question, readers in self._questions(topic).items():
                self._found(topic, readers, await self._read(question))
        finally:
            self._looked(topic)

    def _questions(self, topic: str) -> dict[Question, list[_Reader]]:
        questions: dict[Question, list[_Reader]] = {}
        for reader in self._waiting.get(topic, ()):
            questions.setdefault(reader.question, []).append(reader)
        return questions

    def _found(self, topic: str, readers: Sequence[_Reader], reading: Reading) -> None:
        if reading.journal is not None:
            self._seen[topic] = Head(reading.journal, reading.last)
        if reading.messages or reading.reset or reading.trimmed:
            self._answer([reader for reader in readers if self._leave(reader)], reading)

    def _looked(self, topic: str) -> None:
        if self._looking.pop(topic):
            self._look_soon(topic)
        if topic not in self._waiting:
            self._seen.pop(topic, None)

    def _look_at_all(self) -> None:
        self._timer = None
        if self._waiting:
            self._tasks.start(self._look_at_heads(tuple(self._waiting)))

    async def _look_at_heads(self, topics: tuple[str, ...]) -> None:
        """Look at the topics that are waited for whose journal is not as it was."""
        try:
            for start in range(0, len(topics), _TOPICS_AT_ONCE):
                some = topics[start : start + _TOPICS_AT_ONCE]
                heads = await self._patience.call(self._journals.heads, some)
                for topic, head in zip(some, heads, strict=True):
                    if head.journal is not None and self._seen.get(topic) != head:
                        self._look_soon(topic)
        finally:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look_at_all)


def no_journal(topic: str) -> errors.NoJournal:
    """Return the error of a topic without a journal."""
    return errors.NoJournal(
        f"the topic {topic} has no journal: it fits none of the patterns in [journal] topics"
    )


def _backlog(topic: str, reading: Reading) -> bytes:
    """Return what was read as the answer to a request."""
    return messages.Backlog(
        topic=topic,
        journal=reading.journal,
        first=reading.first,
        last=reading.last,
        messages=[
            messages.JournalMessage.of(found.sequence, found.published, found.payload)
            for found in reading.messages
        ],
        trimmed=reading.trimmed or UNSET,
        gap=reading.gap or UNSET,
        reset=reading.reset or UNSET,
    ).encode()
