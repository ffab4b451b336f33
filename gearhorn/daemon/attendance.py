# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Which publishers are asked for next, how fast, and what the answers mean.

No I/O and no clock: :mod:`gearhorn.daemon.publishers` asks, and tells the time.

A publisher is asked for a twentieth of a second after its job was taken, and then in turn. If a
job that was once seen with a client runs with none, its publisher seems to have left. It is
asked for once more six seconds later, before the others. If it is still not there, it has
left. (Twice, since the question names no function: where another function has a job with the
same unique, the server tells of the newer one, and a publisher that is there must not be left
hanging.) A job that never had a client was submitted in the background, and is asked for no
more.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence

FIRST_S = 0.05
"""Seconds from taking a job to the first question. A publisher that leaves before is not told
from one that has submitted its job in the background. Most fan-outs have ended by then, and
cost no question; and who leaves a tenth of a second after was there when it was asked for."""
AGAIN_S = 6.0
"""Seconds from finding a job without its client to the question that decides."""
ROUND_S = 1.0
"""The least time between two questions for one publisher that is there, in seconds."""

SHARE = 0.01
"""The share of a job server's time that questions in turn may cost."""
URGENT_SHARE = 0.25
"""The share for first and deciding questions, and for all while somebody seems to have left.
With 100,000 jobs each costs 25 us: a tenth would take a minute to find that all have left."""
MOST_A_SECOND = 10_000
"""The most questions to one server in a second."""
MOST_AT_ONCE = 250
FIRST_AT_ONCE = 64
LEAST_AT_ONCE = 8
AIM_S = 0.0025
"""The time that the questions which are asked at once are to cost, in seconds."""
_LEAST_PAUSE_S = 0.01
_MOST_PAUSE_S = 1.0
"""A server that has much else to do seems to take long for answers."""
_COSTS = 10
"""The number of late answers of which the quickest tells what a question costs."""
_LEAST_COST_S = 1e-6


class Owner:
    """The owner of a publisher's job. Subclasses override what they need."""

    __slots__ = ()

    def publisher_doubted(self) -> None:
        """Called when the publisher seems to have left."""

    def publisher_back(self) -> None:
        """Called when it is there after all, or cannot be asked for."""

    def publisher_left(self) -> None:
        """Called when it has left."""


class Watched:
    """A publisher that is asked for.

    :param unique: the unique of its job.
    :param owner: told of what becomes of it; may be replaced.
    """

    __slots__ = ("doubted", "due", "owner", "queue", "seen", "unique")

    def __init__(self, unique: bytes, owner: Owner) -> None:
        self.unique = unique
        self.owner: Owner | None = owner
        self.seen = False
        """True once the job was seen with a client."""
        self.doubted = False
        self.due = 0.0
        """The time from which on it may be asked for."""
        self.queue: OrderedDict[Watched, None] | None = None

    def done(self) -> None:
        """Ask for it no more."""
        self.owner = None
        if self.queue is not None:
            del self.queue[self]
            self.queue = None


class Attendance:
    """The publishers of one job server, in the order in which they are asked for.

    All times are in seconds, on one clock.
    """

    def __init__(self) -> None:
        self._again: OrderedDict[Watched, None] = OrderedDict()
        self._first: OrderedDict[Watched, None] = OrderedDict()
        self._round: OrderedDict[Watched, None] = OrderedDict()
        self._queues = (self._again, self._first, self._round)
        self._most = FIRST_AT_ONCE // 2
        """The number that could be asked for at once last time."""
        self._costs: deque[float] = deque(maxlen=_COSTS)
        """Seconds that each of the questions cost which were asked together."""
        self._open_at = 0.0
        """The time before which nobody is asked for."""
        self._free_at = 0.0
        """The time before which nobody has a turn."""
        self._asked: Sequence[Watched] = ()
        self._asked_at = 0.0

    def add(self, watched: Watched, now: float) -> None:
        """Ask for ``watched``, whose job was just taken, from now on."""
        _put(watched, self._first, now + FIRST_S)

    @property
    def unasked(self) -> int:
        """The number of those who were never asked for."""
        return len(self._first)

    @property
    def waits(self) -> bool:
        """True while questions are not answered."""
        return bool(self._asked)

    def next_at(self) -> float | None:
        """Return the time of the next questions; ``None`` if nobody is to be asked for."""
        times = [
            max(next(iter(queue)).due, self._allowed_at(queue)) for queue in self._queues if queue
        ]
        return min(times) if times else None

    def _allowed_at(self, queue: OrderedDict[Watched, None]) -> float:
        if queue is self._round and not self._again:
            return max(self._open_at, self._free_at)
        return self._open_at

    def take(self, now: float) -> Sequence[Watched]:
        """Return those who are to be asked for now, all at once.

        :meth:`answered` or :meth:`lost` comes before the next :meth:`take`.
        """
        cost = min(self._costs, default=_LEAST_COST_S)
        # Quicker answers to more, up to twice as many each time.
        most = int(max(LEAST_AT_ONCE, min(MOST_AT_ONCE, AIM_S / cost, 2 * self._most)))
        self._most = most
        taken: list[Watched] = []
        # Those in doubt come first, and leave others room: if thousands leave, six seconds
        # would pass again and again in which nobody new is found.
        for queue, room in (
            (self._again, most // 2),
            (self._first, most),
            (self._round, most),
            (self._again, most),
        ):
            while queue and len(taken) < room and now >= self._allowed_at(queue):
                watched = next(iter(queue))
                if watched.due > now:
                    break
                del queue[watched]
                watched.queue = None
                taken.append(watched)
        self._asked = taken
        self._asked_at = now
        self._open_at = now + max(_LEAST_PAUSE_S, len(taken) / MOST_A_SECOND)
        return taken

    def answered(self, counts: Sequence[int | None], cost: float, now: float) -> Iterator[Owner]:
        """Take the answers; yield the owners of jobs whose publishers have left.

        :param counts: the clients of each job that was asked for, in order; ``None``
            where no job of that unique runs.
        :param cost: seconds that the answers have cost the server.
        """
        asked, self._asked = self._asked, ()
        if not asked:
            return
        self._pay(len(asked), cost, now)
        for watched, clients in zip(asked, counts, strict=True):
            owner = watched.owner
            if owner is None:
                continue
            if clients == 0 and not watched.seen:
                # Submitted in the background.
                watched.done()
            elif clients == 0 and watched.doubted:
                watched.done()
                yield owner
            elif clients == 0:
                watched.doubted = True
                _put(watched, self._again, now + AGAIN_S)
                owner.publisher_doubted()
            else:
                watched.seen = watched.seen or clients is not None
                _put(watched, self._round, now + ROUND_S)
                _clear(watched)

    def _pay(self, questions: int, cost: float, now: float) -> None:
        self._costs.append(max(cost / questions, _LEAST_COST_S))
        cost = min(self._costs) * questions
        self._open_at = max(self._open_at, self._asked_at + cost / URGENT_SHARE)
        free_at = max(self._free_at, self._asked_at) + cost / SHARE
        self._free_at = min(free_at, now + _MOST_PAUSE_S)

    def lost(self, now: float) -> None:
        """Ask anew: the server was lost, or does not answer.

        Nobody is in doubt any longer, as nobody can tell when it answers again.
        """
        asked, self._asked = self._asked, ()
        for watched in (*self._again, *asked):
            if watched.owner is not None:
                if watched.queue is not None:
                    del watched.queue[watched]
                _put(watched, self._round if watched.seen else self._first, now)
                _clear(watched)


def _put(watched: Watched, queue: OrderedDict[Watched, None], due: float) -> None:
    watched.due = due
    watched.queue = queue
    queue[watched] = None


def _clear(watched: Watched) -> None:
    if watched.doubted:
        watched.doubted = False
        if watched.owner is not None:
            watched.owner.publisher_back()
