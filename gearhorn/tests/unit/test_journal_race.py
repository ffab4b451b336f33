# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A registration beside fan-outs of a topic with a journal, in every order.

The registration is stored, each daemon drops its list and says so, and the answer names the
last sequence of that moment. Each fan-out is taken, appended, its answer heard, and its list
read, unless one is at hand. The parts are those of a daemon; a test plays the two stores and
says what happens next, until every order has been tried. Whatever has a higher sequence than
the registration's answer must be sent to the new subscriber.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Hashable, Iterator
from typing import Any

import pytest

from gearhorn import clock
from gearhorn.daemon.fanout import Order
from gearhorn.daemon.journal.appends import Appends
from gearhorn.daemon.journal.fanouts import NumberedFanOuts
from gearhorn.daemon.journal.numbering import Numbering
from gearhorn.daemon.journal.patterns import Patterns
from gearhorn.daemon.journal.settings import JournalSettings
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.refusals import Refusals
from gearhorn.store.base import Members
from gearhorn.store.patience import Patience
from gearhorn.tests.unit.played_journals import PlayedJournal, PlayedJournals
from gearhorn.tests.unit.test_fanout import Job, Outbox, request

NEW = "x"
Step = tuple[str, int]


class Question:
    """A question for the list of subscribers."""

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.found: list[str] | None = None
        self.answer: asyncio.Future[Members] = asyncio.get_running_loop().create_future()


class OneDaemon:
    """One of the daemons that share the stores."""

    def __init__(self, number: int, order: Order, journals: dict[str, PlayedJournal]) -> None:
        self.taken = 0
        self.questions: list[Question] = []
        self.outbox = Outbox()
        self.outbox.connect()
        self.journals = PlayedJournals(f"daemon {number}", journals)
        self.journals.held = True
        refusals, patience = Refusals(), Patience()
        store: Any = self
        self.lists = ListCache(
            store,
            patience,
            worker_id="",
            uncached_topic="",
            cache_ttl=math.inf,
            max_topics=1,
        )
        self.lists.keep_until(math.inf)
        self.numbering = Numbering(
            Patterns(JournalSettings(topics=("t",))),
            Appends(self.journals, patience, Counts()),
            refusals,
            groups=self.lists.groups,
            max_message_bytes=100,
            max_aside_bytes=1000,
        )
        submitter: Any = self.outbox
        self.fanouts = NumberedFanOuts(
            self.numbering,
            self.lists,
            submitter,
            refusals,
            order=order,
            timeout=60.0,
            generate_unique=True,
            max_message_bytes=1 << 20,
        )

    async def members(self, topic: str, reader: str) -> Members:
        question = Question(clock.now())
        self.questions.append(question)
        return await question.answer

    def take(self) -> None:
        self.taken += 1
        job: Any = Job(request())
        self.fanouts.take(job)

    def sent(self) -> list[tuple[int, bool]]:
        """The sequence of each message that was sent, and whether the new one is sent it."""
        found = []
        for batch in self.outbox.batches:
            unique = batch._middles[0].strip(b"\0").decode()
            found.append((int(unique.split(".")[2]), NEW in batch.keys))
        return found

    def queue_copies(self) -> None:
        for batch in self.outbox.batches:
            if batch.created < len(batch.queues):
                batch.created = len(batch.queues)
                batch.listener.batch_created(batch)

    def key(self) -> Hashable:
        """All that decides what can still come of it."""
        lane = self.fanouts._lanes.get("t")
        in_lane = [] if lane is None else list(lane.waiting)
        waiting = [each.taken for each in (*in_lane, *self.numbering._asked)]
        kept = self.lists._lists.get("t")
        return (
            self.taken,
            tuple(self.sent()),
            tuple((run.is_set(), len(turn[0].entries)) for turn, run, _ in self.journals.asked),
            tuple(
                (
                    None if question.found is None else len(question.found),
                    tuple(taken < question.asked for taken in waiting),
                )
                for question in self.questions
            ),
            len(in_lane),
            tuple(read.disturbed for read in self.lists._reads.get("t", ())),
            None if kept is None else len(kept),
            self.numbering.waiting,
        )


class Race:
    """One history."""

    def __init__(self, jobs: tuple[int, ...], order: Order) -> None:
        self.jobs = jobs
        self.held: dict[str, PlayedJournal] = {}
        self.daemons = [OneDaemon(n, order, self.held) for n in range(len(jobs))]
        self.subscribers = ["a"]
        self.told: set[int] | None = None
        """The daemons that have dropped their lists since the registration was stored."""
        self.answer: int | None = None

    @property
    def last(self) -> int:
        return self.held["t"].last if "t" in self.held else 0

    def steps(self) -> Iterator[Step]:
        """Yield what can happen next."""
        if self.told is None:
            yield "stored", 0
        elif len(self.told) < len(self.daemons):
            yield from (("told", n) for n in range(len(self.daemons)) if n not in self.told)
        elif self.answer is None:
            yield "answered", 0
        for n, (daemon, jobs) in enumerate(zip(self.daemons, self.jobs, strict=True)):
            if daemon.taken < jobs:
                yield "taken", n
            if daemon.journals.asked:
                _, run, _ = daemon.journals.asked[0]
                yield ("heard" if run.is_set() else "appended"), n
            if daemon.questions:
                yield ("looked up" if daemon.questions[0].found is None else "list heard"), n

    async def do(self, step: Step) -> None:
        what, n = step
        daemon = self.daemons[n]
        if what == "stored":
            self.subscribers.append(NEW)
            self.told = set()
        elif what == "told":
            assert self.told is not None
            daemon.lists.drop("t")
            self.told.add(n)
        elif what == "answered":
            self.answer = self.last
        elif what == "taken":
            daemon.take()
        elif what == "appended":
            daemon.journals.asked[0][1].set()
        elif what == "heard":
            daemon.journals.asked.pop(0)[2].set()
        elif what == "looked up":
            daemon.questions[0].found = list(self.subscribers)
        else:
            question = daemon.questions.pop(0)
            assert question.found is not None
            question.answer.set_result(Members(question.found, True))
        for _ in range(12):
            await asyncio.sleep(0)
        for each in self.daemons:
            each.queue_copies()
        for _ in range(3):
            await asyncio.sleep(0)

    def key(self) -> Hashable:
        told = None if self.told is None else tuple(sorted(self.told))
        return told, self.answer, self.last, tuple(daemon.key() for daemon in self.daemons)

    def missed(self) -> list[int]:
        """The sequences that the new subscriber was not sent, and will not look for."""
        answer = math.inf if self.answer is None else self.answer
        return [
            sequence
            for daemon in self.daemons
            for sequence, reached in daemon.sent()
            if sequence > answer and not reached
        ]

    async def close(self) -> None:
        for daemon in self.daemons:
            await daemon.fanouts.close()
            await daemon.numbering._appends.close()


@pytest.mark.once
@pytest.mark.parametrize(
    ("jobs", "order"), [((2,), "receiver"), ((2,), "topic"), ((1, 1), "receiver")]
)
async def test_what_is_above_the_answer_is_sent_to_the_new_subscriber(
    jobs: tuple[int, ...], order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = 0

    def now() -> float:
        nonlocal ticks
        ticks += 1
        return float(ticks)

    monkeypatch.setattr(clock, "now", now)
    seen: set[Hashable] = set()
    ended = 0
    histories: list[tuple[Step, ...]] = [()]
    while histories:
        history = histories.pop()
        race = Race(jobs, order)
        for step in history:
            await race.do(step)
        key = race.key()
        if key not in seen:
            seen.add(key)
            assert not race.missed(), history
            following = [(*history, step) for step in race.steps()]
            histories += following
            if not following:
                ended += 1
                sent = sorted(sequence for each in race.daemons for sequence, _ in each.sent())
                assert sent == list(range(1, sum(jobs) + 1)), history
        await race.close()
    assert ended > 1
    assert len(seen) > 100
