# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Foreground fan-outs that have a turn, wait for one, or are refused.

Of one topic a bounded number has copies out. The others wait in hand, and their time begins
with their turn: a burst to a slow receiver does not time out in its queue. They are outside
the window, and hold no list: it is looked up when their turn comes, so that they reach the
subscribers of that moment.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from gearhorn import clock, errors, messages
from gearhorn.daemon.attendance import Owner, Watched
from gearhorn.daemon.journal.numbered import Numbered
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.open_fanouts import Crowd, OpenBounds, OpenFanOuts, Place
from gearhorn.daemon.recipients import Recipients
from gearhorn.daemon.refusals import Refusals
from gearhorn.wire.job import Job

Watch = Callable[[Job, Owner], Watched | None]

_TURNS_AT_ONCE = 100
"""The turns that are taken before other work has one: some milliseconds."""


class Waiting(Owner):
    """A fan-out that waits: for its topic's list, or for its turn.

    One that waits for its turn has a place among the open ones. Of its request only the
    job's data is kept.

    A fan-out of a topic with a journal has its ``number`` from when that is known.

    :param on_left: called when its publisher has left.
    :param counts: where it is counted if its job goes back to the job server.
    """

    __slots__ = (
        "_counts",
        "_on_left",
        "ended",
        "foreground",
        "job",
        "number",
        "on_end",
        "payload",
        "place",
        "queue",
        "request",
        "taken",
        "topic",
        "watched",
    )

    def __init__(
        self,
        job: Job,
        request: messages.FanOut,
        payload: messages.Content,
        on_left: Callable[["Waiting"], None],
        counts: Counts,
    ) -> None:
        self.job = job
        self.topic = request.topic
        self.foreground = not messages.truth(request.background)
        self.request: messages.FanOut | None = request
        self.payload = payload
        self.taken = clock.now()
        self.queue: OrderedDict[Waiting, None] | None = None
        """The queue that it waits in."""
        self.place: Place | None = None
        self.watched: Watched | None = None
        self.number: Numbered | None = None
        self.ended = False
        """True once it is answered, or another daemon's."""
        self.on_end: Callable[[Waiting], None] | None = None
        """Called when it ends without having been started."""
        self._on_left = on_left
        self._counts = counts
        job.hold(self.abandon)

    def join(self, queue: "OrderedDict[Waiting, None]") -> None:
        """Wait in ``queue``, behind the others."""
        queue[self] = None
        self.queue = queue

    def leave_queue(self) -> None:
        """Wait no longer."""
        if self.queue is not None:
            del self.queue[self]
            self.queue = None

    def abandon(self) -> None:
        """End without an answer: the job is another daemon's now."""
        self.end()
        self._counts.abandoned_early(self.foreground)

    def end(self) -> None:
        """Leave nothing behind: it is answered, or another daemon's."""
        self.ended = True
        if self.on_end is not None:
            self.on_end(self)
            self.on_end = None
        self.leave_queue()
        if self.place is not None:
            self.place.leave()
            self.place = None
        if self.watched is not None:
            self.watched.done()

    # Told of its publisher.

    def publisher_doubted(self) -> None:
        """Give others the turn until it is known whether anybody waits for the report."""
        if self.place is not None and self.queue is self.place.crowd.waiting:
            self.leave_queue()

    def publisher_back(self) -> None:
        """Take the next turn, which may have been its own."""
        # One that waits for its number is in no queue, and has its turn after that.
        if self.place is not None and self.queue is None and self.on_end is None:
            crowd = self.place.crowd
            self.join(crowd.waiting)
            crowd.waiting.move_to_end(self, last=False)
            self.place.ask_for_turn()

    def publisher_left(self) -> None:
        """End with an answer, although nobody seems to wait for it."""
        self._on_left(self)


class Send(Protocol):
    """The sending of a foreground fan-out's copies."""

    def __call__(
        self,
        job: Job,
        request: messages.FanOut,
        payload: bytes,
        recipients: Recipients,
        place: Place,
        watched: Watched | None,
        number: Numbered | None,
    ) -> None: ...


class Turns:
    """The turns of foreground fan-outs.

    :param decode: returns a request and its payload.
    :param watch: asks for a job's publisher from now on.
    :param send: sends the copies of one that has its turn.
    :param read: has the list of a topic read, for :meth:`go_on`.
    """

    def __init__(
        self,
        bounds: OpenBounds,
        lists: ListCache,
        refusals: Refusals,
        counts: Counts,
        *,
        decode: Callable[[bytes], tuple[messages.FanOut, messages.Content]],
        watch: Watch,
        send: Send,
        read: Callable[[str], None],
    ) -> None:
        self.open = OpenFanOuts(bounds)
        self.open.on_turn = self._turn_soon
        self._lists = lists
        self._refusals = refusals
        self._counts = counts
        self._decode = decode
        self._watch = watch
        self._send = send
        self._read = read

    def waiting(self, job: Job, request: messages.FanOut, payload: messages.Content) -> Waiting:
        """Return a fan-out, of either kind, that cannot start yet."""
        waiting = Waiting(job, request, payload, self._publisher_left, self._counts)
        if waiting.foreground:
            waiting.watched = self._watch(job, waiting)
        return waiting

    def has_room(self, job: Job, topic: str, copies: int) -> bool:
        """Refuse a foreground fan-out that would be beyond a bound now; return true otherwise."""
        crowd = self.open.crowds.get(topic)
        waits = crowd is not None and (crowd.waiting or not crowd.has_turn)
        try:
            self.open.check(topic, copies, len(job.data) if waits else 0)
        except errors.TooManyOpen as error:
            self._refuse(job, None, error)
            return False
        return True

    def start(
        self,
        job: Job,
        request: messages.FanOut,
        payload: bytes,
        recipients: Recipients,
        waiting: Waiting | None = None,
        *,
        bound: bool = True,
    ) -> bool:
        """Start a foreground fan-out, have it wait for its turn, or refuse it.

        :param waiting: the same, if it has waited for a list.
        :param bound: false to start it even beyond the bounds.
        :returns: true if it was started.
        """
        crowd = self.open.crowds.get(request.topic)
        if crowd is not None and (crowd.waiting or not crowd.has_turn):
            if waiting is None:
                waiting = self.waiting(job, request, payload)
            if self.set_aside(waiting, len(recipients)):
                waiting.join(crowd.waiting)
            return False
        try:
            place = self.open.enter(request.topic, len(recipients), bound=bound)
        except errors.TooManyOpen as error:
            self._refuse(job, waiting, error)
            return False
        watched = None if waiting is None else waiting.watched
        number = None if waiting is None else waiting.number
        self._send(job, request, payload, recipients, place, watched, number)
        return True

    def set_aside(self, waiting: Waiting, copies: int) -> bool:
        """Have a foreground fan-out wait for its turn, or refuse it.

        :param copies: the number of its copies, about.
        :returns: true if it waits.
        """
        job = waiting.job
        try:
            waiting.place = self.open.enter(waiting.topic, copies, len(job.data))
        except errors.TooManyOpen as error:
            self._refuse(job, waiting, error)
            return False
        waiting.request = None
        waiting.payload = b""
        job.set_aside()
        return True

    def take_up(self, waiting: Waiting, recipients: Recipients) -> None:
        """Start a fan-out that has waited for its turn."""
        waiting.leave_queue()
        place, waiting.place = waiting.place, None
        assert place is not None, "which it has had since it waits"
        job = waiting.job
        job.take_up()
        request, payload = self._decode(job.data)
        number = waiting.number
        if number is not None and number.payload is not None:
            payload = number.payload
        assert isinstance(payload, bytes), "as payloads goes with background alone"
        self._send(job, request, payload, recipients, place, waiting.watched, number)

    def _refuse(self, job: Job, waiting: Waiting | None, error: errors.TooManyOpen) -> None:
        if waiting is not None:
            waiting.end()
        self._refusals.refuse(job, error)

    def _publisher_left(self, waiting: Waiting) -> None:
        waiting.end()
        self._refusals.publisher_left(waiting.topic)
        self._refusals.answer_left(waiting.job)

    # The next ones.

    def _turn_soon(self, crowd: Crowd) -> None:
        # Not inside the call that ended one: a topic without subscribers would start its
        # fan-outs one inside the other.
        if not crowd.turn_due:
            crowd.turn_due = True
            asyncio.get_running_loop().call_soon(self._next_turns, crowd)

    def _next_turns(self, crowd: Crowd) -> None:
        crowd.turn_due = False
        for _ in range(_TURNS_AT_ONCE):
            if not crowd.waiting or not crowd.has_turn:
                return
            recipients = self._lists.cached(crowd.topic)
            if recipients is None:
                self._read(crowd.topic)
                return
            self.take_up(next(iter(crowd.waiting)), recipients)
        self._turn_soon(crowd)

    def go_on(self, topic: str, recipients: Recipients) -> None:
        """Start those that have their turn with a list that was just read."""
        crowd = self.open.crowds.get(topic)
        while crowd is not None and crowd.waiting and crowd.has_turn:
            waiting = next(iter(crowd.waiting))
            if waiting.taken >= recipients.asked:
                return
            self.take_up(waiting, recipients)

    def fail(self, topic: str, error: Exception) -> None:
        """Answer those that wait for their turn: their list was not read for ``error``."""
        crowd = self.open.crowds.get(topic)
        if crowd is not None:
            self.fail_all(crowd.waiting, error)

    def fail_all(self, queue: "OrderedDict[Waiting, None]", error: Exception) -> None:
        """Answer all that wait in ``queue``: their list was not read for ``error``."""
        while queue:
            waiting = next(iter(queue))
            waiting.end()
            self._refusals.fail_unexpectedly(waiting.job, error)
