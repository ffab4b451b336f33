# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The subscriber for programs with threads."""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterator

from gearhorn import errors
from gearhorn.client.binding import Handler
from gearhorn.client.inbox import Inbox
from gearhorn.client.loop_thread import LoopThread
from gearhorn.client.message import EXITS, Message, encode_result
from gearhorn.client.reception import Reception
from gearhorn.client.retries import Failure, failed
from gearhorn.client.signals import stop_on_signals
from gearhorn.client.subscriber_base import SubscriberBase
from gearhorn.wire.grabber import Job


class Subscriber(SubscriberBase):
    """A subscriber for programs with threads, with handlers in :meth:`run` or by iteration.

    One thread of its own has the sockets and renews registrations, whatever handlers
    do. ``concurrency`` threads run the handlers. Iterating over the subscriber yields
    messages, each to be answered by :meth:`Message.ack` or :meth:`Message.fail`, in any
    thread. A subscriber serves once, and in one process: the copy in a process that was
    forked meanwhile raises :class:`~gearhorn.errors.Closed`. The parameters are those of
    :class:`~gearhorn.client.subscriber_base.SubscriberBase`.
    """

    def _forked(self) -> None:
        super()._forked()
        if self._is_foreign:
            self._inbox.forked()

    def _set_up(self) -> None:
        self._thread = LoopThread("gearhorn subscriber")
        self._inbox: Inbox[Job] = Inbox(self._on_empty)
        self._settled = threading.Event()
        self._stopping: asyncio.Future[None] | None = None
        self._stop_asked = False
        self._handling = 0
        """The threads that run handlers."""
        self._handled = asyncio.Event()
        """Set once the last of them has ended."""
        self._exit: BaseException | None = None
        """What a handler raised to end the program."""

    def run(self) -> None:
        """Receive and handle messages until :meth:`stop` or a signal.

        SIGTERM and SIGINT stop it, and all other subscribers of the process, if one of
        them runs in the main thread. It then fetches no more messages, finishes those in
        hand within ``drain_timeout``, and unregisters if that was asked for. A handler
        that raises SystemExit or KeyboardInterrupt stops it as well, except that its
        message and those that no handler has begun go to a subscriber again.

        :raises SystemExit, KeyboardInterrupt: a handler raised it.
        :raises RequestError: a registration was refused; the class says why.
        :raises ConfigurationError: a topic has no handler.
        :raises Closed: the subscriber has served before, perhaps in the process
            that this one was forked from.
        :raises Exception: a fault inside of the library, which the log has too.
        """
        self._check_handlers(expected=True)
        reception = self._start()
        workers = [
            threading.Thread(
                target=self._work, args=(reception,), name=f"gearhorn handler {i}", daemon=True
            )
            for i in range(self._options.concurrency)
        ]
        self._handling = len(workers)
        try:
            with stop_on_signals(self.stop):
                for worker in workers:
                    worker.start()
                self._settled.wait()
                self._thread.run(reception.drain(self._handled.wait))
        finally:
            self._close(reception)
        if self._exit is not None:
            raise self._exit
        reception.raise_failure()

    def __iter__(self) -> Iterator[Message]:
        """Yield messages until :meth:`stop` or a signal.

        Messages that are not answered when the iteration ends go to a subscriber again.

        :raises RequestError: a registration was refused; the class says why.
        :raises ConfigurationError: a topic has a handler.
        :raises Closed: the subscriber has served before.
        """
        self._check_handlers(expected=False)
        reception = self._start()
        reception.count_kept = lambda: reception.held - len(self._inbox)
        try:
            with stop_on_signals(self.stop):
                while (job := self._inbox.get()) is not None:
                    found = reception.message(job)
                    if found is not None:
                        handed_out = time.perf_counter()
                        message, _, _ = found
                        yield message
                        reception.pace.note(time.perf_counter() - handed_out)
        finally:
            self._close(reception)
        reception.raise_failure()

    def stop(self) -> None:
        """Stop receiving. Any thread, handler or signal handler may call this."""
        self._stop_asked = True
        if self._reception is not None and not self._is_foreign:
            self._thread.call_soon(self._stop)

    def _check_handler(self, handler: Handler) -> None:
        super()._check_handler(handler)
        if inspect.iscoroutinefunction(handler):
            raise TypeError("a coroutine function needs an AsyncSubscriber")

    def _in_loop(self, callback: Callable[[], object]) -> None:
        self._thread.call_soon(callback)

    def _start(self) -> Reception:
        return self._thread.run(self._open())

    async def _open(self) -> Reception:
        reception = self._new_reception(self._inbox.put, threaded=True)
        reception.ended_by.add_done_callback(lambda error: self._stop())
        if self._stop_asked:
            self._stop()
        return reception

    def _stop(self) -> None:
        if self._stopping is None and self._reception is not None:
            self._stopping = asyncio.ensure_future(self._settle(self._reception))

    async def _settle(self, reception: Reception) -> None:
        try:
            await reception.settle()
        except Exception as error:
            reception.failed(error)
        self._inbox.close()
        self._settled.set()

    def _close(self, reception: Reception) -> None:
        self._inbox.close()
        self._thread.stop(reception.close)

    def _on_empty(self) -> None:
        if self._reception is not None:
            self._reception.out_of_work()

    def _work(self, reception: Reception) -> None:
        """Handle messages, one after the other; each handler thread runs this."""
        try:
            self._handle(reception)
        except EXITS as error:
            # It would end only this thread.
            self._exit = self._exit or error
            self._inbox.discard()
            self.stop()
        except BaseException as error:
            # No local name outlives its handler.
            failure = error
            self._thread.call_soon(lambda: reception.failed(failure))
        finally:
            with self._changing:
                self._handling -= 1
                if not self._handling:
                    self._thread.call_soon(self._handled.set)

    def _handle(self, reception: Reception) -> None:
        while (job := self._inbox.get()) is not None:
            found = reception.message(job)
            if found is None:
                continue
            message, handler, policy = found
            tries = 0
            while True:
                started = time.perf_counter()
                failure = None
                try:
                    result = encode_result(handler(message))
                except EXITS:
                    raise
                except BaseException as error:
                    tries += 1
                    failure = failed(message, policy, tries, error)
                else:
                    message.settle(result)
                reception.pace.note(time.perf_counter() - started)
                if failure is None or not self._again(reception, failure):
                    break

    def _again(self, reception: Reception, failure: Failure) -> bool:
        try:
            return self._thread.run(reception.retries.again(failure))
        except errors.Closed:
            # The loop has ended before the wait: the message goes to a subscriber again.
            return False
