# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Fan-outs: taking them, and starting them in order.

A fan-out starts at once if its topic's list may be used now. It waits in the topic's
lane if the list has to be read first, or, with ``order = topic``, if the topic's
earlier fan-out has not ended. Later fan-outs of the topic wait behind it.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from gearhorn import errors, messages
from gearhorn.daemon.attendance import Watched
from gearhorn.daemon.delivery import (
    BackgroundDelivery,
    Context,
    Delivery,
    OnAllQueued,
)
from gearhorn.daemon.foreground import ForegroundDelivery
from gearhorn.daemon.gathering import Room
from gearhorn.daemon.journal.numbered import Numbered
from gearhorn.daemon.lane import Lane
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.open_fanouts import OpenBounds, Place
from gearhorn.daemon.progress import Progress
from gearhorn.daemon.recipients import Recipients
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.series import SeriesDelivery
from gearhorn.daemon.tokens import Tokens
from gearhorn.daemon.turns import Turns, Waiting, Watch
from gearhorn.tasks import Steps, Tasks, in_turns
from gearhorn.wire.grabber import Job
from gearhorn.wire.submitter import Submitter

LOG = logging.getLogger(__name__)

Order = Literal["receiver", "topic"]

GATHERED_MESSAGES = 4
"""The results of the largest size that all reports together gather at a time. There
can be a thousand fan-outs, and each could otherwise hold one."""

_decode_request = messages.RequestDecoder(messages.FanOut)


def nothing_to_prepare(recipients: Recipients) -> Steps[None]:
    """Do nothing with a new list."""
    yield from ()


class FanOuts:
    """The jobs of the function ``fanout``.

    :param order: ``topic`` to start a topic's next fan-out only when the previous
        one has ended, ``receiver`` not to wait.
    :param timeout: seconds that a foreground fan-out waits for receivers if the
        request gives no timeout.
    :param generate_unique: give each copy a unique if the request gives none.
    :param max_message_bytes: the largest job that is taken, and the most bytes of
        results that a report gathers.
    :param admit: returns a list without its full queues, given the size of a message.
    :param prepare: makes a new list ready for that, in steps.
    :param max_timeout: the most seconds that a request may ask for.
    :param bounds: those of the foreground fan-outs that are open.
    :param watch: asks for the publisher of a job from now on.
    :param on_all_queued: called with a message with an id and a number, of which no copy failed.
    """

    def __init__(
        self,
        lists: ListCache,
        submitter: Submitter,
        refusals: Refusals,
        *,
        order: Order,
        timeout: float,
        generate_unique: bool,
        max_message_bytes: int,
        admit: Callable[[Recipients, int], Recipients] = lambda recipients, size: recipients,
        prepare: Callable[[Recipients], Steps[None]] = nothing_to_prepare,
        max_timeout: float = messages.MAX_SECONDS,
        bounds: OpenBounds | None = None,
        watch: Watch = lambda job, owner: None,
        counts: Counts | None = None,
        on_all_queued: OnAllQueued = lambda *_: None,
    ) -> None:
        self._lists = lists
        self._admit = admit
        self._prepare = prepare
        self._counts = Counts() if counts is None else counts
        self._refusals = refusals
        self._in_turn = order == "topic"
        self._tokens = Tokens(generate=generate_unique)
        self._context = Context(
            submitter=submitter,
            counts=self._counts,
            timeout=timeout,
            max_gathered_bytes=max_message_bytes,
            room=Room(GATHERED_MESSAGES * max_message_bytes),
            on_stuck=self._stuck,
            on_end=self._ended,
            on_all_failed=refusals.all_failed,
            on_left=refusals.publisher_left,
            on_all_queued=on_all_queued,
        )
        self._max_timeout = max_timeout
        self._watch = watch
        self._turns = Turns(
            bounds or OpenBounds(),
            lists,
            refusals,
            self._counts,
            decode=self._decode,
            watch=watch,
            send=self._send,
            read=self._read_for_turns,
        )
        self._lanes: dict[str, Lane] = {}
        self._tasks = Tasks()
        self._stuck_deliveries: dict[Delivery[Any], None] = {}
        self._progress = Progress()

    def apply(
        self,
        *,
        timeout: float,
        generate_unique: bool,
        max_timeout: float,
        bounds: OpenBounds,
    ) -> None:
        """Go by these settings with all that is taken or has its turn from now on."""
        self._context = dataclasses.replace(self._context, timeout=timeout)
        self._tokens.generate = generate_unique
        self._max_timeout = max_timeout
        self._turns.open.apply(bounds)

    @property
    def open(self) -> int:
        """The number of foreground fan-outs that wait for receivers, or for their turn."""
        return self._turns.open.fanouts

    @property
    def copies_open(self) -> int:
        """The number of their copies that are not answered."""
        return self._turns.open.copies

    def _decode(self, data: bytes) -> tuple[messages.FanOut, messages.Content]:
        """Return a request and its payload, or payloads."""
        request = _decode_request(data)
        if request.timeout is not None and request.timeout > self._max_timeout:
            raise errors.InvalidSeconds(
                f"timeout may be at most {self._max_timeout:g} s here; that is the "
                "configuration's [fanout] max_timeout"
            )
        return request, request.content()

    def take(self, job: Job) -> None:
        """Do the fan-out that ``job`` asks for, or refuse it."""
        brought = self._refusals.decoded(job, self._decode)
        if brought is None:
            return
        self._take(job, *brought)

    def _take(self, job: Job, request: messages.FanOut, payload: messages.Content) -> None:
        """Start a fan-out, or have it wait."""
        topic = request.topic
        lane = self._lanes.get(topic)
        if lane is None and not self._in_turn:
            recipients = self._lists.cached(topic)
            if recipients is not None:
                self._start(job, request, payload, recipients)
                return
        self._enqueue(self._turns.waiting(job, request, payload))

    def _enqueue(self, waiting: Waiting) -> None:
        """Have a fan-out wait in its topic's lane."""
        topic = waiting.topic
        lane = self._lanes.get(topic)
        if lane is None:
            lane = self._lanes[topic] = Lane(topic)
        waiting.join(lane.waiting)
        if self._in_turn and waiting.foreground:
            lane.fresh.append(waiting)
        self._advance(lane)

    def whose(self, job: Job) -> tuple[str, str]:
        """Return the topic of a job in the window, and what that waits for."""
        holder = job.holder
        if isinstance(holder, Waiting):
            lane = self._lanes.get(holder.topic)
            busy = lane is not None and lane.busy
            return holder.topic, "the end of another" if busy else "its subscribers"
        if isinstance(holder, Delivery):
            stuck = holder in self._stuck_deliveries
            return holder.topic, "a job server" if stuck else "its copies to be queued"
        return "", ""

    @property
    def set_aside(self) -> int:
        """The number of those that wait outside the window."""
        return self._turns.open.waiting

    @property
    def room(self) -> Room:
        """The room for gathered results."""
        return self._context.room

    def waiting(self) -> Mapping[str, int]:
        """Return how many fan-outs wait, by what they wait for."""
        found = {
            "list": 0,
            "job_server": len(self._stuck_deliveries),
            "turn": self._turns.open.waiting,
        }
        for lane in self._lanes.values():
            # Those with a place are set aside, and counted already.
            found["list" if lane.reading else "turn"] += sum(
                waiting.place is None for waiting in lane.waiting
            )
        return found

    def lanes(self) -> Iterator[tuple[str, int, str]]:
        """Yield each topic with fan-outs that wait, their number, and what they wait for."""
        for lane in self._lanes.values():
            reason = "its list" if lane.reading else "the end of another"
            yield lane.topic, len(lane.waiting), reason
        for crowd in self._turns.open.crowds.values():
            if crowd.waiting:
                yield crowd.topic, len(crowd.waiting), "their turn"

    async def close(self) -> None:
        """Read no more lists; fan-outs that wait for one are not answered."""
        await self._tasks.cancel()

    def _advance(self, lane: Lane) -> None:
        """Start the fan-outs that can start; have the list read if they need it."""
        if lane.reading:
            return
        while lane.waiting and not lane.busy:
            if not self._is_ready(lane):
                return
            recipients = self._lists.cached(lane.topic)
            if recipients is None:
                self._have_read(lane)
                return
            self._start_next(lane, recipients)
        if lane.fresh:
            self._set_aside(lane)
        if not lane.waiting and not lane.busy and self._lanes.get(lane.topic) is lane:
            del self._lanes[lane.topic]

    def _is_ready(self, lane: Lane) -> bool:
        """Return true if the first of a lane may start; else it begins what has to be first."""
        return True

    def _have_read(self, lane: Lane) -> None:
        lane.reading = True
        self._tasks.start(self._read(lane))

    def _read_for_turns(self, topic: str) -> None:
        """Have the list read for those that have their turn."""
        lane = self._lanes.get(topic)
        if lane is None:
            lane = self._lanes[topic] = Lane(topic)
        if not lane.reading:
            self._have_read(lane)

    async def _read(self, lane: Lane) -> None:
        try:
            recipients, _ = await self._lists.fetch(lane.topic)
            servers = tuple(self._context.submitter.servers)
            if servers:
                await in_turns(recipients.place_in_steps(servers))
            await in_turns(self._prepare(recipients))
        except Exception as error:
            self._turns.fail(lane.topic, error)
            self._turns.fail_all(lane.waiting, error)
            raise
        finally:
            lane.reading = False
        # Even a list that is not kept serves the fan-outs that were taken before it was
        # asked for. The first in the lane always was.
        self._turns.go_on(lane.topic, recipients)
        while lane.waiting and not lane.busy:
            if next(iter(lane.waiting)).taken >= recipients.asked or not self._is_ready(lane):
                break
            self._start_next(lane, recipients)
        self._advance(lane)

    def _start_next(self, lane: Lane, recipients: Recipients) -> None:
        waiting = next(iter(lane.waiting))
        waiting.leave_queue()
        lane.busy = self._in_turn
        lane.copies = len(recipients)
        request = waiting.request
        if request is None:
            self._turns.take_up(waiting, recipients)
        elif not self._start(waiting.job, request, waiting.payload, recipients, waiting):
            lane.busy = False

    def _set_aside(self, lane: Lane) -> None:
        """Have those in the foreground wait outside the window for the end of another."""
        fresh, lane.fresh = lane.fresh, []
        for waiting in fresh:
            if waiting.queue is not None and waiting.request is not None:
                self._turns.set_aside(waiting, lane.copies)

    def _start(
        self,
        job: Job,
        request: messages.FanOut,
        payload: messages.Content,
        recipients: Recipients,
        waiting: Waiting | None = None,
    ) -> bool:
        """Start a fan-out, or have it wait for its turn, or refuse it.

        :param waiting: the same, if it has waited for its list.
        :returns: true if it was started.
        """
        if isinstance(payload, tuple):
            self._start_series(job, request, payload, recipients, waiting)
            return True
        if not messages.truth(request.background):
            # Without a job server it waits, and is not refused.
            bound = bool(self._context.submitter.servers)
            return self._turns.start(job, request, payload, recipients, waiting, bound=bound)
        recipients = self._admitted(recipients, len(payload))
        number = None if waiting is None else waiting.number
        token = self._tokens.token(job, request.id, number, background=True)
        delivery = BackgroundDelivery(
            self._context, job, request, payload, recipients, token, number
        )
        delivery.start()
        return True

    def _start_series(
        self,
        job: Job,
        request: messages.FanOut,
        payloads: tuple[bytes, ...],
        recipients: Recipients,
        waiting: Waiting | None,
    ) -> None:
        number = None if waiting is None else waiting.number
        token = self._tokens.token(job, request.id, number, background=True)

        def admit(size: int) -> Recipients:
            return self._admitted(recipients, size)

        delivery = SeriesDelivery(
            self._context, job, request, payloads, recipients, token, number, admit
        )
        if delivery.holds_lane:
            self._lanes.setdefault(delivery.topic, Lane(delivery.topic)).busy = True
        delivery.start()

    def _admitted(self, recipients: Recipients, size: int) -> Recipients:
        """Return the list for a message of ``size`` bytes, without full queues, and count it."""
        recipients = self._admit(recipients, size)
        counts = self._counts
        counts.payload_bytes += size
        counts.copied_bytes += size * len(recipients.whole.queues)
        return recipients

    def _send(
        self,
        job: Job,
        request: messages.FanOut,
        payload: bytes,
        recipients: Recipients,
        place: Place,
        watched: Watched | None,
        number: Numbered | None,
    ) -> None:
        """Send the copies of a foreground fan-out."""
        place.begin(len(recipients))
        recipients = self._admitted(recipients, len(payload))
        self._counts.foreground_taken += 1
        token = self._tokens.token(job, request.id, number, background=False)
        delivery = ForegroundDelivery(
            self._context, job, request, payload, recipients, token, place, number
        )
        if watched is None:
            watched = self._watch(job, delivery)
        else:
            watched.owner = delivery
        delivery.watched = watched
        if request.wants_progress:
            self._progress.follow(delivery)
        delivery.start()

    def _ended(self, delivery: Delivery[Any]) -> None:
        if self._stuck_deliveries:
            self._stuck_deliveries.pop(delivery, None)
        if isinstance(delivery, ForegroundDelivery):
            self._progress.ended(delivery)
            delivery.leave()
        if self._in_turn or delivery.holds_lane:
            lane = self._lanes[delivery.topic]
            lane.busy = False
            # Not inside the call that ended it: a topic without subscribers would
            # start its fan-outs one inside the other.
            asyncio.get_running_loop().call_soon(self._advance, lane)

    # Waiting for a job server.

    def _stuck(self, delivery: Delivery[Any]) -> None:
        if not self._stuck_deliveries:
            LOG.warning("no job server is connected: fan-outs wait")
        self._stuck_deliveries[delivery] = None

    def servers_changed(self) -> None:
        """Resume the deliveries that wait for a job server, if one is connected."""
        if self._context.submitter.servers and self._stuck_deliveries:
            LOG.info("a job server is connected: fan-outs go on")
            stuck, self._stuck_deliveries = self._stuck_deliveries, {}
            for delivery in stuck:
                delivery.resume()
