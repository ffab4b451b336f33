# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The appends of a daemon: collected, in order, and repeated until they are answered.

What comes in one turn of the loop, or in ``flush_interval``, goes to the store in one write.
Of a topic one append is under way; what comes meanwhile goes with the next. An append whose
answer did not come may have been done: it is repeated with the same number and the same
messages, also those whose fan-out was given up meanwhile, until the store says what became
of it.
"""

import asyncio
from collections.abc import Callable, Sequence

from gearhorn import clock, errors
from gearhorn.daemon.metrics import Counts
from gearhorn.store.journal import (
    Append,
    Appended,
    Entry,
    JournalLimits,
    Journals,
    Mark,
    Placed,
    Refused,
)
from gearhorn.store.patience import Patience
from gearhorn.tasks import Tasks

MOST_ENTRIES = 1000
"""The most messages of a topic in one append."""
MOST_BYTES = 4 << 20
"""About the most bytes of them."""

MARKS_S = 0.01
"""Seconds after which marks are written that no message has taken along. A write of its own for
each would cost more than the message."""

OnAppended = Callable[[str, Placed], None]


class Message:
    """A message to append."""

    __slots__ = ("entry", "on_done", "on_refused", "wanted")

    def __init__(
        self,
        entry: Entry,
        wanted: Callable[[], bool],
        on_done: OnAppended,
        on_refused: Callable[[Refused], None],
    ) -> None:
        self.entry = entry
        self.wanted = wanted
        """Returns false once its fan-out was given up."""
        self.on_done = on_done
        """Called with the journal's id and its place there."""
        self.on_refused = on_refused
        """Called if it is not appended, or if it is not wanted when its turn comes."""


class _Line:
    """What waits for the journal of one topic, in order."""

    __slots__ = ("limits", "marks", "messages", "number", "topic", "under_way")

    def __init__(self, topic: str, limits: JournalLimits) -> None:
        self.topic = topic
        self.limits = limits
        self.messages: list[Message] = []
        self.marks: list[Mark] = []
        self.under_way: list[Message] = []
        self.number: int | None = None
        """That of the append under way."""


class Appends:
    """The appends of a daemon to all journals.

    :param flush_interval: seconds for which messages are collected.
    """

    def __init__(
        self,
        journals: Journals,
        patience: Patience,
        counts: Counts,
        *,
        flush_interval: float = 0.0,
    ) -> None:
        self._journals = journals
        self._patience = patience
        self._counts = counts
        self._flush_interval = flush_interval
        self._lines: dict[str, _Line] = {}
        self._due: dict[str, _Line] = {}
        """Those that have something for the next write."""
        self._flushing = False
        self._marked: dict[str, _Line] = {}
        """Those whose marks wait for a message."""
        self._number = 0
        """The highest number of an append: one for all topics, as it only has to rise."""
        self._tasks = Tasks()
        self.failing = False
        """True while the last write, or a repeat of it, has failed."""
        self.on_failing: Callable[[], None] = lambda: None
        """Called when a write fails, and messages wait for the store."""

    @property
    def waiting(self) -> int:
        """The number of messages that are not answered."""
        return sum(len(line.messages) + len(line.under_way) for line in self._lines.values())

    def add(self, topic: str, limits: JournalLimits, message: Message) -> None:
        """Append a message behind those that were added before."""
        line = self._line(topic, limits)
        line.messages.append(message)
        self._want(line)

    def mark(self, topic: str, limits: JournalLimits, mark: Mark) -> None:
        """Write that a message with an id had every copy queued, with the next append or soon.

        Nobody waits for it: if this daemon ends before, a repeat is sent again.
        """
        line = self._line(topic, limits)
        line.marks.append(mark)
        self._want_marks(line)

    def set_flush_interval(self, flush_interval: float) -> None:
        """Collect the messages of each write from the next one on for so many seconds."""
        self._flush_interval = flush_interval

    async def close(self) -> None:
        """Write no more; what is not answered is given up."""
        self._marked.clear()
        await self._tasks.cancel()

    def _line(self, topic: str, limits: JournalLimits) -> _Line:
        line = self._lines.get(topic)
        if line is None:
            line = self._lines[topic] = _Line(topic, limits)
        line.limits = limits
        return line

    def _want_marks(self, line: _Line) -> None:
        if not self._marked:
            asyncio.get_running_loop().call_later(MARKS_S, self._want_marked)
        self._marked[line.topic] = line

    def _want_marked(self) -> None:
        marked, self._marked = self._marked, {}
        for line in marked.values():
            if line.marks:
                self._want(line)

    def _want(self, line: _Line) -> None:
        if line.number is not None:
            return
        self._due[line.topic] = line
        if not self._flushing:
            self._flushing = True
            loop = asyncio.get_running_loop()
            if self._flush_interval:
                loop.call_later(self._flush_interval, self._flush)
            else:
                loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        due, self._due = self._due, {}
        turn = [append for line in due.values() if (append := self._next(line)) is not None]
        if turn:
            self._tasks.start(self._write(turn))

    def _next(self, line: _Line) -> Append | None:
        """Return the next append of a topic, ``None`` if there is nothing to write."""
        taken: list[Message] = []
        size = 0
        done = 0
        for message in line.messages:
            if len(taken) == MOST_ENTRIES or size > MOST_BYTES:
                break
            done += 1
            if message.wanted():
                taken.append(message)
                size += sum(map(len, message.entry.payloads))
            else:
                message.on_refused(Refused.LATE)
        del line.messages[:done]
        marks, line.marks = line.marks, []
        if not taken and not marks:
            self._forget(line)
            return None
        if taken:
            self._number += 1
        line.number = self._number if taken else 0
        line.under_way = taken
        entries = [message.entry for message in taken]
        return Append(line.topic, line.number, entries, line.limits, marks)

    def _forget(self, line: _Line) -> None:
        if not line.messages and not line.marks:
            self._lines.pop(line.topic, None)

    async def _write(self, turn: Sequence[Append]) -> None:
        """Have the store do the appends of a turn, each until it is answered."""
        left = list(turn)

        async def attempt() -> None:
            nonlocal left
            begun = clock.now()
            try:
                answers = await self._journals.append(left)
            except errors.StoreError:
                self._fails()
                raise
            except Exception as error:
                # Else the topic would wait for ever, and nobody would be told.
                self._fails()
                raise errors.StoreError(f"unexpected error: {error!r}") from error
            self._counts.journal_appends.note(clock.now() - begun)
            again: list[Append] = []
            fault: errors.StoreError | None = None
            done: list[tuple[Append, Appended | Refused]] = []
            for append, answer in zip(left, answers, strict=True):
                if isinstance(answer, errors.StoreError):
                    again.append(append)
                    fault = answer
                elif answer is Refused.LATE:
                    # Another process has this worker id, or the store went forward: nothing
                    # was appended under this number.
                    again.append(self._renumbered(append))
                    fault = errors.StoreError("an append was taken for an older one")
                else:
                    done.append((append, answer))
            left = again
            for append, answer in done:
                self._answered(append, answer)
            if fault is not None:
                self._fails()
                raise fault

        await self._patience.call(attempt)
        self.failing = False

    def _fails(self) -> None:
        self.failing = True
        self.on_failing()

    def _renumbered(self, append: Append) -> Append:
        self._number += 1
        self._lines[append.topic].number = self._number
        return append._replace(number=self._number)

    def _answered(self, append: Append, answer: Appended | Refused) -> None:
        self.failing = False
        line = self._lines[append.topic]
        messages, line.under_way = line.under_way, []
        line.number = None
        if line.messages:
            self._want(line)
        elif line.marks:
            self._want_marks(line)
        else:
            self._lines.pop(append.topic)
        if isinstance(answer, Refused):
            for message in messages:
                message.on_refused(answer)
            return
        journal = answer.journal
        for message, placed in zip(messages, answer.placed, strict=True):
            assert journal is not None, "it has messages"
            self._count(message.entry, placed)
            message.on_done(journal, placed)

    def _count(self, entry: Entry, placed: Placed) -> None:
        counts = self._counts
        if placed.first is None:
            counts.journal_messages += len(entry.payloads)
            counts.journal_bytes += sum(map(len, entry.payloads))
        else:
            counts.journal_duplicates += len(entry.payloads)
