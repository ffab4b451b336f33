# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What operators ask, and what they are told, in pages."""

from collections.abc import Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from gearhorn import errors
from gearhorn.messages.names import check_topic
from gearhorn.messages.reports import Report
from gearhorn.messages.requests import Request

MAX_PAGE = 1000
"""How many rows one answer to a query holds."""

TOPICS = "topics"

SUBSCRIBERS = "subscribers"

DAEMONS = "daemons"

STATUS = "status"

QUERIES = (TOPICS, SUBSCRIBERS, DAEMONS, STATUS)


class Query(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Asks for a page of what the store holds, or how a daemon is.

    :param topic: whose subscribers are asked for.
    :param after: the key of the last row of the page before.
    :param limit: how many rows the page has at the most.
    """

    query: str
    topic: str | None = None
    after: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.query not in QUERIES:
            raise errors.InvalidQuery(f"query must be one of {', '.join(QUERIES)}")
        if self.query == SUBSCRIBERS:
            if self.topic is None:
                raise errors.InvalidQuery("the query subscribers needs a topic")
            check_topic(self.topic)
        elif self.topic is not None:
            raise errors.InvalidQuery("topic goes with the query subscribers")
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
    """A topic that has subscribers."""

    topic: str
    subscribers: int


class SubscriberRow(Struct, frozen=True):
    """A subscriber of a topic.

    ``expires_in`` is in seconds, ``None`` for never. Where it is not above
    zero the subscription has ended and is about to be removed.
    """

    client_id: str
    queue: str
    expires_in: float | None


class DaemonRow(Struct, frozen=True):
    """A daemon that has an entry in the store.

    ``age`` is how many seconds ago it renewed the entry. A barred one was
    removed by hand, and stands until no list that it read can be in use.
    """

    worker_id: str
    age: float
    barred: bool


class StatusRow(Struct, frozen=True, kw_only=True):
    """How the daemon is that answers. Times are in seconds."""

    worker_id: str
    version: str
    uptime: float
    store_fault: str | None
    """The code of what is wrong with the store."""
    servers: dict[str, bool]
    """Each job server that it was told of, and whether it is connected."""
    fanouts: int
    """Fan-outs in hand."""
    requests: int
    """Registrations, removals and queries in hand, this one too."""
    cached_topics: int
    functions: dict[str, str]
    """What its functions are called, by the name of the option."""
    matchmaking_topic: str
    cache_ttl: float
    daemon_ttl: float


Row = TypeVar("Row")


class Page(Report, Generic[Row], frozen=True, kw_only=True):
    """The answer to a query.

    ``next`` is what to give as ``after`` for the next page; ``None`` where
    this is the last.
    """

    query: str
    rows: Sequence[Row]
    next: str | None = None
