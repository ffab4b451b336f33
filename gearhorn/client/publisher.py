# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The publisher for programs with threads: the asynchronous one, run in a thread."""

import asyncio
import os
import ssl
from collections import deque
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from gearhorn import errors, messages
from gearhorn.client import forks
from gearhorn.client.async_publisher import AsyncPublisher, value_of
from gearhorn.client.bundles import Outcome
from gearhorn.client.caller import OnProgress
from gearhorn.client.loop_thread import LoopThread
from gearhorn.client.parameters import PublishOptions, check_count
from gearhorn.client.publications import Outgoing, Publication, message_parts
from gearhorn.messages import FunctionNames
from gearhorn.wire.connection import ConnectionSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gearhorn.client.parameters import PublishKeywords


class Publisher:
    """A publisher for programs with threads. Any number of threads may use it.

    It starts a thread and connects at its first use. A process that is forked may go on
    using it: its copy connects anew, and leaves the parent's connections alone. Close
    it with :meth:`close`, or use it as a context manager. The parameters are those of
    :class:`AsyncPublisher`.
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
        self._publisher = AsyncPublisher(
            servers,
            timeout=timeout,
            connect_timeout=connect_timeout,
            tls=tls,
            function=function,
            max_message_bytes=max_message_bytes,
        )
        self._thread = LoopThread("gearhorn publisher")
        self._handed: deque[tuple[Publication, _Awaited]] = deque()
        self._woken = False
        """True once the loop has been asked to take over what was handed to it."""
        self._closed = False
        self._process = os.getpid()
        forks.tell(self)

    def _forked(self) -> None:
        """Forget what other threads of the parent have handed over."""
        self._handed = deque()
        self._woken = False
        self._process = os.getpid()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread.

        Calls of :meth:`publish` that wait for their report raise
        :class:`~gearhorn.errors.Closed`.

        :raises WrongThread: it is called in the publisher's own thread, as by
            ``on_progress``.
        """
        self._thread.check_thread()
        self._closed = True
        self._thread.stop(self._publisher.close)

    def publish(
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

        Parameters and errors are those of :meth:`AsyncPublisher.publish`.
        ``on_progress`` is called in the publisher's own thread. It should be brief,
        and may publish with another publisher only.

        :raises WrongThread: it is called in the publisher's own thread, or by the
            ``on_progress`` of a publisher for which this one waits.
        """
        self._check_open()
        return self._thread.run(
            self._publisher.publish(
                topic,
                payload,
                background=background,
                unique=unique,
                id=id,
                timeout=timeout,
                priority=priority,
                gather=gather,
                progress=progress,
                on_progress=None if on_progress is None else _harmless(on_progress),
            )
        )

    @overload
    def publish_many(
        self,
        many: Iterable[Outgoing],
        *,
        window: int = ...,
        return_exceptions: Literal[False] = ...,
        **options: "Unpack[PublishKeywords]",
    ) -> Iterator[messages.FanOutReport]: ...

    @overload
    def publish_many(
        self,
        many: Iterable[Outgoing],
        *,
        window: int = ...,
        return_exceptions: Literal[True],
        **options: "Unpack[PublishKeywords]",
    ) -> Iterator[Outcome]: ...

    def publish_many(
        self,
        many: Iterable[Outgoing],
        *,
        background: bool = False,
        timeout: float | None = None,
        priority: messages.Priority | None = None,
        gather: bool = False,
        progress: bool = True,
        window: int = 1000,
        return_exceptions: bool = False,
    ) -> Iterator[Outcome]:
        """Publish many messages and yield their reports, in order.

        Parameters and errors are those of :meth:`AsyncPublisher.publish_many`. Each
        message is sent as soon as ``many`` yields it, however slowly that is.

        :raises WrongThread: it is called in the publisher's own thread.
        """
        check_count(window, "window")
        options = PublishOptions(background, timeout, priority, gather, progress)
        self._thread.check_thread()
        process = self._process
        pending: deque[_Awaited] = deque()
        arrivals = _Arrivals()

        def next_outcome() -> Outcome:
            if process != self._process:
                raise errors.Closed("the process was forked: these reports are the parent's")
            awaited = pending.popleft()
            while awaited.outcome is None:
                with self._thread.waited_for():
                    arrivals.wait()
            return value_of(awaited.outcome, return_exceptions)

        for message in many:
            awaited = _Awaited(arrivals)
            pending.append(awaited)
            try:
                topic, payload, unique, id_ = message_parts(message)
                publication = self._publisher.prepare(topic, payload, unique, id_, options)
            except errors.RequestError as error:
                awaited.outcome = error
            else:
                self._hand_over(publication, awaited)
            while pending and (len(pending) >= window or pending[0].outcome is not None):
                yield next_outcome()
        while pending:
            yield next_outcome()

    def _check_open(self) -> None:
        if self._closed:
            raise errors.Closed("the publisher is closed")

    def _hand_over(self, publication: Publication, awaited: "_Awaited") -> None:
        """Give a fan-out to the loop. Of many, only the first wakes the loop."""
        self._check_open()
        self._handed.append((publication, awaited))
        if not self._woken:
            self._woken = True
            if not self._thread.call_soon(self._take_over):
                self._refuse_handed()
        if self._closed:
            # Another thread closed it meanwhile, and the loop may have ended.
            self._refuse_handed()

    def _take_over(self) -> None:
        # First, so that whoever hands over more from here on wakes the loop again.
        self._woken = False
        while (item := self._next_handed()) is not None:
            publication, awaited = item
            if self._closed:
                awaited.refuse(errors.Closed("the publisher is closed"))
                continue
            try:
                self._publisher.start(publication, awaited.arrive)
            except errors.ClientError as error:
                awaited.refuse(error)

    def _refuse_handed(self) -> None:
        while (item := self._next_handed()) is not None:
            item[1].refuse(errors.Closed("the publisher is closed"))

    def _next_handed(self) -> "tuple[Publication, _Awaited] | None":
        # Two threads may both see that there is one.
        try:
            return self._handed.popleft()
        except IndexError:
            return None


def _harmless(on_progress: OnProgress) -> OnProgress:
    """Have it end nothing but itself: SystemExit and the like would end the thread."""

    def call(done: int, total: int) -> None:
        try:
            on_progress(done, total)
        except Exception:
            raise
        except BaseException as error:
            raise RuntimeError(f"on_progress raised {type(error).__name__}") from error

    return call


class _Awaited:
    """A message of :meth:`Publisher.publish_many` on its way, and its outcome in the end.

    It does what a ``concurrent.futures.Future`` does, without its condition and locks,
    which would take most of the time of a message.

    :param arrivals: tells the thread that waits.
    """

    __slots__ = ("_arrivals", "outcome")

    def __init__(self, arrivals: "_Arrivals") -> None:
        self._arrivals = arrivals
        self.outcome: Outcome | None = None

    def arrive(self, outcome: Outcome) -> None:
        """Take the outcome, in the event loop."""
        self.outcome = outcome
        self._arrivals.tell_soon()

    def refuse(self, error: errors.GearhornError) -> None:
        """Take an error, in any thread."""
        self.outcome = error
        self._arrivals.tell()


class _Arrivals:
    """Tells a thread that outcomes have come: once for all that come in a turn of the loop.

    Waking a thread costs more than all else that is done for a message.
    """

    __slots__ = ("_is_due", "_is_told", "_queue")

    def __init__(self) -> None:
        self._queue: SimpleQueue[None] = SimpleQueue()
        self._is_told = False
        self._is_due = False

    def tell_soon(self) -> None:
        """Tell the thread at the end of this turn of the loop."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._tell_now)

    def _tell_now(self) -> None:
        self._is_due = False
        self.tell()

    def tell(self) -> None:
        """Wake the thread, unless it is about to look. The outcome is there before."""
        if not self._is_told:
            self._is_told = True
            self._queue.put(None)

    def wait(self) -> None:
        """Wait until something has come since the last time, and look at outcomes then."""
        self._queue.get()
        # Before the look: what comes from here on is told again.
        self._is_told = False
