# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Fan-outs where some topics have a journal: those wait for their numbers first.

With ``order = topic`` a fan-out is appended when its turn comes, else when it is taken. From
then on it is as any other: the list of its topic is looked up after the append.
"""

from collections.abc import Mapping
from typing import Any

from gearhorn import messages
from gearhorn.daemon.fanout import FanOuts
from gearhorn.daemon.journal.numbering import Numbering
from gearhorn.daemon.lane import Lane
from gearhorn.daemon.turns import Waiting
from gearhorn.wire.grabber import Job


class NumberedFanOuts(FanOuts):
    """The jobs of the function ``fanout``, of topics with a journal and without.

    :param numbering: numbers those of topics with a journal.
    :param options: those of :class:`~gearhorn.daemon.fanout.FanOuts`.
    """

    def __init__(self, numbering: Numbering, *args: Any, **options: Any) -> None:
        super().__init__(*args, on_all_queued=numbering.all_queued, **options)
        self._numbering = numbering

    def _take(self, job: Job, request: messages.FanOut, payload: messages.Content) -> None:
        numbering = self._numbering
        if not numbering.covers(request.topic):
            super()._take(job, request, payload)
        elif numbering.takes(job, payload) and self._has_room(job, request):
            waiting = self._turns.waiting(job, request, payload)
            numbering.expect(waiting)
            if self._in_turn:
                self._enqueue(waiting)
            else:
                numbering.number(waiting, request, payload, self._numbered)

    def _has_room(self, job: Job, request: messages.FanOut) -> bool:
        """Refuse what would be beyond a bound before it is appended, as far as that is known.

        Beside others that wait for their numbers it may be refused after that, too.
        """
        # With "topic" it is refused while it waits for its turn.
        if self._in_turn or messages.truth(request.background):
            return True
        recipients = self._lists.cached(request.topic)
        if recipients is None or not self._context.submitter.servers:
            return True
        return self._turns.has_room(job, request.topic, len(recipients))

    def _numbered(self, waiting: Waiting) -> None:
        """Start a fan-out that has its number, or has ended without one."""
        request, number = waiting.request, waiting.number
        if waiting.ended or request is None or number is None:
            return
        if waiting.topic not in self._lanes:
            recipients = self._lists.cached(waiting.topic)
            if recipients is not None:
                self._start(waiting.job, request, waiting.payload, recipients, waiting)
                return
        self._enqueue(waiting)

    def _is_ready(self, lane: Lane) -> bool:
        """Have the first of a lane numbered, unless it is, or needs no number."""
        waiting = next(iter(lane.waiting))
        if waiting.number is not None or not self._numbering.covers(lane.topic):
            return True
        request, payload = waiting.request, waiting.payload
        if request is None:
            request, payload = self._decode(waiting.job.data)
        waiting.leave_queue()
        lane.reading = True

        def numbered(waiting: Waiting) -> None:
            lane.reading = False
            if not waiting.ended:
                waiting.join(lane.waiting)
                lane.waiting.move_to_end(waiting, last=False)
            self._advance(lane)

        self._numbering.number(waiting, request, payload, numbered)
        return False

    # What others ask.

    def whose(self, job: Job) -> tuple[str, str]:
        """Return the topic of a job in the window, and what that waits for."""
        holder = job.holder
        if isinstance(holder, Waiting) and self._numbering.waits(holder):
            return holder.topic, "its journal"
        return super().whose(job)

    @property
    def set_aside(self) -> int:
        """The number of those that wait outside the window."""
        return self._turns.open.waiting + self._numbering.aside

    def waiting(self) -> Mapping[str, int]:
        """Return how many fan-outs wait, by what they wait for."""
        found = dict(super().waiting())
        found["list"] += self._numbering.waiting
        return found
