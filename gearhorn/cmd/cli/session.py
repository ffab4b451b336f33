# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A session with the job servers and, through them, with the daemons."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from gearhorn import errors, messages
from gearhorn.client.answers import refusal
from gearhorn.client.caller import Caller
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
from gearhorn.wire import admin
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.status import QueueState
from gearhorn.wire.watch import Watch

T = TypeVar("T")
Row = TypeVar("Row")
Queues = Mapping[Address, Mapping[str, QueueState]]
"""The functions of each server."""

FUNCTIONS = {
    name: getattr(messages.FunctionNames, name)
    for name in ("register", "unregister", "fanout", "query", "read")
}
"""The functions of the daemon that the command uses, by the name of the option."""


_MAX_ANSWER_BYTES = 1 << 20
_STATUS_S = 5.0
"""The seconds that a daemon has for its status: one that is frozen holds nothing up."""

OLDER, NO_ANSWER = "older_release", "no_answer"
"""Why a daemon has told no status."""


class NoDaemon(errors.WireError):
    """No daemon serves the function on any job server that can be reached."""

    code = "no_daemon"


@dataclass
class Session:
    """The options before the command, and the questions to servers and daemons.

    :param timeout: the longest time for an answer, in seconds.
    """

    servers: Sequence[Address]
    wire: ConnectionSettings
    timeout: float
    as_json: bool
    functions: dict[str, str] = field(default_factory=lambda: dict(FUNCTIONS))
    _serving: dict[str, Address] = field(default_factory=dict)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on an event loop of its own."""
        return asyncio.run(work)

    async def queues(
        self,
    ) -> tuple[dict[Address, Mapping[str, QueueState]], dict[Address, errors.ServerLost]]:
        """Return the functions of each server, and the errors of those without an answer."""
        answers = await asyncio.gather(
            *(admin.queues(server, self.wire) for server in self.servers), return_exceptions=True
        )
        found: dict[Address, Mapping[str, QueueState]] = {}
        faults: dict[Address, errors.ServerLost] = {}
        for server, answer in zip(self.servers, answers, strict=True):
            if isinstance(answer, errors.ServerLost):
                faults[server] = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found[server] = answer
        return found, faults

    async def ask(self, name: str, request: messages.Request) -> bytes:
        """Send a request to a daemon and return its answer.

        :param name: one of :data:`FUNCTIONS`.
        :raises GearhornError: the daemon refused or did not answer, or there is none.
        """
        function = self.functions[name]
        server = self._serving.get(function)
        if server is None:
            server = self._serving[function] = await self.find_serving(function)
        answer = await admin.ask(server, self.wire, function, request.encode(), self.timeout)
        if not answer.completed:
            raise refusal(answer.data)
        return answer.data

    async def ask_patiently(self, name: str, request: messages.Request) -> bytes:
        """Do the same, and wait for as long as the daemon tells of progress."""
        function = self.functions[name]
        server = await self.find_serving(function)
        caller = Caller(
            "gearhorn", self.wire, _MAX_ANSWER_BYTES, Watch(), self.wire.connect_timeout
        )
        caller.connect([server])
        try:
            answer = await caller.call(function, request.encode(), "", self.timeout, patient=True)
        finally:
            await caller.close()
        if not answer.completed:
            raise refusal(answer.data)
        return answer.data

    async def find_serving(self, function: str) -> Address:
        """Return a server on which a daemon works; on another the job would wait for one.

        It is the first that is found: a server that is slow to fail holds nothing up.
        """

        async def look(server: Address) -> tuple[Address, bool]:
            states = await admin.queues(server, self.wire)
            return server, bool(states.get(function, _NONE).workers)

        looking = [asyncio.ensure_future(look(server)) for server in self.servers]
        idle: list[Address] = []
        faults: list[str] = []
        try:
            for look_done in asyncio.as_completed(looking):
                try:
                    server, is_served = await look_done
                except errors.ServerLost as fault:
                    faults.append(str(fault))
                    continue
                if is_served:
                    return server
                idle.append(server)
        finally:
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)
        if not idle:
            raise errors.ServerLost("; ".join(faults))
        raise NoDaemon(
            f"no daemon serves the function {function} on {', '.join(map(str, idle))}: "
            "start gearhorn-fanout, or name the function with --function"
        )

    async def _page(self, query: Query, row_class: type[Row]) -> Page[Row]:
        answer = await self.ask("query", query)
        try:
            # The type is made at run time, which mypy cannot follow.
            page: Page[Row] = msgspec.json.decode(answer, type=Page[row_class])  # type: ignore[valid-type]
        except msgspec.DecodeError as error:
            raise errors.GearhornError(f"the daemon's answer makes no sense: {error}") from None
        return page

    async def _rows(self, row_class: type[Row], query: str, topic: str | None = None) -> list[Row]:
        """Return all rows of a query, asked for page by page."""
        rows: list[Row] = []
        after: str | None = None
        while True:
            page = await self._page(Query(query=query, topic=topic, after=after), row_class)
            rows += page.rows
            after = page.next
            if after is None:
                return rows

    async def topics(self) -> list[TopicRow]:
        """Return all topics that have subscribers."""
        return await self._rows(TopicRow, messages.TOPICS)

    async def subscribers(self, topic: str) -> list[SubscriberRow]:
        """Return all subscribers of a topic."""
        return await self._rows(SubscriberRow, messages.SUBSCRIBERS, topic)

    async def daemons(self) -> list[DaemonRow]:
        """Return all daemons that have an entry in the store."""
        return await self._rows(DaemonRow, messages.DAEMONS)

    async def ended(self) -> list[EndedRow]:
        """Return all subscriptions that have ended and are not there again."""
        return await self._rows(EndedRow, messages.ENDED)

    async def journals(self) -> list[JournalRow]:
        """Return all journals."""
        return await self._rows(JournalRow, messages.JOURNALS)

    async def status(self) -> StatusRow:
        """Return the status of the daemon that answers."""
        (row,) = await self._rows(StatusRow, messages.STATUS)
        return row

    async def statuses(
        self, known: StatusRow, daemons: Sequence[DaemonRow], queues: Queues
    ) -> dict[str, StatusRow | str]:
        """Return the status of each daemon by worker id, or why it has told none.

        :param known: that of the daemon which answered already.
        """
        names = [row.worker_id for row in daemons if row.worker_id != known.worker_id]
        topic = known.matchmaking_topic
        answers = await asyncio.gather(*(self._status_of(name, topic, queues) for name in names))
        return {known.worker_id: known, **dict(zip(names, answers, strict=True))}

    async def _status_of(self, worker_id: str, topic: str, queues: Queues) -> StatusRow | str:
        """Ask a daemon in its own function, on a server where it works."""
        function = messages.queue_name(topic, worker_id)
        request = Query(query=messages.STATUS).encode()
        for server, states in queues.items():
            if states.get(function, _NONE).workers:
                timeout = min(self.timeout, _STATUS_S)
                try:
                    answer = await admin.ask(server, self.wire, function, request, timeout)
                    if not answer.completed:
                        raise refusal(answer.data)
                    (row,) = msgspec.json.decode(answer.data, type=Page[StatusRow]).rows
                except errors.UnknownKey:
                    # It takes nothing but notices there.
                    return OLDER
                except (errors.GearhornError, msgspec.DecodeError, ValueError):
                    continue
                # Anybody may answer in that function.
                if row.worker_id == worker_id:
                    return row
        return NO_ANSWER


def told(answers: Mapping[str, StatusRow | str]) -> dict[str, StatusRow]:
    """Return the answers of those daemons that have told their status."""
    return {name: answer for name, answer in answers.items() if isinstance(answer, StatusRow)}


def total(found: Queues, function: str) -> QueueState:
    """Return the state of a function on all servers together."""
    states = [states[function] for states in found.values() if function in states]
    return QueueState(*(sum(column) for column in zip(*states, strict=True))) if states else _NONE


_NONE = QueueState(0, 0, 0)
