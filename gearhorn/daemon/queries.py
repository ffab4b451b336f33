# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The queries of operators: topics, subscribers, daemons, and this daemon's status.

Operators need no access to the store. A query does not wait for a store that is
away, as a registration does: the answer says what is wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import async_timeout

from gearhorn import clock, errors, messages
from gearhorn.daemon.guard.seen import Depth
from gearhorn.daemon.journal.none import NoJournals
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.trust.agreement import Agreement
from gearhorn.messages import (
    DaemonRow,
    EndedRow,
    JournalRow,
    Page,
    Query,
    StatusRow,
    SubscriberRow,
    TopicRow,
)
from gearhorn.store.base import Store, SubscriberExpiry
from gearhorn.tasks import Tasks
from gearhorn.wire.grabber import Job

_decode = messages.RequestDecoder(Query)


class Queries:
    """The jobs of the function ``fanout_query``.

    :param timeout: the time that the store may take for an answer, in seconds.
    :param status: returns the status of this daemon, given the error of the store,
        if there is one.
    :param depth: returns what is known of a queue, given the time.
    :param journals: the parts that deal with journals, which may have none.
    """

    def __init__(
        self,
        store: Store,
        refusals: Refusals,
        agreement: Agreement,
        *,
        timeout: float,
        status: Callable[[errors.StoreError | None], StatusRow],
        depth: Callable[[str, float], Depth],
        journals: NoJournals,
    ) -> None:
        self._journals = journals
        self._store = store
        self._refusals = refusals
        self._agreement = agreement
        self._timeout = timeout
        self._status_row = status
        self._depth = depth
        self._tasks = Tasks()
        self._in_turn = asyncio.Lock()
        self._pages: dict[str, Callable[[Query, str, int], Awaitable[Page[object]]]] = {
            messages.TOPICS: self._topics,
            messages.SUBSCRIBERS: self._subscribers,
            messages.DAEMONS: self._daemons,
            messages.STATUS: self._status,
            messages.ENDED: self._ended,
            messages.JOURNALS: self._rows_of_journals,
        }

    def set_timeout(self, timeout: float) -> None:
        """Give the store so many seconds from the next query on."""
        self._timeout = timeout

    def take(self, job: Job) -> None:
        """Take a query."""
        query = self._refusals.decoded(job, _decode)
        if query is not None:
            job.hold(self._tasks.start(self._answer(job, query)).cancel)

    def beside(self, take_notice: Callable[[Job], None]) -> Callable[[Job], None]:
        """Return a taker of the daemon's own function, which brings notices and queries."""

        def take(job: Job) -> None:
            if not job.oversize and messages.asks(job.data):
                self._take_own(job)
            else:
                take_notice(job)

        return take

    def _take_own(self, job: Job) -> None:
        """Take a query for the status of this daemon, and no other.

        It is answered at once, with what is known of the store: the jobs beside it are notices,
        which nothing may hold up.
        """
        query = self._refusals.decoded(job, _decode)
        if query is None:
            return
        if query.query != messages.STATUS:
            error = errors.InvalidQuery("a daemon's own function answers the query status only")
            self._refusals.refuse(job, error)
            return
        page = Page(query=query.query, rows=[self._status_row(None)])
        self._refusals.done(job, page.encode())

    async def _answer(self, job: Job, query: Query) -> None:
        page = self._pages[query.query]
        work = page(query, query.after or "", query.limit or messages.MAX_PAGE)
        await self._refusals.report(job, work, (errors.StoreError, errors.JournalsDiffer))

    async def _in_time(self, answer: Awaitable[messages.Row]) -> messages.Row:
        """Return the store's answer, or raise StoreAway when the time is up.

        The timeout of the store itself does not count the wait behind other calls.
        """
        try:
            async with async_timeout.timeout(self._timeout):
                return await answer
        except asyncio.TimeoutError:
            raise errors.StoreAway(f"the store took more than {self._timeout:g} seconds") from None

    # Each asks for one row more than the page holds, to see if it is the last.

    async def _topics(self, query: Query, after: str, limit: int) -> Page[object]:
        found = await self._in_time(self._store.topics(after, limit + 1))
        rows = (TopicRow(topic=row.topic, subscribers=row.subscribers) for row in found)
        return _page(query, rows, limit, lambda row: row.topic)

    async def _subscribers(self, query: Query, after: str, limit: int) -> Page[object]:
        topic = query.topic
        assert topic is not None, "which the class of the request sees to"
        found = await self._in_time(self._store.subscribers(topic, after, limit + 1))
        now = clock.now()
        rows = (self._subscriber(topic, row, now) for row in found)
        return _page(query, rows, limit, lambda row: row.client_id)

    def _subscriber(self, topic: str, row: SubscriberExpiry, now: float) -> SubscriberRow:
        queue = messages.queue_name(topic, row.client_id)
        depth = self._depth(queue, now)
        return SubscriberRow(
            client_id=row.client_id,
            queue=queue,
            expires_in=row.expires_in,
            waiting=depth.waiting,
            running=depth.running,
            workers=depth.workers,
            full=depth.full,
            age=depth.age,
            max_waiting=row.limits.max_waiting,
            overflow=row.limits.overflow,
            remove_idle=row.limits.remove_idle,
        )

    async def _daemons(self, query: Query, after: str, limit: int) -> Page[object]:
        found = await self._in_time(self._store.daemons())
        rows = (
            DaemonRow(
                worker_id=worker_id,
                age=daemon.age,
                barred=daemon.renewal < 0,
                differs=list(self._agreement.differing(daemon)),
            )
            for worker_id, daemon in sorted(found.items())
            if worker_id > after
        )
        return _page(query, rows, limit, lambda row: row.worker_id)

    async def _ended(self, query: Query, after: str, limit: int) -> Page[object]:
        found = await self._in_time(self._store.ended(after, limit + 1))
        rows = (EndedRow(row.queue, row.topic, row.client_id, row.ago) for row in found)
        return _page(query, rows, limit, lambda row: row.queue)

    async def _rows_of_journals(self, query: Query, after: str, limit: int) -> Page[object]:
        most = limit + 1 if query.topics is None else messages.MAX_PAGE
        found = await self._in_time(self._journals.rows(query.topics, after, most))
        rows = (JournalRow(*row) for row in found)
        if query.topics is not None:
            # In one page, whatever the limit.
            return Page(query=query.query, rows=list(rows))
        return _page(query, rows, limit, lambda row: row.topic)

    async def _status(self, query: Query, after: str, limit: int) -> Page[object]:
        fault: errors.StoreError | None = None
        try:
            await self._in_time(self._store.daemons())
        except errors.StoreError as error:
            fault = error
        # One in a turn of the loop: each has all counters, and a thousand may be asked for.
        async with self._in_turn:
            await asyncio.sleep(0)
            return Page(query=query.query, rows=[self._status_row(fault)])

    async def close(self) -> None:
        """Stop all queries; their jobs are not answered."""
        await self._tasks.cancel()


def _page(
    query: Query,
    found: Iterable[messages.Row],
    limit: int,
    key: Callable[[messages.Row], str],
) -> Page[object]:
    rows = list(found)
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(query=query.query, rows=rows, next=key(rows[-1]) if more else None)
