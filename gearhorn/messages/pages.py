# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The queries of operators, and the pages that answer them."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from gearhorn import errors
from gearhorn.messages.names import check_topic
from gearhorn.messages.reports import Report
from gearhorn.messages.requests import Request

MAX_PAGE = 1000
"""The most rows in one answer to a query."""

TOPICS = "topics"

SUBSCRIBERS = "subscribers"

DAEMONS = "daemons"

STATUS = "status"

ENDED = "ended"

JOURNALS = "journals"

QUERIES = (TOPICS, SUBSCRIBERS, DAEMONS, STATUS, ENDED, JOURNALS)


class Query(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request for a page of what the store holds, or for the status of a daemon.

    :param query: one of :data:`QUERIES`.
    :param topic: the topic whose subscribers are asked for.
    :param topics: the topics whose journals are asked for, all of them unless given.
    :param after: the key of the last row of the page before.
    :param limit: the most rows in the page.
    """

    query: str
    topic: str | None = None
    after: str | None = None
    limit: int | None = None
    topics: list[str] | None = None

    def __post_init__(self) -> None:
        if self.query not in QUERIES:
            raise errors.InvalidQuery(f"query must be one of {', '.join(QUERIES)}")
        if self.query == SUBSCRIBERS:
            if self.topic is None:
                raise errors.InvalidQuery("the query subscribers needs a topic")
            check_topic(self.topic)
        elif self.topic is not None:
            raise errors.InvalidQuery("topic goes with the query subscribers")
        if self.topics is not None:
            if self.query != JOURNALS:
                raise errors.InvalidQuery("topics goes with the query journals")
            if len(self.topics) > MAX_PAGE:
                raise errors.InvalidQuery(f"topics may have {MAX_PAGE} of them")
            if self.after is not None:
                raise errors.InvalidQuery("after goes with a query of all journals")
            for topic in self.topics:
                check_topic(topic)
        if self.limit is not None and not 1 <= self.limit <= MAX_PAGE:
            raise errors.InvalidQuery(f"limit must be from 1 to {MAX_PAGE}")
        if self.after is not None:
            if self.query == STATUS:
                raise errors.InvalidQuery("the query status has one page; leave after out")
            try:
                self.after.encode()
            except UnicodeEncodeError:
                raise errors.InvalidQuery("after must be Unicode text") from None


class TopicRow(Struct, frozen=True):
    """A topic and the number of its subscribers."""

    topic: str
    subscribers: int


class SubscriberRow(Struct, frozen=True):
    """A subscriber of a topic, and what the daemon that answers knows of its queue.

    ``expires_in`` is in seconds, ``None`` for never. If it is not above zero the
    subscription has ended and is about to be removed. ``waiting`` counts the jobs that no
    worker has taken, ``running`` those that one has. ``full`` is true if that daemon
    sends it no copies. ``age`` is the age of these numbers in seconds, ``None`` if there
    are none. The others are what the registration brought, ``None`` where the
    configuration's count. Older releases tell only the first three.
    """

    client_id: str
    queue: str
    expires_in: float | None
    waiting: int = 0
    running: int = 0
    workers: int = 0
    full: bool = False
    age: float | None = None
    max_waiting: int | None = None
    overflow: str | None = None
    remove_idle: float | None = None


class DaemonRow(Struct, frozen=True):
    """A daemon's entry in the store.

    ``age`` is the time since the last renewal, in seconds, ``None`` if the store has lost
    it. A barred entry was removed by hand, and stands until no list that its daemon read
    can be in use.
    ``differs`` has the options that all daemons need alike and that the daemon which
    answers has otherwise; older releases do not tell.
    """

    worker_id: str
    age: float | None
    barred: bool
    differs: Sequence[str] = ()


class EndedRow(Struct, frozen=True):
    """A subscription that ended ``ended`` seconds ago, and was not made again since."""

    queue: str
    topic: str
    client_id: str
    ended: float


class StatusRow(Struct, frozen=True, kw_only=True):
    """The status of the daemon that answers. Times are in seconds."""

    worker_id: str
    version: str
    uptime: float
    store_fault: str | None
    """The code of the error for which calls of the store wait, if any do."""
    servers: dict[str, bool]
    """The job servers in the configuration: true for those connected."""
    fanouts: int
    """Fan-outs in hand."""
    requests: int
    """Registrations, removals and queries in hand, this one too."""
    cached_topics: int
    functions: dict[str, str]
    """The names of its functions, by the name of the option."""
    matchmaking_topic: str
    cache_ttl: float
    daemon_ttl: float
    fanouts_open: int = 0
    """Foreground fan-outs that wait for receivers or for their turn, or send their copies."""
    store_evicts: str | None = None
    """The policy by which the store throws away keys when it is full, if it has one."""
    limits: dict[str, int | float | str] | None = None
    """The limits of its configuration, by the name of the option."""
    deepest: Sequence[tuple[str, int, int]] = ()
    """The deepest queues at its last looks at the job servers, the deepest first: name,
    jobs that no worker has taken, workers."""
    journal_fault: str | None = None
    """The code of the error for which appends to journals wait, if any do."""
    journal_bytes: int | None = None
    """The bytes that the messages of all journals had at the last upkeep."""
    store_memory: int | None = None
    """The bytes of memory that the store of the journals uses, if it tells."""
    store_max_memory: int | None = None
    """The most that it may use, if it tells; 0 for no limit."""
    counters: dict[str, float] | None = None
    """What it has counted since its start, without what is 0, by the names of the metrics;
    older releases do not tell it."""


Row = TypeVar("Row")


class Page(Report, Generic[Row], frozen=True, kw_only=True):
    """The answer to a query.

    ``next`` is the ``after`` of the query for the next page; ``None`` on the last.
    """

    query: str
    rows: Sequence[Row]
    next: str | None = None
