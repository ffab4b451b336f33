# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The publisher for asyncio programs."""

import asyncio
import os
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, overload

from gearhorn import errors, messages
from gearhorn.client import forks
from gearhorn.client.answers import fan_out_report
from gearhorn.client.caller import Call, Caller, OnProgress
from gearhorn.client.parameters import (
    PublishOptions,
    check_count,
    check_function,
    check_seconds,
    servers_of,
)
from gearhorn.messages import FunctionNames
from gearhorn.wire.answer import Answer
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.watch import Watch

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gearhorn.client.parameters import PublishKeywords

REPORT_GRACE_S = 5.0
"""How much longer than its receivers have the report of a fan-out may take."""
_ESCAPED = 6
"""How much longer a result can be in the JSON of a report that gathers it."""

Outgoing: TypeAlias = tuple[str, Any] | tuple[str, Any, str | None]
"""A topic, a payload and, if wanted, a unique."""
Outcome: TypeAlias = messages.FanOutReport | errors.GearhornError


class Publication(NamedTuple):
    """A fan-out that was checked and is ready to be sent."""

    topic: str
    data: bytes
    patience: float
    """How long its report is waited for, in seconds."""


class Preparation:
    """Makes requests of what is to be published; checks it, and sends nothing.

    :param timeout: how long receivers have, in seconds, where a message does
        not say.
    :param max_message_bytes: the largest request that the daemons take.
    """

    def __init__(self, timeout: float, max_message_bytes: int) -> None:
        check_seconds(timeout, "timeout")
        check_count(max_message_bytes, "max_message_bytes")
        self._timeout = timeout
        self._max_message_bytes = max_message_bytes

    def __call__(
        self,
        topic: str,
        payload: Any,
        unique: str | None,
        options: PublishOptions,
    ) -> Publication:
        background = options.background
        seconds = self._timeout if options.timeout is None else options.timeout
        request = messages.FanOut.of(
            topic,
            payload,
            # So that a second attempt coalesces with what the first has queued.
            unique=secrets.token_urlsafe(15) if unique is None else unique,
            background=background,
            timeout=None if background and options.timeout is None else seconds,
            priority=options.priority,
            gather=options.gather,
        )
        data = request.encode()
        if len(data) > self._max_message_bytes:
            raise errors.MessageTooLarge(
                f"the request has {len(data)} bytes; it may have {self._max_message_bytes}"
            )
        return Publication(topic, data, seconds if background else seconds + REPORT_GRACE_S)


class AsyncPublisher:
    """Publishes to topics, on one event loop at a time.

    It connects at its first use: on a loop, in a process that was forked, and on
    another loop once the first has ended. Close it with :meth:`close`, or use it
    as an asynchronous context manager.

    :param servers: the job servers' addresses, ``host:port`` each: a list, or
        one string with commas. A topic goes to one of those connected; what
        was on its way to one that is lost is sent to the next.
    :param timeout: how long receivers have to answer a foreground fan-out,
        and a daemon to answer a background one, in seconds.
    :param connect_timeout: how long no job server may be reachable, in seconds.
    :param tls: the TLS settings for all servers, see :func:`gearhorn.tls_context`.
    :param function: what the daemons' function is called.
    :param max_message_bytes: the largest request that the daemons take.
    :raises InvalidServer: a server's address is none.
    :raises WrongType, InvalidSeconds, ConfigurationError: another value is not
        what it should be.
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
        self._servers = servers_of(servers)
        check_seconds(connect_timeout, "connect_timeout")
        check_function(function, "function")
        self.prepare = Preparation(timeout, max_message_bytes)
        """Checks what is to be published; in any thread."""
        self._connect_timeout = connect_timeout
        self._settings = ConnectionSettings(tls=tls, connect_timeout=connect_timeout)
        self._function = function
        self._max_report_bytes = _ESCAPED * max_message_bytes
        self._caller: Caller | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        forks.tell(self)

    def forked(self) -> None:
        """Leave the connections to the parent; the child makes its own."""
        if self._caller is not None:
            forks.leave(self._caller)
            self._caller = None

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
        """Close the connections. What is still being published is given up."""
        self._closed = True
        if self._caller is not None and self._loop is asyncio.get_running_loop():
            await self._caller.close()

    async def publish(
        self,
        topic: str,
        payload: Any,
        *,
        background: bool = False,
        unique: str | None = None,
        timeout: float | None = None,
        priority: messages.Priority | None = None,
        gather: bool = False,
        on_progress: OnProgress | None = None,
    ) -> messages.FanOutReport:
        """Send a copy of ``payload`` to every subscriber of ``topic``.

        :param payload: bytes and strings are sent as they are, anything else
            as its JSON.
        :param background: return when every copy is queued, and do not wait
            for receivers.
        :param unique: copies to one queue with the same unique are one while
            the first is queued or running; each message has a unique of its
            own unless it is given one.
        :param timeout: how long receivers have, in seconds.
        :param gather: the report carries the receivers' results.
        :param on_progress: told about once a second how many receivers have
            answered, and of how many: ``on_progress(done, total)``.
        :raises PartialFailure: some receivers failed; ``report`` names them.
        :raises RequestError: what was asked for breaks the contract.
        :raises NoServer, NoAnswer, NotQueued, BadAnswer: there is no report.
        """
        options = PublishOptions(background, timeout, priority, gather)
        publication = self.prepare(topic, payload, unique, options)
        answer = await self._open().call(
            self._function,
            publication.data,
            publication.topic,
            publication.patience,
            on_progress,
        )
        return fan_out_report(answer)

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
        window: int = 1000,
        return_exceptions: bool = False,
    ) -> AsyncIterator[Outcome]:
        """Publish many messages and yield their reports, in order.

        :param many: ``(topic, payload)`` or ``(topic, payload, unique)`` each.
        :param window: how many are on their way at the most.
        :param return_exceptions: yield what :meth:`publish` would raise in
            place of the report, instead of raising it, which ends the
            iteration.
        """
        check_count(window, "window")
        options = PublishOptions(background, timeout, priority, gather)
        loop = asyncio.get_running_loop()
        pending: deque[asyncio.Future[Outcome]] = deque()
        async for topic, payload, unique in _each(many):
            future: asyncio.Future[Outcome] = loop.create_future()
            pending.append(future)
            try:
                publication = self.prepare(topic, payload, unique, options)
                self.start(publication, _setter(future))
            except errors.RequestError as error:
                future.set_result(error)
            while pending and (len(pending) >= window or pending[0].done()):
                yield value_of(await pending.popleft(), return_exceptions)
        while pending:
            yield value_of(await pending.popleft(), return_exceptions)

    def start(self, publication: Publication, on_done: Callable[[Outcome], object]) -> Call:
        """Send a fan-out; ``on_done`` takes its report or error."""

        def answered(outcome: Answer | errors.GearhornError) -> None:
            on_done(outcome if isinstance(outcome, errors.GearhornError) else _outcome(outcome))

        return self._open().start(
            self._function, publication.data, publication.topic, publication.patience, answered
        )

    def _open(self) -> Caller:
        if self._closed:
            raise errors.Closed("the publisher is closed")
        loop = asyncio.get_running_loop()
        if self._caller is not None and self._loop is not loop:
            # What the former loop had open ended with it.
            if self._loop is not None and self._loop.is_running():
                raise errors.WrongLoop(
                    "this publisher is in use on another event loop: make one for each loop"
                )
            self._caller = None
        if self._caller is None:
            self._loop = loop
            name = f"gearhorn-publisher-{os.getpid()}"
            self._caller = Caller(
                name, self._settings, self._max_report_bytes, Watch(), self._connect_timeout
            )
            self._caller.connect(self._servers)
        return self._caller


def message_parts(message: Outgoing) -> tuple[str, Any, str | None]:
    """Topic, payload and unique of a message.

    :raises WrongType: it has another number of parts.
    """
    if len(message) == 2:
        topic, payload = message
        return topic, payload, None
    if len(message) == 3:
        return message
    raise errors.WrongType("a message must be (topic, payload) or (topic, payload, unique)")


def value_of(outcome: Outcome, return_exceptions: bool) -> Outcome:
    """What :meth:`AsyncPublisher.publish_many` yields; or raise it."""
    if isinstance(outcome, errors.GearhornError) and not return_exceptions:
        raise outcome
    return outcome


def _outcome(answer: Answer) -> Outcome:
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
) -> AsyncIterator[tuple[str, Any, str | None]]:
    if isinstance(many, AsyncIterable):
        async for message in many:
            yield message_parts(message)
    else:
        for message in many:
            yield message_parts(message)
