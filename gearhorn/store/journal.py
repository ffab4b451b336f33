# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The interface of the journals: what was published on a topic, numbered, for whoever comes late.

A journal is the newest messages of a topic, each with a sequence that rises, and an id of
its own, which changes when numbers may have been lost. The journals stand in the
subscriptions' store or in one of their own. For all daemons that share it, a store of
journals keeps:

* the messages of each topic, with the store's time and the number of groups;
* its head: the id, the last sequence, what was trimmed, the last jump, and what the last
  append of each of 64 daemons was given, for a repeat;
* a record of each id that a publisher gave to a message.

No sequence of a journal is given to two messages, and no append gets two. Each method that
changes something does so in one atomic step for each topic. Methods raise subclasses of
:class:`~gearhorn.errors.StoreError` only, of the same classes as a
:class:`~gearhorn.store.base.Store`, and must be called from the thread that runs the event
loop.
"""

import abc
import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from gearhorn import errors
from gearhorn.store.identity import Opened, Terms

MOST_IDS = 100_000
"""The most ids of a topic that are kept: the newest."""

MOST_WORKERS = 64
"""The most worker ids whose last append a head keeps: those that appended last."""

UNUSED_AFTER = 10
"""A journal is deleted after so many times its ``max_age`` without an append."""

_PAGE = 100
"""The journals that upkeep looks at between two calls."""


class JournalLimits(NamedTuple):
    """What ends the messages of a topic, whichever comes first."""

    max_messages: int
    """At least 1. Appending ends the oldest beyond it."""
    max_bytes: int
    """Of payloads as they are stored. Appending ends the oldest beyond it; the newest stays."""
    max_age: float
    """Seconds; 0 for no end. Upkeep ends what is older."""


class Entry(NamedTuple):
    """One fan-out to append.

    :param payloads: a message each, at least one; they get sequences that follow each
        other.
    :param groups: the number of groups that is kept with each of them, at least 1.
    :param id: the publisher's name for all of them together; ``""`` for none.
    :param background: whether the counts of an earlier run are enough of an answer. If
        not, a repeat is always given the payloads of the first.
    """

    payloads: Sequence[bytes]
    groups: int = 1
    id: str = ""
    background: bool = True


class Mark(NamedTuple):
    """A background run of a message with an id had every copy queued or skipped.

    It changes nothing if the id's record names another journal or sequence.
    """

    id: str
    journal: str
    sequence: int
    """The first of the message's or messages'."""
    counts: str
    """A text for whoever repeats it, not empty, which the store does not read."""


class Append(NamedTuple):
    """What a daemon writes to the journal of one topic in one step.

    :param number: above that of this daemon's append of the topic before, and the same,
        with the same entries, each time it is repeated. A daemon has one append of a topic
        under way. 0 if there are only marks.
    :param marks: written even where the append itself is a repeat.
    """

    topic: str
    number: int
    entries: Sequence[Entry]
    limits: JournalLimits
    marks: Sequence[Mark] = ()


class First(NamedTuple):
    """What is known of the first run of an entry that was not appended, as its id was known."""

    messages: int
    """How many payloads it had."""
    groups: int
    counts: str
    """As a :class:`Mark` brought them; ``""`` if no background run is known to be complete."""
    payloads: Sequence[bytes | None]
    """One for each of the messages, ``None`` for those that were trimmed. Empty if they are
    not needed: the entry is in the background, and there are counts."""


class Placed(NamedTuple):
    """Where an entry stands in the journal."""

    sequence: int
    """The first of its messages'."""
    first: First | None = None
    """``None`` if it was appended; else it is a duplicate, and this the first."""


class Appended(NamedTuple):
    """The answer to an append that was done, now or before.

    ``journal`` is ``None`` only if there are no entries, and no journal. ``placed`` has one
    for each entry. ``told`` is false where waiting readers could not be told, as Redis'
    ACL forbids PUBLISH.
    """

    journal: str | None
    placed: Sequence[Placed]
    told: bool = True


class Refused(enum.Enum):
    """Why an append was not done, and is not to be repeated."""

    TOO_MANY_JOURNALS = "too_many_journals"
    """The topic has no journal yet, and there are ``max_topics`` already."""
    LATE = "late"
    """The number is lower than that of an append that the store has done."""


Answer = Appended | Refused | errors.StoreError
"""The answer to an append. An error is that of one topic alone; the append is to be repeated."""


class Head(NamedTuple):
    """The journal of a topic and its last sequence; ``None`` and 0 before the first append."""

    journal: str | None
    sequence: int


class Question(NamedTuple):
    """What is asked for: the messages after a sequence of a journal, ``None`` for today's."""

    topic: str
    after: int
    """Below 2^53."""
    journal: str | None
    limit: int
    max_bytes: int
    """The most bytes of payloads; one message always fits."""


class JournalMessage(NamedTuple):
    """A message as it stands in a journal."""

    sequence: int
    published: float
    """Unix seconds by the store's clock, never falling within a journal."""
    groups: int
    payload: bytes


class Reading(NamedTuple):
    """A page of a journal, and its bounds at the same moment.

    ``first`` and ``last`` are 1 and 0 before the first append; if all was trimmed, ``first``
    is ``last`` + 1.
    """

    journal: str | None
    first: int
    last: int
    messages: Sequence[JournalMessage]
    trimmed: bool
    """Messages after ``after`` were trimmed."""
    gap: bool
    """The store may have lost messages between ``after`` and the end of the page."""
    reset: bool
    """The journal is not the one that was asked for, so ``after`` counted as 0."""


class JournalRow(NamedTuple):
    """A journal, for people. ``age`` is the seconds of the oldest message; ``None`` without."""

    topic: str
    journal: str
    first: int
    last: int
    messages: int
    bytes: int
    age: float | None


class Memory(NamedTuple):
    """The bytes that the store uses, and the most it may use, ``None`` if it has no limit."""

    used: int
    limit: int | None


class Journals(abc.ABC):
    """The interface of every store of journals.

    :param worker_id: the daemon that appends; ``""`` if none does.
    :param max_topics: the most journals that appends make.
    :param id_window: seconds for which an id is kept after it was last used.
    """

    on_append: Callable[[str | None], object]
    """Called with a topic that is watched, once there may be something new in its journal;
    with ``None`` if that may be so for every topic: the watch was interrupted."""

    def __init__(self, worker_id: str, *, max_topics: int, id_window: float) -> None:
        self.worker_id = worker_id
        # Both can be set anew, for the calls that begin then.
        self.max_topics = max_topics
        self.id_window = id_window
        self.on_append = lambda topic: None

    @abc.abstractmethod
    async def open(self, known: Collection[str] = (), terms: Terms = Terms.MAKE) -> Opened:
        """Connect, and take the identity of the store: see :meth:`Store.open`.

        Where the journals stand in the subscriptions' store, that one is opened first, and
        this one is then opened with its tag and :attr:`Terms.TAKE`.

        From then on every method but :meth:`close` and those of the watch raises
        :class:`~gearhorn.errors.StoreReplaced` if the store that answers has another
        identity, or none. It may be opened again then.
        """

    @abc.abstractmethod
    def set_timeout(self, timeout: float) -> None:
        """Give every call that begins from now on so many seconds for an answer."""

    @abc.abstractmethod
    async def close(self) -> None:
        """End the watch, and close the connections. Never raises."""

    # Appending.

    @abc.abstractmethod
    async def append(self, turn: Sequence[Append]) -> Sequence[Answer]:
        """Append to the journals of several topics, each at most once in a call.

        What the limits end is trimmed in the same step.

        If this raises, each append may have been done or not, or may be done later: it is
        to be repeated as it was.

        :returns: one for each append, in their order.
        :raises StoreFull: the store takes no writes; nothing was appended.
        """

    # Reading.

    @abc.abstractmethod
    async def heads(self, topics: Sequence[str]) -> Sequence[Head]:
        """Return the journal of each of the topics and its last sequence, in their order."""

    async def head(self, topic: str) -> Head:
        """Return the journal of a topic and its last sequence."""
        return (await self.heads([topic]))[0]

    @abc.abstractmethod
    async def read_all(self, questions: Sequence[Question]) -> Sequence[Reading]:
        """Answer several questions, in their order, each with what is there at one moment."""

    async def read(
        self, topic: str, after: int, journal: str | None, limit: int, max_bytes: int
    ) -> Reading:
        """Answer one: see :class:`Question`."""
        return (await self.read_all([Question(topic, after, journal, limit, max_bytes)]))[0]

    @abc.abstractmethod
    async def rows(self, topics: Sequence[str]) -> Sequence[JournalRow]:
        """Return a row for each of the topics that has a journal, in their order."""

    @abc.abstractmethod
    async def topics(self, after: str, limit: int) -> Sequence[str]:
        """Return a page of the topics with a journal, in the order of their UTF-8 bytes.

        :param after: the last topic of the page before; ``""`` for the first page.
        :param limit: the most topics in the page.
        """

    async def page(self, after: str, limit: int) -> Sequence[JournalRow]:
        """Return a page of the rows of all journals, in the order of :meth:`topics`."""
        while True:
            topics = await self.topics(after, limit)
            rows = await self.rows(topics)
            # A page without rows would look like the end.
            if rows or len(topics) < limit:
                return rows
            after = topics[-1]

    @abc.abstractmethod
    async def memory(self) -> Memory:
        """Return the memory of the whole store, whatever else is in it."""

    # Upkeep.

    @abc.abstractmethod
    async def trim(self, topic: str, limits: JournalLimits | None) -> None:
        """End what is too old, and the whole journal if nothing was appended for long.

        Goes through when the store is full, too.

        :param limits: ``None`` to go by those of the last append.
        """

    async def upkeep(
        self, limits_of: Callable[[str], JournalLimits | None]
    ) -> Mapping[str, errors.StoreError]:
        """Trim every journal once.

        :returns: the topics whose keys cannot be used, with the reason. They hold up no other.
        """
        faults: dict[str, errors.StoreError] = {}
        after = ""
        while True:
            topics = await self.topics(after, _PAGE)
            for topic in topics:
                try:
                    await self.trim(topic, limits_of(topic))
                except errors.StoreMisconfigured as error:
                    faults[topic] = error
            if len(topics) < _PAGE:
                return faults
            after = topics[-1]

    # The watch.

    @abc.abstractmethod
    async def watch(self, topic: str) -> None:
        """Have :attr:`on_append` called for a topic from the moment on that this returns.

        Never raises. While the store is away, :attr:`on_append` is called with ``None``
        once it is back; and where Redis forbids PUBLISH or SUBSCRIBE, not at all. So what
        is waited for is looked at once a second as well.
        """

    @abc.abstractmethod
    def unwatch(self, topic: str) -> None:
        """Undo :meth:`watch`, however often it was called. Never raises."""
