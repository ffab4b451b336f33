# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What is known of a topic, and how it is worked out anew, in steps.

A list may have 100,000 queues: going through them takes a tenth of a second and more. So
the result is made beside what holds, piece by piece, and takes its place in one moment.
What comes meanwhile (a look, another list) has it worked out once more.
"""

import sys
from collections.abc import Callable, Iterable, Mapping

from gearhorn.daemon.guard.depth import Part, Rules, Traffic, View, assess
from gearhorn.daemon.guard.seen import Seen
from gearhorn.daemon.recipients import Recipients
from gearhorn.tasks import Steps
from gearhorn.wire.address import Address

PIECE = 250
"""The queues that are gone through at a time: a millisecond of work where all are full."""


class Topic(Traffic):
    """A topic that messages are sent to."""

    __slots__ = (
        "assessed",
        "assessing",
        "began",
        "full",
        "mark",
        "open",
        "outdated",
        "parts",
        "recipients",
    )

    def __init__(self, recipients: Recipients) -> None:
        super().__init__()
        self.recipients: Recipients | None = recipients
        """The last list; ``None`` where nothing was sent since the last look."""
        self.open: Recipients | None = recipients
        """The list without its full queues."""
        self.parts: Mapping[Address, Part] = {}
        self.full: Mapping[Address, dict[bytes, float]] = {}
        """The full queues of each server, and the jobs below which each is open again."""
        self.assessed: Recipients | None = None
        """The list that has them; ``None`` where no queue is full."""
        self.mark = 0
        """The credits at which something has to be done."""
        self.began = 0
        """The credits that were used when the list was taken."""
        self.assessing = False
        """True while its credits are worked out."""
        self.outdated = False
        """True if they are to be worked out once more then."""

    def take(self, recipients: Recipients) -> None:
        """Take a list, whose credits are to be worked out."""
        self.recipients = recipients
        self.open = None
        self.began = self.sent

    @property
    def full_count(self) -> int:
        """The number of full queues, each of which is on one server."""
        return sum(map(len, self.full.values()))

    @property
    def is_long(self) -> bool:
        """True if its list takes more than one step."""
        return self.recipients is not None and len(self.recipients.whole.queues) > PIECE


class Assessor:
    """Works out the credit of topics at each server, and which queues are full.

    :param servers: returns the job servers that take copies now.
    :param warn: the jobs from which on the log names a queue.
    :param on_assessed: called when the result of a topic has taken its place.
    """

    def __init__(
        self,
        rules: Rules,
        seen: Seen,
        servers: Callable[[], Iterable[Address]],
        warn: float,
        on_assessed: Callable[[Topic], None],
    ) -> None:
        self._rules = rules
        self._seen = seen
        self._servers = servers
        self._warn = warn
        self._on_assessed = on_assessed

    def apply(self, rules: Rules, warn: float) -> None:
        """Go by other limits from now on."""
        self._rules = rules
        self._warn = warn

    def assess(self, topic: Topic) -> Steps[None]:
        """Work out the credits of a topic; if that is under way, have it done once more."""
        topic.outdated = True
        if topic.assessing:
            return
        topic.assessing = True
        try:
            while topic.outdated and topic.recipients is not None:
                topic.outdated = False
                yield from self._assess(topic, topic.recipients)
        finally:
            topic.assessing = False

    def _assess(self, topic: Topic, recipients: Recipients) -> Steps[None]:
        now = tuple(self._servers())
        if not now:
            yield from self._stay(topic, recipients)
            return
        yield from recipients.place_in_steps(now)
        deepest = max((part.deepest for part in topic.parts.values()), default=0)
        mean = topic.mean_bytes(deepest)
        parts: dict[Address, Part] = {}
        full: dict[Address, dict[bytes, float]] = {}
        shares = recipients.shares(now)
        together: dict[bytes, float] = {}
        changed = topic.open is None
        for server, share in shares.items():
            known = self._seen.server(server)
            before = topic.parts.get(server)
            part = parts[server] = Part(topic.began if before is None else before.seen)
            its = full[server] = {} if len(shares) > 1 else together
            was = topic.full.get(server, {})
            view = View(
                known.look,
                self._rules.rule(mean, known.totals.most_of_queue(mean)),
                used=topic.sent - part.base,
                was_full=known.full,
                own=recipients.own_limits,
                warn=self._warn,
            )
            for start in range(0, len(share.queues), PIECE):
                if start:
                    yield
                found = assess(part, share.queues[start : start + PIECE], view)
                its.update(found)
                if its is not together:
                    together.update(found)
                changed = changed or not found.keys() <= was.keys()
        left = recipients
        if together and (changed or len(together) != topic.full_count):
            left = yield from recipients.without_in_steps(together)
        elif together and topic.open is not None:
            left = topic.open
        if topic.recipients is not recipients:
            # It is another list's turn, or nobody's.
            return
        for server, part in parts.items():
            if server in topic.parts:
                part.seen = max(part.seen, topic.parts[server].seen)
        before_full, topic.full = topic.full, full
        topic.assessed = recipients if together else None
        topic.open, topic.parts = left, parts
        self._on_assessed(topic)
        yield from self._note_full(before_full, full)

    def _stay(self, topic: Topic, recipients: Recipients) -> Steps[None]:
        """Leave out what is full until a server is back, with which all is worked out anew."""
        topic.mark = sys.maxsize
        full: set[bytes] = set()
        for its in topic.full.values():
            full |= its.keys()
        left = (yield from recipients.without_in_steps(full)) if full else recipients
        if topic.recipients is recipients:
            topic.open = left

    def _note_full(
        self,
        before: Mapping[Address, dict[bytes, float]],
        full: Mapping[Address, Mapping[bytes, float]],
    ) -> Steps[None]:
        done = 0
        for server, gone in before.items():
            noted, still = self._seen.server(server).full, full.get(server, {})
            # One by one: giving up 100,000 of them takes longer than a step.
            while gone:
                queue, _ = gone.popitem()
                done += 1
                if not done % PIECE:
                    yield
                if queue not in still:
                    noted.pop(queue, None)
        for server, its in full.items():
            noted = self._seen.server(server).full
            for queue, open_below in its.items():
                done += 1
                if not done % PIECE:
                    yield
                noted[queue] = open_below
