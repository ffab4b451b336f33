# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Samples of the queues: how deep they are, who serves them, and which topics have most.

A sample is counted from the last looks at all job servers, a page of queues at a time. From
one to the next, since when each queue has not been seen empty is remembered, and which topics
are shown. No I/O and no clock: times are given, in seconds.
"""

import hashlib
import heapq
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from gearhorn.messages import printable
from gearhorn.tasks import Steps
from gearhorn.wire.look import Look

STATES = IDLE, BACKLOGGED, UNREAD, HALF_READ, ORPHANED = (
    "idle",
    "backlogged",
    "unread",
    "half_read",
    "orphaned",
)
"""The states of a queue: nothing waits in it; something does, and there are workers; there
are none; something waits on a job server where none is, though another has some; something
waits, and the queue is nobody's."""

PATIENCE = 3
"""A topic is shown until so many samples in a row have not had it among those with most, or
have had another among them that is not shown."""

MOST_CHARACTERS = 80
"""The longest name of a topic that is shown."""
_HASH_CHARACTERS = 8

_PIECE = 1_000


class TopicSample(NamedTuple):
    """A topic in a sample, under the name by which it is shown."""

    name: str
    waiting: int = 0
    workers: int = 0
    unread: int = 0
    nonempty_s: float = 0.0


class Sample(NamedTuple):
    """The queues of all subscriptions at one time, and those that are nobody's.

    :param complete: false if a job server was not looked at for it.
    :param waiting: the copies that no worker has taken.
    :param states: the number of queues in each state.
    :param deepest: the most copies that wait in one queue.
    :param nonempty_s: the longest time for which no sample has found a queue empty: no copy
        that waits in any is older.
    :param top: the topics with most copies waiting, the most first.
    """

    complete: bool
    topics: int
    subscriptions: int
    waiting: int
    running: int
    states: Mapping[str, int]
    deepest: int
    nonempty_s: float
    top: Sequence[TopicSample]


def shown_name(topic: str) -> str:
    """Return the name under which a topic is shown: printable, and not too long.

    One that is not the topic itself ends in a hash, so that two do not become one.
    """
    name = printable(topic)
    if name == topic and len(name) <= MOST_CHARACTERS:
        return name
    tail = "~" + hashlib.sha256(topic.encode()).hexdigest()[:_HASH_CHARACTERS]
    return name[: MOST_CHARACTERS - len(tail)] + tail


def names(looks: Sequence[Look]) -> Iterator[bytes]:
    """Yield all queues that have jobs or workers, each once."""
    for index, look in enumerate(looks):
        before = looks[:index]
        jobs = look.jobs
        idle = (queue for queue in look.workers if queue not in jobs)
        for queue in itertools.chain(jobs, idle):
            if not any(queue in other.jobs or queue in other.workers for other in before):
                yield queue


class Queue(NamedTuple):
    """A queue on all job servers together."""

    waiting: int
    running: int
    workers: int
    state: str

    @classmethod
    def seen(cls, queue: bytes, looks: Sequence[Look]) -> "Queue":
        """Return what the looks have shown of a queue."""
        waiting = running = workers = 0
        half_read = False
        for look in looks:
            total = look.jobs.get(queue, 0)
            serve = look.workers.get(queue, 0)
            workers += serve
            if total:
                runs = look.running.get(queue, 0)
                running += runs
                waiting += total - runs
                half_read = half_read or (total > runs and not serve)
        if not waiting:
            state = IDLE
        elif not workers:
            state = UNREAD
        else:
            state = HALF_READ if half_read else BACKLOGGED
        return cls(waiting, running, workers, state)


class _Topic:
    """The queues of a topic that have jobs or workers."""

    __slots__ = ("since", "unread", "waiting", "workers")

    def __init__(self, now: float) -> None:
        self.waiting = self.workers = self.unread = 0
        self.since = now


class Count:
    """The sample that is being counted.

    :param now: when its looks were asked for.
    :param before: when those of the one before were.
    :param since: by queue, since when it was not found empty then.
    """

    def __init__(self, now: float, before: float, since: Mapping[bytes, float]) -> None:
        self._now = now
        self._before = before
        self._since_before = since
        self.since: dict[bytes, float] = {}
        self.topics: dict[str, _Topic] = {}
        self._waiting = self._running = self._deepest = 0
        self._states = dict.fromkeys(STATES, 0)
        self._oldest = now

    def add(self, name: bytes, queue: Queue, topic: str | None) -> None:
        """Add a queue.

        :param topic: that of its subscription, ``None`` if it is nobody's.
        """
        since = self._now
        if queue.waiting:
            since = self.since[name] = self._since_before.get(name, self._before)
            self._oldest = min(self._oldest, since)
        self._waiting += queue.waiting
        self._running += queue.running
        self._deepest = max(self._deepest, queue.waiting)
        self._states[ORPHANED if topic is None else queue.state] += 1
        if topic is None:
            return
        its = self.topics.get(topic)
        if its is None:
            its = self.topics[topic] = _Topic(self._now)
        its.waiting += queue.waiting
        its.workers += queue.workers
        its.unread += queue.state == UNREAD
        its.since = min(its.since, since)

    def sample(
        self, topics: int, subscriptions: int, shown: Collection[str], *, complete: bool
    ) -> Sample:
        """Return the sample, with these topics shown by name."""
        others = sum(self._states[state] for state in (BACKLOGGED, UNREAD, HALF_READ))
        states = {**self._states, IDLE: max(0, subscriptions - others)}
        return Sample(
            complete,
            topics,
            subscriptions,
            self._waiting,
            self._running,
            states,
            self._deepest,
            self._now - self._oldest,
            sorted(map(self._topic, shown), key=lambda topic: (-topic.waiting, topic.name)),
        )

    def _topic(self, topic: str) -> TopicSample:
        name, its = shown_name(topic), self.topics.get(topic)
        if its is None:
            return TopicSample(name)
        return TopicSample(name, its.waiting, its.workers, its.unread, self._now - its.since)


class Top:
    """The topics that are shown, so many at the most.

    One with more waiting takes the place of another only after some samples
    (:data:`PATIENCE`): else series would come and go all the time.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._missed: dict[str, int] = {}
        """The topics that are shown, and how many samples in a row have not had them among
        those with most."""
        self._waited: dict[str, int] = {}
        """The topics that are not shown, and how many samples in a row have had them."""

    def take(self, found: Mapping[str, _Topic], known: Collection[str]) -> Steps[Collection[str]]:
        """Return the topics that are to be shown, in steps.

        :param known: those that have subscriptions.
        """
        wanted: list[tuple[int, bool, str]] = []
        rows = (
            (its.waiting, topic in self._missed, topic)
            for topic, its in found.items()
            if its.waiting
        )
        while piece := list(itertools.islice(rows, _PIECE)):
            wanted = heapq.nlargest(self.most, wanted + piece)
            yield
        among = [topic for _, _, topic in wanted]
        missed = {
            topic: 0 if topic in among else missed + 1
            for topic, missed in self._missed.items()
            if topic in known
        }
        stay = {topic: missed for topic, missed in missed.items() if missed < PATIENCE}
        waited: dict[str, int] = {}
        for topic in among:
            if topic in stay:
                continue
            waited[topic] = self._waited.get(topic, 0) + 1
            if len(stay) == self.most and waited[topic] >= PATIENCE:
                # As this one is among them, one that is shown is not.
                del stay[max(stay, key=lambda shown: stay[shown])]
            if len(stay) < self.most:
                stay[topic] = 0
                del waited[topic]
        self._missed, self._waited = stay, waited
        return list(stay)


class Samples:
    """What is remembered from one sample to the next.

    :param most: the most topics that are shown.
    """

    def __init__(self, most: int) -> None:
        self.top = Top(most)
        self._since: Mapping[bytes, float] = {}
        self._before: float | None = None

    def show(self, most: int) -> None:
        """Show so many topics at the most from now on."""
        self.top = Top(most)

    def begin(self, now: float) -> Count:
        """Begin a sample whose looks were asked for at ``now``."""
        return Count(now, now if self._before is None else self._before, self._since)

    def end(
        self, count: Count, now: float, sizes: Mapping[str, int], *, complete: bool
    ) -> Steps[Sample]:
        """Return the sample, in steps, and remember what the next one needs.

        :param sizes: the number of subscriptions of each topic.
        """
        shown = yield from self.top.take(count.topics, sizes)
        self._since, self._before = count.since, now
        return count.sample(len(sizes), sum(sizes.values()), shown, complete=complete)
