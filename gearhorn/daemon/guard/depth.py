# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How much room there is in the queues of a topic, and how long that may be believed.

A queue's depth is what waits and runs in it, at the last look at its job server. A
topic's *credit* at a server is the least room of any of its queues there, full ones
aside. Each message that was under way when that look was asked for, or began later, uses
one of it for each daemon that lives, and a large one more. When half of a credit is used
a look is due. So the path of a fan-out has one counter and one comparison, whatever the
number of queues. No I/O and no clock.

An eighth of its limit is a queue's least room: otherwise one that stands at its limit
asked for a look with each message. A full queue is one until it is below seven eighths:
otherwise a slow worker got the messages of one look and then none.

One where no worker was seen is full as soon as this daemon alone has sent its room: so an
absent subscriber, the usual cause of deep queues, needs no look at all.
"""

import math
import sys
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.wire.look import Look

EIGHTH = 1 / 8
STAYS_FULL = 7 / 8
"""The part of its limit below which a full queue is open again."""

_USUAL_WAITING = LimitSettings.max_waiting
"""The jobs that share the limit in bytes where there is no limit in jobs."""


_LEAST_MEASURED = 100
"""The least messages whose mean size is taken."""

_MARKS = 32
"""About the moments of the past at which messages and bytes are remembered."""


def limit(number: float) -> float:
    """Return a limit of the configuration as a number to compare with: 0 is for none."""
    return number or math.inf


def whole(number: float) -> int:
    """Return the least integer that is not below: comparing integers is quicker."""
    return sys.maxsize if number >= sys.maxsize else math.ceil(number)


class MeanSize:
    """The mean size of what was sent last.

    What waits is what was sent last. So the mean is that of about as many as wait, of half
    of them at the least: where messages grow it is soon that of large ones.
    """

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks = deque([(0, 0)])
        """How many, and how many bytes, at moments of the past, the oldest first."""

    def of_last(self, wanted: float, sent: int, size: int) -> float:
        """Return the mean size of about as many as are ``wanted``.

        :param sent: how many were sent so far.
        :param size: the bytes of all of them.
        """
        marks = self._marks
        wanted = max(wanted, _LEAST_MEASURED)
        while len(marks) > 1 and sent - marks[1][0] >= wanted / 2:
            marks.popleft()
        sent_then, size_then = marks[0]
        if sent - marks[-1][0] >= wanted // _MARKS:
            marks.append((sent, size))
        return (size - size_then) / max(1, sent - sent_then)


class Traffic:
    """The messages that this daemon has sent to a topic."""

    __slots__ = ("_heavier", "_mean", "bytes", "sent")

    def __init__(self) -> None:
        self.sent = 0
        """The credits that they have used."""
        self.bytes = 0
        self._heavier = 0
        self._mean = MeanSize()

    def count_heavy(self, weight: int) -> None:
        """Record that a message has used more than one credit."""
        self.sent += weight
        self._heavier += weight - 1

    def mean_bytes(self, depth: int) -> float:
        """Return the mean size of the last messages, as many as wait in the deepest queue."""
        return self._mean.of_last(depth, self.sent - self._heavier, self.bytes)


class Rule(NamedTuple):
    """What the queues of a topic may hold, by what is known at this moment.

    :param most: the jobs.
    :param weight: the credits that a job which waits stands for.
    """

    most: float
    weight: float


class Rules:
    """Makes the rules of topics from the configuration.

    :ivar credit_bytes: the bytes of a message beyond which it uses a further credit.
    :ivar light_bytes: the most bytes of a message that uses one credit, as an integer.
    """

    def __init__(self, settings: LimitSettings) -> None:
        self._most = limit(settings.max_waiting)
        self._most_bytes = limit(settings.max_waiting_bytes)
        self.credit_bytes = self._most_bytes / (settings.max_waiting or _USUAL_WAITING)
        self.light_bytes = int(min(self.credit_bytes, sys.maxsize))

    def weight(self, size: int) -> int:
        """Return the credits that a message of this size uses."""
        return 1 if size <= self.credit_bytes else math.ceil(size / self.credit_bytes)

    def rule(self, mean_bytes: float, most_of_total: float) -> Rule:
        """Return the rule of a topic at a server.

        :param most_of_total: the jobs that a queue may hold while the server has too many.
        """
        most = min(self._most, self._most_bytes / max(1.0, mean_bytes), most_of_total)
        return Rule(most, max(1.0, mean_bytes / self.credit_bytes))


class Part:
    """A topic's credit at one server.

    :param base: the credits used before those that the last look may not have seen.
    """

    __slots__ = ("absent", "base", "credit", "deepest", "half_full", "news", "seen")

    def __init__(self, base: float) -> None:
        self.base = base
        self.seen = base
        """The same of a look that is still being taken."""
        self.credit = math.inf
        self.absent = math.inf
        """The credits with which this daemon alone fills a queue that nobody serves."""
        self.deepest = 0
        """The jobs in the deepest queue."""
        self.half_full = False
        """True if a queue is above half of its limit."""
        self.news: list[tuple[bytes, int, bool]] = []
        """The queues that are deep enough for the log: name, jobs, and whether it is full."""


class View(NamedTuple):
    """What the queues of a topic at one server are judged by.

    :param used: the credits that this daemon has used since the base.
    :param was_full: the queues that were full before.
    :param own: the limits in jobs that subscribers brought, by queue.
    :param warn: the jobs from which on the log names a queue.
    """

    look: Look
    rule: Rule
    used: float
    was_full: Collection[bytes]
    own: Mapping[bytes, int]
    warn: float


def assess(part: Part, queues: Sequence[bytes], view: View) -> dict[bytes, float]:
    """Count some of a topic's queues at a server into its credit there.

    :returns: those that are full, and the jobs below which each is open again.
    """
    look, (most, weight), used, was_full, own, warn = view
    jobs, workers = look.jobs, look.workers
    # Most queues of most topics are like the deepest of them, or better. Looking at each by
    # itself takes several times as long.
    deep = min(warn, STAYS_FULL * most)
    depths = [] if jobs.keys().isdisjoint(queues) else [jobs.get(queue, 0) for queue in queues]
    deepest = max(depths, default=0)
    part.deepest = max(part.deepest, deepest)
    each: Sequence[bytes] = ()
    if deepest >= deep or was_full or own:
        deepest = max((depth for depth in depths if depth < deep), default=0)
        each = [
            queue
            for queue in queues
            if jobs.get(queue, 0) >= deep or queue in was_full or queue in own
        ]
    room = (most - deepest) * weight
    if used >= room:
        each = queues
    if len(each) < len(queues):
        part.credit = min(part.credit, room)
        part.half_full = part.half_full or 2 * deepest > most
        if room < part.absent and not all(map(workers.__contains__, queues)):
            part.absent = room
    full: dict[bytes, float] = {}
    open_below = STAYS_FULL * most
    for queue in each:
        limit_of_queue = min(most, own.get(queue, most))
        if _is_full(part, queue, view, limit_of_queue):
            full[queue] = open_below if limit_of_queue == most else STAYS_FULL * limit_of_queue
    return full


def _is_full(part: Part, queue: bytes, view: View, most: float) -> bool:
    """Return true if a queue is full, or else count it into the credit."""
    depth = view.look.jobs.get(queue, 0)
    weight = view.rule.weight
    room = (most - depth) * weight
    is_full = depth >= most or (depth >= STAYS_FULL * most and queue in view.was_full)
    if is_full or depth >= view.warn:
        part.news.append((queue, depth, is_full))
    if is_full:
        part.half_full = True
        return True
    if queue not in view.look.workers:
        if view.used >= room:
            return True
        part.absent = min(part.absent, room)
    part.half_full = part.half_full or 2 * depth > most
    part.credit = min(part.credit, max(room, EIGHTH * most * weight))
    return False
