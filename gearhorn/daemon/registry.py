# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The registration and removal of subscribers.

Each request is a task of its own. It changes the store, waits until every daemon
honours the change, and only then answers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import ParamSpec

from msgspec import UNSET
from msgspec.structs import replace

from gearhorn import clock, errors, messages
from gearhorn.daemon.journal.none import NoJournals
from gearhorn.daemon.journal.reads import no_journal
from gearhorn.daemon.matchmaking import Matchmaking
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.refusals import Refusals
from gearhorn.store.base import Change, Store
from gearhorn.store.endings import BeingDiscarded
from gearhorn.store.patience import Patience
from gearhorn.tasks import Tasks
from gearhorn.wire.grabber import Job

LOG = logging.getLogger(__name__)

DISCARDING_PAUSE_S = 0.1
"""Seconds until a registration is tried again whose queue is being emptied."""

P = ParamSpec("P")

_decode_register = messages.RequestDecoder(messages.Register)
_decode_unregister = messages.RequestDecoder(messages.Unregister)


class Registry:
    """The jobs of the functions that register and unregister.

    :param matchmaking_topic: the topic to which the daemons subscribe.
    :param own_functions: the daemon's functions, whose names no queue may have.
    :param journals: the parts that deal with journals, which may have none.
    """

    def __init__(
        self,
        store: Store,
        patience: Patience,
        matchmaking: Matchmaking,
        refusals: Refusals,
        *,
        matchmaking_topic: str,
        own_functions: Collection[str],
        counts: Counts | None = None,
        journals: NoJournals | None = None,
    ) -> None:
        self._journals = NoJournals(refusals) if journals is None else journals
        self._store = store
        self._counts = Counts() if counts is None else counts
        self._patience = patience
        self._matchmaking = matchmaking
        self._refusals = refusals
        self._matchmaking_topic = matchmaking_topic
        self._own_functions = frozenset(own_functions)
        self._own_prefix = messages.queue_name(matchmaking_topic, "").lower()
        self._tasks = Tasks()

    def register(self, job: Job) -> None:
        """Take a registration."""
        request = self._refusals.decoded(job, _decode_register)
        if request is not None:
            self._act(job, lambda: self._register(job, request))

    def unregister(self, job: Job) -> None:
        """Take a removal."""
        request = self._refusals.decoded(job, _decode_unregister)
        if request is not None:
            self._act(job, lambda: self._unregister(request))

    def _act(self, job: Job, act: Callable[[], Awaitable[messages.Subscription]]) -> None:
        job.hold(self._tasks.start(self._answer(job, act)).cancel)

    async def _answer(self, job: Job, act: Callable[[], Awaitable[messages.Subscription]]) -> None:
        if await self._refusals.report(job, act(), errors.RequestError):
            self._counts.registrations.note(clock.now() - job.taken)

    async def _register(self, job: Job, request: messages.Register) -> messages.Subscription:
        queue = messages.queue_name(request.topic, request.client_id)
        if request.topic == self._matchmaking_topic:
            raise errors.ReservedTopic(
                f"{request.topic} is the daemons' own topic; they add themselves"
            )
        # Compared without case, as gearmand's "drop function" does it, with which the
        # function of a dead daemon is removed.
        if queue in self._own_functions or queue.lower().startswith(self._own_prefix):
            raise errors.ReservedQueue(
                f"the queue {queue} is a function of the daemon; use another topic or client_id"
            )
        start = messages.start_of(request.start)
        if start.word != messages.NEW and not self._journals.covers(request.topic):
            raise no_journal(request.topic)
        await self._change(self._add, request)
        answer = messages.Subscription(
            topic=request.topic, client_id=request.client_id, queue=queue
        )
        if not self._journals.covers(request.topic):
            return answer
        # After the change was confirmed: whatever has a higher sequence is sent to it.
        head = await self._journals.head(request.topic)
        answer = replace(answer, journal=head.journal, sequence=head.sequence)
        if start.word == messages.NEW:
            return answer
        done = await self._journals.replay(job, request, head)
        return replace(
            answer,
            replayed=done.replayed,
            after=done.after,
            stopped=done.stopped or UNSET,
            reset=done.reset or UNSET,
        )

    async def _add(self, request: messages.Register) -> Sequence[Change]:
        """Add a subscriber once nobody discards what is in its queue.

        Whoever does so may be frozen, and would hold the lease for ever. It has stopped
        when the same lease was seen for its length.
        """
        token, since = "", 0.0
        despite = ""
        while True:
            try:
                return await self._store.add(
                    request.topic, request.client_id, request.ttl, request.limits(), despite
                )
            except BeingDiscarded as lease:
                now = clock.now()
                if lease.token != token:
                    token, since = lease.token, now
                elif now - since >= lease.length:
                    despite = token
            await asyncio.sleep(DISCARDING_PAUSE_S)

    async def _unregister(self, request: messages.Unregister) -> messages.Subscription:
        if request.topic == self._matchmaking_topic:
            await self._matchmaking.remove_by_hand(request.client_id)
        else:
            await self._change(self._store.remove, request.topic, request.client_id)
        return messages.Subscription(
            topic=request.topic,
            client_id=request.client_id,
            queue=messages.queue_name(request.topic, request.client_id),
        )

    async def _change(
        self,
        operation: Callable[P, Awaitable[Collection[Change]]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Change the store, and return once every daemon honours the change.

        A store that was restarted or failed over meanwhile may have lost the change.
        It is made again then, which does no harm.
        """
        while True:
            run = self._store.run_changed_at
            changes = await self._patience.call(operation, *args, **kwargs)
            await asyncio.gather(*map(self._matchmaking.confirm, changes))
            if self._store.run_changed_at == run:
                return

    async def close(self) -> None:
        """Stop all requests; their jobs are not answered."""
        await self._tasks.cancel()
