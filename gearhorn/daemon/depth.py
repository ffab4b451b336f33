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
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from gearhorn.daemon.limits import LimitSettings
from gearhorn.daemon.placement import Share
from gearhorn.messages import Limits
from gearhorn.wire.look import Look

EIGHTH = 1 / 8
STAYS_FULL = 7 / 8
"""The part of its limit below which a full queue is open again."""

_USUAL_WAITING = LimitSettings.max_waiting
"""The jobs that share the limit in bytes where there is no limit in jobs."""


def limit(number: float) -> float:
    """Return a limit of the configuration as a number to compare with: 0 is for none."""
    return number or math.inf


class Traffic:
    """The messages that this daemon has sent to a topic.

    :param settings: the limits of the configuration.
    """

    __slots__ = ("_before", "_bytes_then", "_heavier", "_sent_then", "_window", "bytes", "sent")

    def __init__(self, settings: LimitSettings) -> None:
        self.sent = 0
        """The credits that they have used."""
        self.bytes = 0
        self._heavier = 0
        self._window = max(1, (settings.max_waiting or _USUAL_WAITING) // 2)
        self._sent_then = 0
        self._bytes_then = 0
        self._before = (0, 0)

    def count_heavy(self, weight: int) -> None:
        """Record that a message has used more than one credit."""
        self._heavier += weight - 1

    def mean_bytes(self) -> float:
        """Return the mean size of the last messages, about as many as a queue may hold."""
        messages = self.sent - self._heavier - self._sent_then
        data = self.bytes - self._bytes_then
        older, its_data = self._before
        mean = (data + its_data) / max(1, messages + older)
        if messages >= self._window:
            self._before = messages, data
            self._sent_then += messages
            self._bytes_then = self.bytes
        return mean


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
    """

    def __init__(self, settings: LimitSettings) -> None:
        self._most = limit(settings.max_waiting)
        self._most_bytes = limit(settings.max_waiting_bytes)
        self.credit_bytes = self._most_bytes / (settings.max_waiting or _USUAL_WAITING)

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

    __slots__ = ("absent", "base", "credit", "full", "half_full", "least", "news")

    def __init__(self, base: float) -> None:
        self.base = base
        self.credit = math.inf
        self.absent = math.inf
        """The credits with which this daemon alone fills a queue that nobody serves."""
        self.full: dict[bytes, float] = {}
        """The full queues, and the jobs below which each is open again."""
        self.half_full = False
        """True if a queue is above half of its limit."""
        self.news: list[tuple[bytes, int, float]] = []
        """The queues that are deep enough for the log: name, jobs, and their limit."""


def assess(
    part: Part,
    share: Share,
    look: Look,
    rule: Rule,
    *,
    used: float,
    was_full: Container[bytes],
    own: Mapping[str, Limits],
    warn: float,
) -> None:
    """Work out the credit at a server anew.

    :param share: the topic's queues there.
    :param used: the credits that this daemon has used since the base.
    :param was_full: the queues that were full before.
    :param own: the limits that subscribers brought, by client_id.
    :param warn: the jobs from which on the log names a queue.
    """
    jobs, workers = look.jobs, look.workers
    weight = rule.weight
    credit = absent = math.inf
    full: dict[bytes, float] = {}
    news: list[tuple[bytes, int, float]] = []
    half_full = False
    queues: Iterable[tuple[bytes, str]] = zip(share.queues, share.client_ids, strict=True)
    empty_room = rule.most * weight
    if not own and used < empty_room:
        # Most queues of most topics are empty and alike: looking at each by itself takes ten
        # times as long.
        deep = [queue for queue in share.queues if queue in jobs or queue in was_full]
        if len(deep) < len(share.queues):
            credit = empty_room
            if not all(map(workers.__contains__, share.queues)):
                absent = empty_room
        queues = ((queue, "") for queue in deep)
    for queue, client_id in queues:
        most = rule.most
        if client_id in own:
            most = min(most, limit(own[client_id].max_waiting or 0))
        depth = jobs.get(queue, 0)
        if depth >= warn or depth >= most:
            news.append((queue, depth, most))
        room = (most - depth) * weight
        open_below = STAYS_FULL * most
        if depth >= most or (depth >= open_below and queue in was_full):
            full[queue] = open_below
            half_full = True
            continue
        if queue not in workers:
            if used >= room:
                full[queue] = open_below
                continue
            absent = min(absent, room)
        half_full = half_full or 2 * depth > most
        credit = min(credit, max(room, EIGHTH * most * weight))
    part.credit = credit
    part.absent = absent
    part.full = full
    part.half_full = half_full
    part.news = news
