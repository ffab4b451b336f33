# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Requests to the daemons, each a foreground job.

That holds for background fan-outs too: a foreground job lives only as long as its
client, and its answer is the report.
"""

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from hashlib import blake2b

from gearhorn import errors
from gearhorn.wire import framing
from gearhorn.wire.address import Address
from gearhorn.wire.answer import Answer, AnswerParts
from gearhorn.wire.batch import Batch, Copy, Listener
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.submitter import Submitter
from gearhorn.wire.watch import Watch

LOG = logging.getLogger(__name__)

OnProgress = Callable[[int, int], object]


class Call(Listener):
    """A request under way, and the listener of the batches that carry it.

    :param on_done: called with the answer, or with an error.
    """

    __slots__ = (
        "_batch",
        "_caller",
        "_copy",
        "_data",
        "_function",
        "_lane",
        "_on_done",
        "_on_progress",
        "_parts",
        "_patience",
        "_refused",
        "_server",
        "_timer",
    )

    def __init__(
        self,
        caller: "Caller",
        function: bytes,
        data: bytes,
        lane: str,
        timeout: float,
        on_done: Callable[["Answer | errors.GearhornError"], object],
        on_progress: OnProgress | None,
        patient: bool,
    ) -> None:
        self._caller = caller
        self._function = function
        self._data = data
        self._lane = lane
        self._on_done = on_done
        self._on_progress = on_progress
        self._batch: Batch | None = None
        self._copy: Copy | None = None
        self._server: Address | None = None
        self._refused: set[Address] = set()
        self._parts = AnswerParts()
        self._patience = timeout if patient else None
        self._timer = asyncio.get_running_loop().call_later(timeout, self._time_is_up)

    def submit(self) -> None:
        """Send the request to a server, or wait for one."""
        connections = self._caller.servers
        servers = [server for server in connections if server not in self._refused]
        if not connections:
            self._server = None
            self._caller.wait_for_server(self)
        elif not servers:
            self._done(errors.NotQueued("every connected job server refused the request"))
        else:
            self._server = _choose(self._lane.encode(), servers)
            self._batch = Batch(
                self,
                self._lane,
                priority="normal",
                foreground=True,
                queues=(self._function,),
                keys=("",),
                # A new one for each attempt: gearmand would join this job to an earlier
                # one whose client it has lost, and never answer.
                uniques=(self._caller.new_unique(),),
                groups=None,
                payload=self._data,
                longest_queue=len(self._function),
            )
            self._caller.submit(connections[self._server], self._batch)

    def cancel(self) -> None:
        """Stop waiting for the answer."""
        self._timer.cancel()
        self._caller.forget(self)
        if self._batch is not None:
            self._batch.cancel()
        if self._copy is not None:
            self._copy.forget()

    def no_server(self) -> None:
        """Fail, as no job server could be reached for ``connect_timeout``."""
        self._done(errors.NoServer("no job server can be reached"))

    def ended(self, error: errors.ClientError) -> None:
        """Fail for a reason that has nothing to do with this request."""
        self._done(error)

    def _time_is_up(self) -> None:
        if self._server is None:
            self.no_server()
        else:
            self._done(errors.NoAnswer("no daemon answered in time; the request may still be done"))

    def _done(self, outcome: Answer | errors.GearhornError) -> None:
        self.cancel()
        self._on_done(outcome)

    # Called by the submitter.

    def batch_lost(self, batch: Batch) -> None:
        # The server was lost before it took the job: try another.
        self.submit()

    def copy_created(self, copy: Copy) -> None:
        self._copy = copy

    def copy_refused(self, batch: Batch, index: int, *, full: bool) -> None:
        if self._server is not None:
            self._refused.add(self._server)
        self.submit()

    def copy_told(self, copy: Copy, packet_type: int, data: bytes) -> None:
        if packet_type == framing.WORK_WARNING:
            self._parts.add(packet_type, data)
            return
        if self._patience is not None:
            self._timer.cancel()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._patience, self._time_is_up)
        if self._on_progress is not None:
            try:
                done, _, total = data.partition(b"\0")
                self._on_progress(int(done), int(total))
            except Exception:
                LOG.exception("on_progress failed")

    def copy_answered(self, copy: Copy, packet_type: int, data: bytes, whole: bool) -> None:
        if not whole:
            self._done(errors.BadAnswer("the report is too large"))
        elif (answer := self._parts.add(packet_type, data)) is not None:
            self._done(answer)

    def copies_lost(self, copies: Sequence[Copy]) -> None:
        # The server was lost, and the job with it: ask again elsewhere. A daemon may
        # have done the job already. Its copies carry the request's unique, so those that
        # are still queued are not queued twice.
        self._copy = None
        self._parts.clear()
        self.submit()


class Caller(Submitter):
    """A submitter of requests to the daemons.

    :param connect_timeout: the time, in seconds, for which no server may be reachable
        before requests that wait for one fail.
    """

    def __init__(
        self,
        name: str,
        settings: ConnectionSettings,
        max_bytes: int,
        watch: Watch,
        connect_timeout: float,
    ) -> None:
        super().__init__(name, settings, max_bytes, watch)
        self._connect_timeout = connect_timeout
        self._open: set[Call] = set()
        self._waiting: dict[Call, asyncio.TimerHandle] = {}
        self._unique_prefix = os.urandom(9).hex()
        self._unique_numbers = itertools.count()
        self._failure: errors.ClientError | None = None
        self.on_servers_changed = self._resume
        self.on_failed = self._give_up

    def start(
        self,
        function: str,
        data: bytes,
        lane: str,
        timeout: float,
        on_done: Callable[[Answer | errors.GearhornError], object],
        on_progress: OnProgress | None = None,
        *,
        patient: bool = False,
    ) -> Call:
        """Send a request.

        :param lane: the lane of the request; those of one lane go out in order.
        :param timeout: the longest time for the answer, in seconds.
        :param on_done: called once, unless the call is cancelled, with the answer, or
            with NoServer, NoAnswer, NotQueued, BadAnswer or Closed.
        :param patient: begin that time anew at each report of progress.
        """
        call = Call(self, function.encode(), data, lane, timeout, on_done, on_progress, patient)
        self._open.add(call)
        if self._failure is None:
            call.submit()
        else:
            call.ended(self._failure)
        return call

    async def call(
        self,
        function: str,
        data: bytes,
        lane: str,
        timeout: float,
        on_progress: OnProgress | None = None,
        *,
        patient: bool = False,
    ) -> Answer:
        """Send a request and wait for its answer.

        :raises NoServer, NoAnswer, NotQueued, BadAnswer, Closed: there is no answer.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def on_done(outcome: Answer | errors.GearhornError) -> None:
            if future.done():
                return
            if isinstance(outcome, Answer):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)

        call = self.start(function, data, lane, timeout, on_done, on_progress, patient=patient)
        try:
            return await future
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close all connections; requests that are still open fail."""
        self._end_all(errors.Closed("closed before the answer came"))
        await super().close()

    def _give_up(self, error: BaseException) -> None:
        self._failure = errors.ClientError(f"unexpected error, see the log: {error!r}")
        self._end_all(self._failure)

    def _end_all(self, error: errors.ClientError) -> None:
        for call in tuple(self._open):
            call.ended(error)

    def new_unique(self) -> bytes:
        """Return a unique that no job has had."""
        return b"%s-%x" % (self._unique_prefix.encode(), next(self._unique_numbers))

    def wait_for_server(self, call: Call) -> None:
        """Submit ``call`` when a server is connected."""
        loop = asyncio.get_running_loop()
        self._waiting[call] = loop.call_later(self._connect_timeout, call.no_server)

    def forget(self, call: Call) -> None:
        """Forget a call that has ended."""
        self._open.discard(call)
        timer = self._waiting.pop(call, None)
        if timer is not None:
            timer.cancel()

    def _resume(self) -> None:
        if self.servers:
            waiting, self._waiting = self._waiting, {}
            for call, timer in waiting.items():
                timer.cancel()
                call.submit()


def _choose(lane: bytes, servers: Sequence[Address]) -> Address:
    """Return the server of a lane: the same while it is connected, to keep the order."""
    if len(servers) == 1:
        return servers[0]

    def score(server: Address) -> bytes:
        return blake2b(lane, key=str(server).encode()[:64], digest_size=8).digest()

    return max(servers, key=score)
