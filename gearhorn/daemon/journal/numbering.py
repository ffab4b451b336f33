# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Fan-outs of topics with a journal: each gets its number before a copy is sent.

The number is asked for in the order in which a topic's fan-outs were taken. The list of
subscribers is looked up after the answer: whoever registers is told the last sequence after
its change was confirmed, so it is on the list of each message above that.

A fan-out whose append fails waits outside the window, within bounds, so that the topics
without a journal go on.
"""

from collections.abc import Callable, Sequence

import msgspec

from gearhorn import clock, errors, messages
from gearhorn.daemon.journal.appends import Appends, Message
from gearhorn.daemon.journal.numbered import Numbered
from gearhorn.daemon.journal.patterns import Patterns
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.turns import Waiting
from gearhorn.store.journal import Entry, First, Mark, Placed, Refused
from gearhorn.wire.job import Job

MOST_ASIDE = 100_000
"""The most fan-outs that wait outside the window for the store."""

OnNumbered = Callable[[Waiting], None]

_TOO_MANY = (
    "the topic has no journal yet, and there are [journal] max_topics already: raise it, or end "
    "a journal by its max_age"
)


class Numbering:
    """Gives fan-outs their places in the journals.

    :param groups: returns the number of groups of the list that was read last for a topic.
    :param max_message_bytes: the largest payload that is taken.
    :param max_aside_bytes: about the most bytes of jobs that wait outside the window.
    """

    def __init__(
        self,
        patterns: Patterns,
        appends: Appends,
        refusals: Refusals,
        *,
        groups: Callable[[str], int],
        max_message_bytes: int,
        max_aside_bytes: int,
    ) -> None:
        self.patterns = patterns
        self._appends = appends
        self._refusals = refusals
        self._groups = groups
        self._max_message_bytes = max_message_bytes
        self._max_aside_bytes = max_aside_bytes
        self._asked: dict[Waiting, bool] = {}
        """Those without a number, also those whose turn has not come; true for those outside
        the window."""
        self._aside_bytes = 0
        self.aside = 0
        """The number of those outside the window."""
        appends.on_failing = self._set_aside

    def set_max_message_bytes(self, max_message_bytes: int) -> None:
        """Take payloads of so many bytes from now on."""
        self._max_message_bytes = max_message_bytes

    @property
    def waiting(self) -> int:
        """The number of fan-outs that wait for their numbers, inside the window and outside.

        Those in a lane are counted there, and those with a place among the open ones.
        """
        return sum(waiting.place is None and waiting.queue is None for waiting in self._asked)

    def covers(self, topic: str) -> bool:
        """Return true if a topic has a journal."""
        return self.patterns.covers(topic)

    def waits(self, waiting: Waiting) -> bool:
        """Return true if a fan-out waits for its number, and not for its turn."""
        return waiting in self._asked and waiting.queue is None

    def takes(self, job: Job, content: messages.Content) -> bool:
        """Refuse a fan-out whose payload is too large for a journal; return true otherwise."""
        largest = max(map(len, _payloads(content)))
        if largest <= self._max_message_bytes:
            return True
        error = errors.MessageTooLarge(
            f"the payload has {largest} bytes; a topic with a journal takes "
            f"{self._max_message_bytes}, by the configuration's [journal] max_message_bytes"
        )
        self._refusals.refuse(job, error)
        return False

    def expect(self, waiting: Waiting) -> None:
        """Hold a fan-out that is to be numbered, at once or when its turn comes."""
        self._asked[waiting] = False
        waiting.on_end = self._forget
        if self._appends.failing:
            self._set_one_aside(waiting)

    def number(
        self,
        waiting: Waiting,
        request: messages.FanOut,
        content: messages.Content,
        on_numbered: OnNumbered,
    ) -> None:
        """Ask for the number of a fan-out that is expected.

        :param on_numbered: called once it has its number, or has ended without one.
        """
        topic = waiting.topic
        limits = self.patterns.limits(topic)
        assert limits is not None, "the topic has a journal"
        groups = self._groups(topic)
        entry = Entry(_payloads(content), groups, request.id or "", not waiting.foreground)

        def done(journal: str, placed: Placed) -> None:
            try:
                self._answered(waiting, entry, journal, placed)
                on_numbered(waiting)
            except Exception as error:
                # The others of the same append go on.
                if not waiting.ended:
                    waiting.end()
                    self._refusals.fail_unexpectedly(waiting.job, error)

        def refused(why: Refused) -> None:
            if not waiting.ended:
                waiting.end()
                self._refusals.refuse(waiting.job, errors.TooManyJournals(_TOO_MANY))
            on_numbered(waiting)

        self._appends.add(topic, limits, Message(entry, lambda: not waiting.ended, done, refused))

    def _answered(self, waiting: Waiting, entry: Entry, journal: str, placed: Placed) -> None:
        if waiting.ended:
            return
        self._take_up(waiting)
        waiting.on_end = None
        first = placed.first
        if first is not None and first.counts and not waiting.foreground:
            waiting.end()
            self._answer_duplicate(waiting, journal, placed.sequence, first)
            return
        payload: messages.Content | None = None
        groups = entry.groups
        if first is not None:
            groups = first.groups
            whole = _first_payloads(first.payloads, entry.payloads)
            payload = whole if isinstance(waiting.payload, tuple) else whole[0]
            # Of one that waits for its turn the job's data alone is kept.
            if waiting.request is not None:
                waiting.payload = payload
        waiting.number = Numbered(
            journal=journal,
            sequence=placed.sequence,
            groups=groups,
            payload=payload,
            id="" if waiting.foreground else entry.id,
        )
        # A list that may not be kept serves those whose append was answered before it was
        # asked for.
        waiting.taken = clock.now()

    def _answer_duplicate(
        self, waiting: Waiting, journal: str, sequence: int, first: First
    ) -> None:
        counts = msgspec.json.decode(first.counts, type=_Counts)
        series = isinstance(waiting.payload, tuple)
        report = messages.FanOutReport(
            topic=waiting.topic,
            messages=first.messages if series else msgspec.UNSET,
            subscribers=counts.subscribers,
            queued=counts.queued,
            skipped=counts.skipped or msgspec.UNSET,
            journal=journal,
            sequence=sequence,
            duplicate=True,
        )
        self._refusals.done(waiting.job, report.encode())

    def all_queued(
        self, topic: str, number: Numbered, subscribers: int, copies: int, skipped: int
    ) -> None:
        """Write down that each copy of a message with an id was queued or skipped."""
        limits = self.patterns.limits(topic)
        if limits is not None:
            counts = msgspec.json.encode(_Counts(subscribers, copies - skipped, skipped))
            mark = Mark(number.id, number.journal, number.sequence, counts.decode())
            self._appends.mark(topic, limits, mark)

    # The window.

    def _forget(self, waiting: Waiting) -> None:
        """Forget a fan-out that ends without its number."""
        if self._asked.pop(waiting, False):
            self._count_aside(waiting, -1)

    def _take_up(self, waiting: Waiting) -> None:
        if self._asked.pop(waiting):
            self._count_aside(waiting, -1)
            waiting.job.take_up()

    def _set_aside(self) -> None:
        for waiting in self._asked:
            self._set_one_aside(waiting)

    def _set_one_aside(self, waiting: Waiting) -> None:
        size = len(waiting.job.data)
        if (
            not self._asked[waiting]
            # Who has a place is outside already.
            and waiting.place is None
            and self.aside < MOST_ASIDE
            and self._aside_bytes + size <= self._max_aside_bytes
        ):
            self._asked[waiting] = True
            self._count_aside(waiting, 1)
            waiting.job.set_aside()

    def _count_aside(self, waiting: Waiting, change: int) -> None:
        self.aside += change
        self._aside_bytes += change * len(waiting.job.data)


def _payloads(content: messages.Content) -> Sequence[bytes]:
    return content if isinstance(content, tuple) else (content,)


def _first_payloads(first: Sequence[bytes | None], own: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the payloads of a first run, those that were trimmed meanwhile as a repeat has them.

    They end where neither has one, since a repeat may bring fewer.
    """
    found = []
    for index, kept in enumerate(first or own):
        if kept is None:
            if index == len(own):
                break
            kept = own[index]
        found.append(kept)
    return tuple(found)


class _Counts(msgspec.Struct, frozen=True):
    """What the record of an id keeps of a run whose copies were all queued or skipped."""

    subscribers: int
    queued: int
    skipped: int = 0
