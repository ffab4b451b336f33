# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The publisher for asyncio programs."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from gearhorn import errors, messages
from gearhorn.client.answers import fan_out_report
from gearhorn.client.bundles import Bundles, Item, Outcome
from gearhorn.client.caller import OnProgress
from gearhorn.client.loop_caller import LoopCaller
from gearhorn.client.parameters import (
    PublishOptions,
    check_count,
    check_function,
    check_seconds,
    servers_of,
)
from gearhorn.client.publications import Outgoing, Preparation, Publication, message_parts
from gearhorn.messages import FunctionNames
from gearhorn.wire.answer import Answer
from gearhorn.wire.connection import ConnectionSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gearhorn.client.parameters import PublishKeywords

_ESCAPED = 6
"""The factor by which a result can grow in the JSON of a report that gathers it."""


class AsyncPublisher:
    """A publisher for asyncio programs. It serves one event loop at a time.

    It connects at its first use: on a loop, in a process that was forked, and on
    another loop once the first has ended. Close it with :meth:`close`, or use it
    as an asynchronous context manager.

    :param servers: the addresses of the job servers, ``host:port`` each, as a list or
        as one string with commas. Each topic is sent through one of the servers that
        are connected. Messages on their way to a server that is lost are sent to
        another.
    :param timeout: the time, in seconds, that receivers have to answer a foreground
        fan-out, and that a daemon has to answer a background one.
    :param connect_timeout: the time, in seconds, for which no job server may be
        reachable before messages fail; also the longest time for one attempt to
        connect.
    :param tls: the TLS settings for all servers; see :func:`gearhorn.tls_context`.
    :param function: the name of the daemons' function that fans out.
    :param max_message_bytes: the largest request that the daemons take.
    :raises InvalidServer: an address is not valid, or there is none.
    :raises WrongType: another value has the wrong type.
    :raises InvalidSeconds: a time is out of range.
    :raises ConfigurationError: another value is not valid.
    """

    def __init__(
        self,
        servers: str | Iterable[str],
        *,
        timeout: float = messages.FANOUT_TIMEOUT_S,
        connect_timeout: float = ConnectionSettings.connect_timeout,
        tls: ssl.SSLContext | None = None,
        function: str = FunctionNames.fanout,
        max_message_bytes: int = messages.MAX_MESSAGE_BYTES,
    ) -> None:
        addresses = servers_of(servers)
        check_seconds(connect_timeout, "connect_timeout")
        check_function(function, "function")
        self.prepare = Preparation(timeout, max_message_bytes)
        """Checks messages and makes requests of them, in any thread."""
        self._function = function
        self._max_message_bytes = max_message_bytes
        self._caller = LoopCaller(
            "publisher",
            addresses,
            ConnectionSettings(tls=tls, connect_timeout=connect_timeout),
            _ESCAPED * max_message_bytes,
            self._begin,
        )
        self._bundles: Bundles
        """Those of the caller that was made last."""

    def _begin(self) -> None:
        self._bundles = Bundles(self._send, self._max_message_bytes)

    async def __aenter__(self) -> "AsyncPublisher":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections.

        Messages that wait for their report fail with
        :class:`~gearhorn.errors.Closed`.
        """
        await self._caller.close()

    async def publish(
        self,
        topic: str,
        payload: Any,
        *,
        background: bool = False,
        unique: str | None = None,
        id: str | None = None,  # noqa: A002 - the name of the key
        timeout: float | None = None,
        priority: messages.Priority | None = None,
        gather: bool = False,
        progress: bool = True,
        on_progress: OnProgress | None = None,
    ) -> messages.FanOutReport:
        """Send a copy of ``payload`` to every subscriber of ``topic``.

        :param payload: bytes and strings are sent as they are, anything else as JSON.
        :param background: return when every copy is queued, and do not wait for
            receivers.
        :param unique: copies in one queue with the same unique are one while the first
            is queued or running.
        :param id: the publisher's name for the message. A message that is published again
            with the same one is the same message: where the topic has a journal it is not
            added a second time. Each message has an id of its own unless given.
        :param timeout: the time that receivers have to answer, in seconds; the
            publisher's unless given. It goes with a foreground message only.
        :param priority: the priority of the copies; normal unless given.
        :param gather: have the report carry the receivers' results.
        :param progress: have the daemon report progress once a second.
        :param on_progress: called at each such report as ``on_progress(done, total)``,
            with the number of receivers that have answered and the number of all.
        :returns: the report. All copies are delivered, or, in the background, queued.
        :raises PartialFailure: some receivers failed; ``report`` names them.
        :raises RequestError: the request breaks the contract; the class says how.
        :raises NoServer: no job server could be reached for ``connect_timeout``.
        :raises NoAnswer: no daemon answered in time. The message may still be
            delivered.
        :raises NotQueued: every connected job server refused the request.
        :raises BadAnswer: the answer is not one that a daemon gives.
        :raises Closed: the publisher is closed.
        :raises WrongLoop: it is in use on another event loop, which still runs.
        :raises GearhornError: the daemon failed unexpectedly; its log says why.
        """
        options = PublishOptions(background, timeout, priority, gather, progress)
        publication = self.prepare(topic, payload, unique, id, options)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        item = self.start(publication, _setter(future), on_progress)
        try:
            report = value_of(await future, False)
        finally:
            item.cancel()
        assert isinstance(report, messages.FanOutReport)
        return report

    @overload
    def publish_many(
        self,
        many: Iterable[Outgoing] | AsyncIterable[Outgoing],
        *,
        window: int = ...,
        return_exceptions: Literal[False] = ...,
        **options: "Unpack[PublishKeywords]",
    ) -> AsyncIterator[messages.FanOutReport]: ...

    @overload
    def publish_many(
        self,
        many: Iterable[Outgoing] | AsyncIterable[Outgoing],
        *,
        window: int = ...,
        return_exceptions: Literal[True],
        **options: "Unpack[PublishKeywords]",
    ) -> AsyncIterator[Outcome]: ...

    async def publish_many(
        self,
        many: Iterable[Outgoing] | AsyncIterable[Outgoing],
        *,
        background: bool = False,
        timeout: float | None = None,
        priority: messages.Priority | None = None,
        gather: bool = False,
        progress: bool = True,
        window: int = 1000,
        return_exceptions: bool = False,
    ) -> AsyncIterator[Outcome]:
        """Publish many messages and yield their reports, in order.

        In the background those for one topic that wait while another is on its way are
        sent in one request, up to 1,000 messages and 1 MiB. Nothing is held back to wait for
        more, and each message has its own report, in which ``skipped`` is a share of what
        was skipped of all of them. Those with an id or a unique, with
        another priority than normal or in base64 go alone.

        The other parameters, and the errors, are those of :meth:`publish`.

        :param many: the messages, each ``(topic, payload)``, ``(topic, payload, unique)``
            or ``(topic, payload, unique, id)``.
        :param window: the most messages that are on their way at a time.
        :param return_exceptions: yield the errors that :meth:`publish` would raise, in
            place of reports. Otherwise the first error is raised, and ends the
            iteration.
        """
        check_count(window, "window")
        options = PublishOptions(background, timeout, priority, gather, progress)
        loop = asyncio.get_running_loop()
        pending: deque[asyncio.Future[Outcome]] = deque()
        async for topic, payload, unique, id_ in _each(many):
            future: asyncio.Future[Outcome] = loop.create_future()
            pending.append(future)
            try:
                publication = self.prepare(topic, payload, unique, id_, options)
                self.start(publication, _setter(future))
            except errors.RequestError as error:
                future.set_result(error)
            while pending and (len(pending) >= window or pending[0].done()):
                yield value_of(await pending.popleft(), return_exceptions)
        while pending:
            yield value_of(await pending.popleft(), return_exceptions)

    def start(
        self,
        publication: Publication,
        on_done: Callable[[Outcome], object],
        on_progress: OnProgress | None = None,
    ) -> Item:
        """Send a fan-out, perhaps together with others, or when another is answered.

        :param on_done: called with the report or the error, unless it is cancelled.
        """
        self._caller.get()
        return self._bundles.start(Item(publication, on_done, on_progress))

    def _send(self, item: Item) -> None:
        publication = item.publication

        def start(data: bytes, answered: Callable[[Answer | errors.GearhornError], object]) -> None:
            item.call = self._caller.get().start(
                self._function,
                data,
                publication.topic,
                publication.patience,
                answered,
                item.on_progress,
            )

        def answered(outcome: Answer | errors.GearhornError) -> None:
            report = _outcome(outcome)
            if isinstance(report, errors.UnknownKey) and publication.request.payloads is None:
                # One of the release before, which knows no id.
                start(publication.data_for_old_daemon(), answered_again)
            else:
                item.on_done(report)

        def answered_again(outcome: Answer | errors.GearhornError) -> None:
            item.on_done(_outcome(outcome))

        start(publication.data(), answered)


def value_of(outcome: Outcome, return_exceptions: bool) -> Outcome:
    """Return the outcome, or raise it if it is an error that is not to be returned."""
    if isinstance(outcome, errors.GearhornError) and not return_exceptions:
        raise outcome
    return outcome


def _outcome(answer: Answer | errors.GearhornError) -> Outcome:
    if isinstance(answer, errors.GearhornError):
        return answer
    try:
        return fan_out_report(answer)
    except errors.GearhornError as error:
        return error


def _setter(future: "asyncio.Future[Outcome]") -> Callable[[Outcome], object]:
    def set_result(outcome: Outcome) -> None:
        if not future.done():
            future.set_result(outcome)

    return set_result


async def _each(
    many: Iterable[Outgoing] | AsyncIterable[Outgoing],
) -> AsyncIterator[tuple[str, Any, str | None, str | None]]:
    if isinstance(many, AsyncIterable):
        async for message in many:
            yield message_parts(message)
    else:
        for message in many:
            yield message_parts(message)
