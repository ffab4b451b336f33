# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The guard: keeps fan-outs from filling a job server.

Each fan-out passes :meth:`Guard.admit`, which counts it and leaves full queues out. Looks
at the job servers (``looks``) say how deep queues are; ``depth`` has the rule by which a
topic's messages are counted until the next look, ``totals`` that for a whole server. No
I/O and no clock: times are given, on :func:`gearhorn.clock.now`.
"""

import logging
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from gearhorn.daemon.guard.assessing import PIECE, Assessor, Topic
from gearhorn.daemon.guard.deep_log import DeepLog
from gearhorn.daemon.guard.depth import Rules, limit, whole
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.guard.seen import Seen, ServerSeen
from gearhorn.daemon.guard.totals import Sent, Totals
from gearhorn.daemon.recipients import Recipients
from gearhorn.tasks import Steps, at_once
from gearhorn.wire.address import Address
from gearhorn.wire.batch import Batch
from gearhorn.wire.look import Look

LOG = logging.getLogger(__name__)


class Asked(NamedTuple):
    """What had been sent to a server when a look was asked for, less what was under way."""

    when: float
    topics: Mapping[Topic, float]
    total: Sent


class Outcome(NamedTuple):
    """What a look has shown.

    ``fell`` is true if a full queue is less deep than before, or open again; ``half_full``
    if any is above half of its limit.
    """

    fell: bool
    half_full: bool


class Guard:
    """Counts what is sent, and leaves full queues out.

    :param uncounted_topic: the matchmaking topic, which has no limits.
    :param servers: returns the job servers that take copies now.
    :param daemons: returns the number of daemons that live.
    :param max_topics: the most topics whose mean size is remembered.
    """

    def __init__(
        self,
        settings: LimitSettings,
        *,
        uncounted_topic: str,
        servers: Callable[[], Iterable[Address]],
        daemons: Callable[[], int],
        max_topics: int,
    ) -> None:
        self._log = DeepLog()
        self._uncounted_topic = uncounted_topic
        self.daemons = daemons
        self.max_topics = max_topics
        self._rules = Rules(settings)
        self._light_bytes = self._rules.light_bytes
        self._topics: OrderedDict[str, Topic] = OrderedDict()
        self.seen = Seen(settings)
        warn = limit(settings.warn_waiting)
        self._assessor = Assessor(self._rules, self.seen, servers, warn, self._assessed)
        self._totals: dict[Address, Totals] = {}
        self.on_due: Callable[[Address, bool], None] = lambda server, urgent: None
        """Called when a look at a server is due; with true when a credit is used up."""
        self.on_work: Callable[[Steps[None]], object] = at_once
        """Called with long work, to be done in steps."""

    def apply(self, settings: LimitSettings) -> None:
        """Go by these limits: each topic is assessed anew with its next message.

        One that has full queues is at once, as they are shown without a message too. What
        the limits of a whole server mean the next look at it shows.
        """
        self._rules = Rules(settings)
        self._light_bytes = self._rules.light_bytes
        self._assessor.apply(self._rules, limit(settings.warn_waiting))
        topics = tuple(self._topics.values())
        full = {queue for topic in topics for its in topic.full.values() for queue in its}
        self.seen.apply(settings, full)
        for topic in topics:
            if topic.assessed is None:
                topic.recipients = None
            elif topic.recipients is None:
                topic.take(topic.assessed)
                at_once(self._assessor.assess(topic))
            else:
                self._assess(topic)

    # The path of a fan-out.

    def admit(self, recipients: Recipients, size: int) -> Recipients:
        """Count a message, and return its recipients without those that are full.

        :param size: the bytes of the message.
        """
        topic = self._topics.get(recipients.topic)
        if topic is None or topic.recipients is not recipients:
            topic = self._enter(recipients)
        # The message that uses the last credit is still sent.
        left = recipients if topic.open is None else topic.open
        topic.bytes += size
        if size <= self._light_bytes:
            topic.sent += 1
        else:
            topic.count_heavy(self._rules.weight(size))
        if topic.sent >= topic.mark:
            self._mark_reached(topic)
        return left

    def count_block(self, server: Address, copies: int, size: int) -> None:
        """Count copies that are on their way to a server, and their bytes."""
        totals = self._totals.get(server)
        if totals is None:
            totals = self._totals[server] = self.seen.server(server).totals
        if totals.count(copies, size):
            self.on_due(server, totals.is_used_up)

    def prepare(self, recipients: Recipients) -> Steps[None]:
        """Take another list, in steps, before messages are sent by it."""
        if len(recipients) > PIECE and recipients.topic != self._uncounted_topic:
            yield from self._assessor.assess(self._known(recipients))

    def _known(self, recipients: Recipients) -> Topic:
        """Return the topic of a list, which is the one to go by from now on."""
        name = recipients.topic
        topic = self._topics.get(name) or Topic(recipients)
        self._topics[name] = topic
        self._topics.move_to_end(name)
        while len(self._topics) > self.max_topics:
            self._topics.popitem(last=False)
        topic.take(recipients)
        return topic

    def _enter(self, recipients: Recipients) -> Topic:
        """Take another list for a topic, or its first."""
        if not recipients.whole.queues or recipients.topic == self._uncounted_topic:
            # Not remembered: there is no end of topics without subscribers.
            topic = Topic(recipients)
            topic.mark = sys.maxsize
            return topic
        topic = self._known(recipients)
        if topic.full_count:
            # None of them gets a message meanwhile. Long lists are mostly prepared.
            at_once(self._assessor.assess(topic))
        else:
            self._set_mark(topic)
            self._assess(topic)
        return topic

    def _assess(self, topic: Topic) -> None:
        """Work out a topic's credits; at once if that takes no longer than a step."""
        steps = self._assessor.assess(topic)
        if topic.is_long:
            topic.mark = sys.maxsize
            self.on_work(steps)
        else:
            at_once(steps)

    def _assessed(self, topic: Topic) -> None:
        self._set_mark(topic)
        sent = topic.sent
        # What was sent meanwhile may fill queues that nobody serves.
        if any(sent >= part.base + part.absent for part in topic.parts.values()):
            topic.outdated = True

    def _mark_reached(self, topic: Topic) -> None:
        sent = topic.sent
        filled = [server for server, part in topic.parts.items() if sent >= part.base + part.absent]
        if not filled:
            self._set_mark(topic)
            return
        self._assess(topic)
        for server in filled:
            self.on_due(server, False)

    def _set_mark(self, topic: Topic) -> None:
        """Say which looks are due, and find what the topic reaches next."""
        sent = topic.sent
        daemons = self.daemons()
        mark = math.inf
        for server, part in topic.parts.items():
            half = part.base + part.credit / 2 / daemons
            all_of_it = part.base + part.credit / daemons
            if sent >= half:
                self.on_due(server, sent >= all_of_it)
            # The absent queues that are reached by now are full and not among those.
            for following in (half, all_of_it, part.base + part.absent):
                if sent < following < mark:
                    mark = following
        topic.mark = whole(mark)

    def servers_changed(self) -> None:
        """Have the credits worked out anew: queues have moved."""
        for topic in self._topics.values():
            topic.recipients = None

    def close(self) -> None:
        """Write what the log has not named yet."""
        self._log.close()

    # Looks.

    def asked(self, server: Address, now: float, under_way: tuple[Iterable[Batch], int]) -> Asked:
        """Note what has been sent when a look is asked for.

        :param under_way: the batches of which the server has not answered every copy, and
            the number of copies that were sent to it and are unanswered.
        """
        bases = {topic: float(topic.sent) for topic in self._topics.values() if topic.parts}
        batches, unanswered = under_way
        for batch in batches:
            topic = self._topics.get(batch.lane)
            if topic is not None and topic in bases:
                bases[topic] -= batch.credits(self._rules.weight)
        totals = self.seen.server(server).totals
        return Asked(now, bases, Sent(totals.copies - unanswered, totals.bytes))

    def take(self, server: Address, look: Look, asked: Asked) -> Steps[Outcome]:
        """Take what a look has shown, in steps."""
        known = self.seen.server(server)
        before, known.look, known.asked = known.look, look, asked.when
        self._take_totals(server, known, asked)
        yield
        fell = yield from self._open_again(known, before)
        half_full = known.totals.is_half_full
        done = 0
        for topic in tuple(self._topics.values()):
            part = topic.parts.get(server)
            topic.outdated = topic.assessing
            if part is not None:
                part.seen = max(part.seen, asked.topics.get(topic, part.seen))
                if topic.recipients is None:
                    part.base = part.seen
                else:
                    done += len(topic.recipients)
                    was_full = topic.full_count
                    yield from self._assessor.assess(topic)
                    part = topic.parts.get(server, part)
                    fell = fell or topic.full_count > was_full
                    half_full = half_full or part.half_full
                    yield from self._name_deep(server, part.news, look, asked.when)
            self._forget_if_idle(topic)
            if done >= PIECE:
                done = 0
                yield
        yield from self._log.looked(server, look.jobs, asked.when)
        return Outcome(fell, half_full)

    def _take_totals(self, server: Address, known: ServerSeen, asked: Asked) -> None:
        totals, jobs = known.totals, known.look.jobs
        was_over = totals.is_over
        total = sum(jobs.values())
        totals.seen(total, len(jobs), asked.total, self.daemons())
        if totals.is_over and not was_over:
            LOG.warning(
                "job server %s has %d jobs in %d queues, more than [limits] max_total or "
                "max_total_bytes: its deepest queues get no messages until there are fewer",
                server,
                total,
                len(jobs),
            )

    def _open_again(self, known: ServerSeen, before: Look) -> Steps[bool]:
        """Open the queues that are full no more; return true if one is less deep."""
        fell = False
        jobs = known.look.jobs
        for done, queue in enumerate(list(known.full), 1):
            if not done % PIECE:
                yield
            open_below = known.full.get(queue, 0)
            depth = jobs.get(queue, 0)
            fell = fell or depth < before.jobs.get(queue, 0)
            if depth < open_below:
                del known.full[queue]
                fell = True
        return fell

    def _name_deep(
        self, server: Address, news: list[tuple[bytes, int, bool]], look: Look, now: float
    ) -> Steps[None]:
        news.reverse()
        while news:
            if not len(news) % PIECE:
                yield
            queue, depth, is_full = news.pop()
            workers = look.workers.get(queue, 0)
            self._log.found(server, queue, depth, workers, now, is_full=is_full)

    def _forget_if_idle(self, topic: Topic) -> None:
        """Give up the list of a topic of which the last looks have seen every message."""
        if topic.assessing or (topic.is_long and topic.full_count):
            # It would have to be worked out again, before the next message is sent.
            return
        if all(part.base >= topic.sent for part in topic.parts.values()):
            topic.recipients = topic.open = None
            topic.parts = {}
