# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The reception of messages for subscribers of both kinds: functions, jobs, answers.

Everything runs in the event loop, except answers that are given in other threads. Many
answers go out in one write, and those of other threads wake the loop only once. The
first answer after a quiet time wakes it, and so does a thread that runs out of work.
While jobs that were just handed out are being done, the loop looks for answers by
itself, a millisecond later.
"""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import async_timeout

from gearhorn import errors, messages
from gearhorn.client import forks
from gearhorn.client.binding import Binding, Handler
from gearhorn.client.caller import Caller
from gearhorn.client.dead_letters import DeadLetters
from gearhorn.client.holding import Holding
from gearhorn.client.journal.positions import Positions
from gearhorn.client.message import Message
from gearhorn.client.pace import Pace
from gearhorn.client.parameters import SubscribeOptions
from gearhorn.client.retries import Retries, RetryPolicy
from gearhorn.client.subscriptions import Subscriptions
from gearhorn.messages import Subscription
from gearhorn.messages.values import NOT_GIVEN
from gearhorn.wire.fair_grabber import FairGrabber
from gearhorn.wire.grabber import Job
from gearhorn.wire.watch import Watch

LOG = logging.getLogger(__name__)

NAME = "gearhorn-subscriber-"
"""What the name of a subscriber's connections begins with, as job servers show it."""
_GATHER_S = 0.001
_HELD_MESSAGES = 4
"""The messages of the largest size that may be held."""
_SYNCHRONIZE_S = 1.0
"""Seconds that a server may take to read the last answers."""
_MAX_REPORT_BYTES = 1 << 20
_ESCAPED = 7

Take = Callable[[list[Job]], None]


class Reception:
    """The receiving end of a subscriber: it takes messages and sends their answers.

    :param bindings: the bindings by the name of the queue, shared with the subscriber,
        which changes them.
    :param take: called with jobs, many at a time.
    :param threaded: true if messages are answered in other threads than the loop's.
    """

    def __init__(
        self,
        options: SubscribeOptions,
        bindings: dict[bytes, Binding],
        take: Take,
        *,
        threaded: bool,
    ) -> None:
        self._options = options
        self._bindings = bindings
        self._take = take
        self._threaded = threaded
        self._loop = asyncio.get_running_loop()
        self._call_soon = self._loop.call_soon_threadsafe if threaded else self._loop.call_soon
        self._answers: deque[tuple[Job, bytes | None]] = deque()
        self._looks = False
        """True while the loop is going to look for answers by itself."""
        self._woken = False
        name = f"{NAME}{socket.gethostname()}-{os.getpid()}"
        watch = Watch()
        self._grabber = FairGrabber(
            name,
            options.wire,
            options.max_message_bytes,
            watch,
            options.concurrency + 1,
            _HELD_MESSAGES * options.max_message_bytes,
            self._received,
        )
        # A journal is read by the megabyte, and a byte may take six in JSON.
        largest = max(messages.READ_BYTES, options.max_message_bytes)
        most = _MAX_REPORT_BYTES if options.position is None else _ESCAPED * largest + 1024
        self._caller = Caller(name, options.wire, most, watch, options.wire.connect_timeout)
        self._subscriptions = Subscriptions(
            self._caller,
            ttl=options.ttl,
            limits=options.limits,
            renew=options.renew,
            register_function=options.register_function,
            unregister_function=options.unregister_function,
            on_registered=self._registered,
            on_renewed=self._renewed,
        )
        self._is_calling = False
        """True once the caller connects, which not every subscriber needs."""
        self._holding = Holding()
        self.retries = Retries(
            self._holding,
            DeadLetters(self._caller, options.fanout_function, self._holding),
            self._pauses,
        )
        self.ended_by: asyncio.Future[BaseException] = self._subscriptions.ended_by
        """Done with the error that ends reception: a refused registration or a failure."""
        for part in (self._grabber, self._caller, self._subscriptions):
            part.on_failed = self._fail
        self._is_broken = False
        """True after an unexpected error: messages may be in hand that nobody handles."""
        self._is_foreign = False
        """True in a process that was forked and holds only a copy."""
        forks.tell(self)
        self._removed: set[bytes] = set()
        self.pace = Pace()
        self.count_kept: Callable[[], int] = lambda: 0
        """Returns the number of messages that the user keeps besides those being handled."""
        self._positions: Positions | None = None
        if options.position is not None:
            self._positions = positions = Positions(
                options.position,
                self._caller,
                threaded=threaded,
                call_soon=self._call_soon,
                hand_on=self._hand_on,
                answer=self.answer,
                give_back=self._grabber.give_back,
                held=lambda: self._grabber.held,
                serve=self._grabber.serve,
                on_left=self.wake,
                on_failed=self._position_failed,
            )
            self.count_kept = lambda: positions.kept

    def _forked(self) -> None:
        """Leave the connections, and the messages that came on them, to the parent."""
        self._is_foreign = True
        forks.leave(self._grabber)
        forks.leave(self._caller)

    def failed(self, error: BaseException) -> None:
        """End reception by an unexpected error."""
        LOG.critical("unexpected error, which ends the subscriber", exc_info=error)
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._is_broken = True
        if not self.ended_by.done():
            self.ended_by.set_result(error)

    def start(self, bindings: Iterable[Binding]) -> None:
        """Connect, and register and serve ``bindings``."""
        if self._options.register or self._options.unregister or self._positions is not None:
            self._connect_caller()
        if self._options.register or self._options.unregister:
            self._subscriptions.start()
        for binding in bindings:
            self.add(binding)
        self._grabber.on_servers_changed = lambda: self._subscriptions.servers_changed(
            self._grabber.connections
        )
        self._grabber.connect(self._options.servers)

    def _connect_caller(self) -> None:
        if not self._is_calling:
            self._is_calling = True
            self._caller.connect(self._options.servers)

    def add(self, binding: Binding) -> None:
        """Serve a binding, once it is registered if that is wanted.

        Its queue is not touched before that. If the registration is refused, the queue
        may be another subscriber's, and so are its messages.
        """
        queue = binding.queue.encode()
        self._removed.discard(queue)
        self._bindings[queue] = binding
        if binding.policy.dead_letter is not None:
            self._connect_caller()
        positions = self._positions
        if positions is not None:
            positions.add(binding)
        if self._options.register:
            # With a position nothing is put into the queue: it begins there itself.
            start = binding.start if positions is None else NOT_GIVEN
            self._subscriptions.add(binding.topic, binding.client_id, start)
        elif positions is not None:
            positions.unregistered(binding)
        else:
            self._grabber.serve(binding.queue)

    def remove(self, binding: Binding) -> None:
        """Stop serving a binding. Its messages in hand are still handled.

        With a position that is one message. The others go back to the queue, as one that is
        missing before them may not come any more.
        """
        self._grabber.leave(binding.queue)
        if self._positions is not None:
            self._positions.remove(binding)
        self._removed.add(binding.queue.encode())
        if self._options.register:
            self._subscriptions.remove(binding.topic, binding.client_id)

    async def settle(self) -> None:
        """Fetch no more messages, try none again, and return when none can come any more."""
        self._holding.stop()
        self._grabber.stop_grabbing()
        await self._grabber.settled.wait()

    async def drain(self, handled: Callable[[], Awaitable[object]]) -> None:
        """Wait until the messages in hand are handled, at most for ``drain_timeout``.

        :param handled: called to wait until the last handler has ended. :meth:`close`
            sends what they have answered.
        """
        self._flush()
        if self._is_broken:
            return
        try:
            async with async_timeout.timeout(self._options.drain_timeout):
                await handled()
        except asyncio.TimeoutError:
            LOG.warning(
                "%d messages were not answered in %g seconds: handing them back",
                self._grabber.held,
                self._options.drain_timeout,
            )

    async def close(self) -> None:
        """Unregister if that is wanted, and close the connections."""
        self._grabber.stop_grabbing()
        if self._positions is not None:
            await self._positions.close()
        self._flush()
        await self._grabber.synchronize(_SYNCHRONIZE_S)
        await self._grabber.close()
        await self._subscriptions.close(remove=self._options.unregister)
        await self._caller.close()

    @property
    def held(self) -> int:
        """The number of messages that are fetched and not answered."""
        return self._grabber.held

    def raise_failure(self) -> None:
        """Raise the error by which it ended, if one did."""
        if self.ended_by.done():
            raise self.ended_by.result()

    def message(self, job: Job) -> tuple[Message, Handler, RetryPolicy] | None:
        """Return the message that ``job`` brings, its handler, and what to do if that raises.

        :returns: ``None`` if the connection is lost: the message goes to a subscriber
            again.
        """
        binding = self._bindings.get(job.function)
        if binding is None or not job.connection.connected:
            return None
        respond = self.answer if self._positions is None else self._positions.respond
        message = Message(job, binding.topic, binding.client_id, respond)
        return message, binding.handler or _unhandled, binding.policy

    def answer(self, job: Job, data: bytes | None) -> None:
        """Send the result or the failure of a job, in one write with others.

        :raises Closed: this process was forked from the one that received the job.
        """
        if self._is_foreign:
            raise errors.Closed("the message is the parent's, which alone can answer it")
        self._answers.append((job, data))
        if not self._looks:
            self.wake()

    def out_of_work(self) -> None:
        """Send the answers, as a thread has found nothing to do.

        If a server has still to answer a grab, its answer will have them sent.
        """
        if not self._grabber.asks:
            self.wake()

    def wake(self) -> None:
        """Make the loop send the answers and adjust the window now."""
        if not self._woken:
            self._woken = True
            try:
                self._call_soon(self._flush)
            except RuntimeError:
                # The loop has ended: messages in hand have gone back to the server.
                LOG.debug("a message was answered after the end")

    def _pauses(self, seconds: float) -> None:
        """Fetch fewer messages ahead, as they would wait behind the pause of a handler."""
        self.pace.note(seconds)
        self.wake()

    def _registered(self, topic: str, client_id: str, answer: Subscription) -> None:
        queue = messages.queue_name(topic, client_id)
        if self._positions is None:
            self._grabber.serve(queue)
        elif (binding := self._bindings.get(queue.encode())) is not None:
            self._positions.registered(binding, answer)

    def _renewed(self, topic: str, client_id: str, answer: Subscription) -> None:
        if self._positions is not None:
            self._registered(topic, client_id, answer)

    def _position_failed(self, error: BaseException) -> None:
        """End reception by what a position raised, which says itself what to do."""
        if isinstance(error, errors.GearhornError):
            LOG.error("the position fails, which ends the subscriber: %s", error)
            self._fail(error)
        else:
            self.failed(error)

    def _received(self, jobs: list[Job]) -> None:
        # First, so the answers go out in one write with the next grabs.
        self._flush()
        if not jobs:
            return
        if any(job.oversize for job in jobs):
            for job in jobs:
                if job.oversize:
                    LOG.error("a message in %s is too large: failing it", job.function)
                    job.fail()
            jobs = [job for job in jobs if not job.oversize]
        if self._positions is not None:
            self._positions.take(jobs)
            # Copies that are kept behind a missing one leave room for others.
            self.wake()
        else:
            self._hand_on(jobs)

    def _hand_on(self, jobs: list[Job]) -> None:
        self._take(jobs)
        if self._threaded and not self._looks:
            self._looks = True
            self._loop.call_later(_GATHER_S, self._look)

    def _look(self) -> None:
        # First, so an answer that comes while others are sent wakes the loop.
        self._looks = False
        self._flush()

    def _flush(self) -> None:
        self._woken = False
        if self._answers:
            self._grabber.answer(self._answers)
        if self._removed or self._grabber.leaving:
            self._clear_removed()
        concurrency = self._options.concurrency
        self._grabber.set_window(self.count_kept() + concurrency + self.pace.ahead(concurrency))

    def _clear_removed(self) -> None:
        self._grabber.retry_leaving()
        # What was read from a journal is in hand without a copy.
        if not (self._grabber.leaving or (self._positions and self._positions.leaving)):
            for queue in self._removed:
                self._bindings.pop(queue, None)
            self._removed.clear()


def _unhandled(message: Message) -> None:
    raise LookupError(f"topic {message.topic!r} has no handler")
