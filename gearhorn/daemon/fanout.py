# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Taking fan-outs and starting them, in order.

A fan-out whose topic's list may be used now starts at once. Where the list
has to be read first or, with ``order = topic``, the topic's earlier fan-out
has not ended, it waits in the topic's lane; what follows it waits behind it.
"""

import asyncio
import itertools
import logging
import os
from collections import deque
from hashlib import blake2b
from typing import Literal

from gearhorn import clock, messages
from gearhorn.daemon.delivery import BackgroundDelivery, Context, Delivery, ForegroundDelivery
from gearhorn.daemon.gathering import Room
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.recipients import Recipients
from gearhorn.daemon.refusals import decoded, fail_unexpectedly
from gearhorn.tasks import Tasks, in_turns
from gearhorn.wire.grabber import Job
from gearhorn.wire.submitter import Submitter

LOG = logging.getLogger(__name__)

Order = Literal["receiver", "topic"]

PROGRESS_S = 1.0
"""How often the publisher of a foreground fan-out is told how far it is."""

GATHERED_MESSAGES = 4
"""How many results of the largest size all reports together gather at a time: a
thousand fan-outs could otherwise hold that each."""

_decode_request = messages.RequestDecoder(messages.FanOut)


def _decode(data: bytes) -> tuple[messages.FanOut, bytes]:
    """A request and its payload."""
    request = _decode_request(data)
    return request, request.payload_bytes()


class _Waiting:
    """A fan-out that was taken and cannot start yet."""

    __slots__ = ("gone", "job", "payload", "request", "taken")

    def __init__(self, job: Job, request: messages.FanOut, payload: bytes) -> None:
        self.job = job
        self.request = request
        self.payload = payload
        self.taken = clock.now()
        self.gone = False
        job.hold(self._abandon)

    def _abandon(self) -> None:
        self.gone = True


class _Lane:
    """The fan-outs of one topic that wait, in order."""

    __slots__ = ("busy", "reading", "topic", "waiting")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.waiting: deque[_Waiting] = deque()
        self.reading = False
        self.busy = False
        """With ``order = topic``: a fan-out of the topic has not ended."""


class FanOuts:
    """Takes jobs of the function ``fanout``.

    :param order: ``topic`` to start a topic's next fan-out only when the
        previous one has ended, ``receiver`` not to wait.
    :param timeout: how long a foreground fan-out waits for receivers, in
        seconds, unless the request says.
    :param generate_unique: give each copy a unique where the request gives
        none.
    :param max_message_bytes: the largest job that is taken, and the most that
        a report gathers.
    """

    def __init__(
        self,
        lists: ListCache,
        submitter: Submitter,
        *,
        order: Order,
        timeout: float,
        generate_unique: bool,
        max_message_bytes: int,
    ) -> None:
        self._lists = lists
        self._in_turn = order == "topic"
        self._generate_unique = generate_unique
        self._context = Context(
            submitter=submitter,
            timeout=timeout,
            max_gathered_bytes=max_message_bytes,
            room=Room(GATHERED_MESSAGES * max_message_bytes),
            on_stuck=self._stuck,
            on_end=self._ended,
        )
        self._lanes: dict[str, _Lane] = {}
        self._tasks = Tasks()
        self._stuck_deliveries: dict[Delivery, None] = {}
        self._foreground: dict[ForegroundDelivery, float] = {}
        """Those under way, and when they started on the loop's clock."""
        self._progress_timer: asyncio.TimerHandle | None = None
        self._token_prefix = os.urandom(6).hex()
        self._token_numbers = itertools.count()

    def take(self, job: Job) -> None:
        """Fan out what ``job`` asks for, or refuse it."""
        brought = decoded(job, _decode)
        if brought is None:
            return
        request, payload = brought
        topic = request.topic
        lane = self._lanes.get(topic)
        if lane is None and not self._in_turn:
            recipients = self._lists.cached(topic)
            if recipients is not None:
                self._start(job, request, payload, recipients)
                return
        if lane is None:
            lane = self._lanes[topic] = _Lane(topic)
        lane.waiting.append(_Waiting(job, request, payload))
        self._advance(lane)

    async def close(self) -> None:
        """Read no more lists; what waits for one is not answered."""
        await self._tasks.cancel()

    def _advance(self, lane: _Lane) -> None:
        """Start what can start; have the list read where that is missing."""
        if lane.reading:
            return
        while lane.waiting and not lane.busy:
            recipients = self._lists.cached(lane.topic)
            if recipients is None:
                lane.reading = True
                self._tasks.start(self._read(lane))
                return
            self._start_next(lane, recipients)
        if not lane.waiting and not lane.busy and self._lanes.get(lane.topic) is lane:
            del self._lanes[lane.topic]

    async def _read(self, lane: _Lane) -> None:
        try:
            recipients, _ = await self._lists.fetch(lane.topic)
            servers = tuple(self._context.submitter.servers)
            if servers:
                await in_turns(recipients.place_in_steps(servers))
        except Exception as error:
            while lane.waiting:
                fail_unexpectedly(lane.waiting.popleft().job, error)
            raise
        finally:
            lane.reading = False
        # Even a list that is not kept is right for what was taken before it
        # was asked for. The first of these always was.
        while lane.waiting and not lane.busy and lane.waiting[0].taken < recipients.asked:
            self._start_next(lane, recipients)
        self._advance(lane)

    def _start_next(self, lane: _Lane, recipients: Recipients) -> None:
        waiting = lane.waiting.popleft()
        if not waiting.gone:
            lane.busy = self._in_turn
            self._start(waiting.job, waiting.request, waiting.payload, recipients)

    def _start(
        self, job: Job, request: messages.FanOut, payload: bytes, recipients: Recipients
    ) -> None:
        background = messages.truth(request.background)
        token = self._token(job, background) if self._generate_unique else b""
        if background:
            delivery: Delivery = BackgroundDelivery(
                self._context, job, request, payload, recipients, token
            )
        else:
            delivery = ForegroundDelivery(self._context, job, request, payload, recipients, token)
            self._follow(delivery)
        delivery.start()

    def _token(self, job: Job, background: bool) -> bytes:
        """What the uniques of a fan-out's copies begin with; empty for copies without.

        The same again if a job that has a unique is run a second time after a
        crash, so that a copy that is still queued is not queued twice. Where it
        has none, background copies still need one each, as persistent queues
        keep one job per function of those without. They keep no foreground jobs.
        """
        if not job.unique:
            if not background:
                return b""
            return b"%s%x" % (self._token_prefix.encode(), next(self._token_numbers))
        digest = blake2b(digest_size=12)
        for part in (job.unique, job.handle, str(job.connection.server).encode(), job.data):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.hexdigest().encode()

    def _ended(self, delivery: Delivery) -> None:
        self._stuck_deliveries.pop(delivery, None)
        if isinstance(delivery, ForegroundDelivery):
            self._foreground.pop(delivery, None)
        if self._in_turn:
            lane = self._lanes[delivery.topic]
            lane.busy = False
            # Not from within the call that ended it: a topic without
            # subscribers would start its fan-outs one inside the other.
            asyncio.get_running_loop().call_soon(self._advance, lane)

    # No job server.

    def _stuck(self, delivery: Delivery) -> None:
        if not self._stuck_deliveries:
            LOG.warning("no job server is connected: fan-outs wait")
        self._stuck_deliveries[delivery] = None

    def servers_changed(self) -> None:
        """A job server came or went: what waited for one goes on."""
        if self._context.submitter.servers and self._stuck_deliveries:
            LOG.info("a job server is connected: fan-outs go on")
            stuck, self._stuck_deliveries = self._stuck_deliveries, {}
            for delivery in stuck:
                delivery.resume()

    # Progress.

    def _follow(self, delivery: ForegroundDelivery) -> None:
        loop = asyncio.get_running_loop()
        self._foreground[delivery] = loop.time()
        if self._progress_timer is None:
            self._progress_timer = loop.call_later(PROGRESS_S, self._tell_progress)

    def _tell_progress(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time() - PROGRESS_S
        for delivery, started in self._foreground.items():
            if started > before:
                break
            delivery.progress()
        self._progress_timer = None
        if self._foreground:
            self._progress_timer = loop.call_later(PROGRESS_S, self._tell_progress)
