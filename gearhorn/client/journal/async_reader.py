# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The reader of a journal for asyncio programs."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from types import TracebackType

from gearhorn import errors, messages
from gearhorn.client.journal import asking
from gearhorn.client.journal.entries import Entry, entries_of
from gearhorn.client.loop_caller import LoopCaller
from gearhorn.client.parameters import check_function, check_seconds, servers_of
from gearhorn.messages import Backlog, FunctionNames, Read
from gearhorn.wire.connection import ConnectionSettings

WAIT_S = 60.0
"""Seconds that a daemon holds a question before it answers that nothing has come."""
_PAUSE_S = 1.0
"""Seconds until a reader that follows asks again after nobody has answered."""
_MAX_ANSWER_BYTES = 8 * messages.MAX_READ_BYTES
"""A payload can grow in JSON, and one message always fits."""


class AsyncReader:
    """A reader of a topic's journal, for asyncio programs: ``async for entry in reader``.

    It subscribes to nothing, and takes nothing from anybody. Each iteration goes on where
    the one before has ended. It serves one event loop at a time, as an
    :class:`AsyncPublisher` does. Close it with :meth:`close`, or use it as an asynchronous
    context manager.

    :param servers: the addresses of the job servers, ``host:port`` each, as a list or
        as one string with commas.
    :param after: the sequence of the last message that is known: the next one is the first
        that is read.
    :param journal: the id of the journal that ``after`` belongs to. If today's is another,
        it is read from its first message, which says ``reset``.
    :param follow: wait for messages to come, and never end.
    :param connect_timeout: the time, in seconds, for which no job server may be reachable.
    :param timeout: the time, in seconds, that a daemon has for an answer, beside the time that
        a reader that follows has it wait.
    :param tls: the TLS settings for all servers; see :func:`gearhorn.tls_context`.
    :param function: the name of the daemons' function that reads.
    :raises InvalidServer: an address is not valid, or there is none.
    :raises InvalidTopic, NameTooLong: the topic is not valid.
    :raises InvalidPosition: ``after`` is out of range.
    :raises WrongType, InvalidSeconds, ConfigurationError: another value is not valid.
    """

    def __init__(
        self,
        servers: str | Iterable[str],
        topic: str,
        *,
        after: int = 0,
        journal: str | None = None,
        follow: bool = False,
        connect_timeout: float = ConnectionSettings.connect_timeout,
        timeout: float = asking.ANSWER_TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
        function: str = FunctionNames.read,
    ) -> None:
        addresses = servers_of(servers)
        messages.check_type(topic, "topic", str)
        messages.check_type(after, "after", int)
        messages.check_type(journal, "journal", str, optional=True)
        check_seconds(connect_timeout, "connect_timeout")
        check_seconds(timeout, "timeout")
        check_function(function, "function")
        Read(topic=topic, after=after)
        self._topic = topic
        self.follow = follow
        self._function = function
        self._timeout = timeout
        settings = ConnectionSettings(tls=tls, connect_timeout=connect_timeout)
        self._caller = LoopCaller("reader", addresses, settings, _MAX_ANSWER_BYTES)
        self._is_reset = self._is_trimmed = self._is_gap = False
        """What the next message is to say."""
        self.after = after
        """The sequence of the message that was read last."""
        self.journal = journal
        """The id of the journal that it belongs to."""

    async def __aenter__(self) -> "AsyncReader":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. An iteration that waits raises ``Closed``."""
        await self._caller.close()

    async def __aiter__(self) -> AsyncIterator[Entry]:
        """Yield the messages; without ``follow`` until the last that is there.

        :raises NoJournal: the topic has no journal.
        :raises NoServer: no job server could be reached for ``connect_timeout``. A reader
            that follows tries again.
        :raises NoAnswer: no daemon answered in time. A reader that follows asks again.
        :raises Closed: the reader is closed.
        :raises WrongLoop: it is in use on another event loop, which still runs.
        :raises GearhornError: a daemon refused for another reason; the class says why.
        """
        end: int | None = None
        while True:
            entries, end = await self.page(end)
            for entry in entries:
                # Before it is handed out: who leaves the iteration has seen it.
                self.after, self.journal = entry.sequence, entry.journal
                yield entry
            if not self.follow and self.after >= end:
                return

    async def page(self, end: int | None) -> tuple[list[Entry], int]:
        """Return the next messages, and the sequence at which an iteration ends.

        :param end: what was returned before, in the same iteration.
        """
        while True:
            try:
                found = await self._ask()
                break
            except (errors.NoServer, errors.NoAnswer, errors.NotQueued):
                if not self.follow:
                    raise
                await asyncio.sleep(_PAUSE_S)
        if found.reset is True or (found.journal is None and self.after):
            self.after, end, self._is_reset = 0, None, True
        entries = entries_of(
            found,
            self.after,
            reset=self._is_reset,
            trimmed=self._is_trimmed,
            gap=self._is_gap,
        )
        self.journal = found.journal
        if entries:
            self._is_reset = self._is_trimmed = self._is_gap = False
        elif found.trimmed is True or self.after < found.last:
            self.after = found.last
            self._is_trimmed |= found.trimmed is True
            # What is not there and was not trimmed was lost by the store.
            self._is_gap |= found.gap is True or found.trimmed is not True
        elif self.after > found.last:
            # What is there now is not what it was.
            end = self.after
        return entries, found.last if end is None else end

    async def _ask(self) -> Backlog:
        caller = self._caller.get()
        request = Read(
            topic=self._topic,
            after=self.after,
            journal=self.journal,
            limit=messages.MAX_READ_LIMIT,
            wait=WAIT_S if self.follow else None,
        )
        return await asking.read(caller, self._function, request, self._timeout)
