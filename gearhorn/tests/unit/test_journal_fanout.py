# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Fan-outs of topics with a journal: numbered before a copy is sent, in order, or waiting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gearhorn import clock, errors
from gearhorn.daemon.fanout import Order
from gearhorn.daemon.journal import appends as appends_module
from gearhorn.daemon.journal.appends import Appends
from gearhorn.daemon.journal.fanouts import NumberedFanOuts
from gearhorn.daemon.journal.numbering import Numbering
from gearhorn.daemon.journal.patterns import Patterns
from gearhorn.daemon.journal.settings import JournalSettings
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.recipients import Recipients
from gearhorn.daemon.refusals import Refusals
from gearhorn.store.patience import Patience
from gearhorn.tests.builders import encoded, message
from gearhorn.tests.processes import until
from gearhorn.tests.unit.played_journals import ID, PlayedJournals
from gearhorn.tests.unit.test_fanout import Job, Lists, Outbox


class NumberedJob(Job):
    """A job that says whether it is held outside the window."""

    aside = False

    def set_aside(self) -> None:
        self.aside = True

    def take_up(self) -> None:
        self.aside = False


class JournalLists(Lists):
    """A topic whose list is at hand, or has to be read and may not be kept."""

    kept = True

    def __init__(self, subscribers: int) -> None:
        super().__init__(subscribers)
        self.questions: list[asyncio.Event] = []
        self.size = subscribers

    def cached(self, topic: str) -> Recipients | None:
        return self._recipients if self.kept else None

    def groups(self, topic: str) -> int:
        return self._recipients.group_count

    async def fetch(self, topic: str) -> tuple[Recipients, bool]:
        asked, answered = clock.now(), asyncio.Event()
        self.questions.append(answered)
        await answered.wait()
        return Recipients.of(topic, [f"c{n}" for n in range(self.size)], asked), False


class World:
    """Fan-outs of one daemon, whose topic ``t`` has a journal."""

    def __init__(self, subscribers: int = 1, order: Order = "receiver", **options: Any) -> None:
        self.journals = PlayedJournals()
        self.lists = JournalLists(subscribers)
        self.outbox = Outbox()
        self.outbox.connect()
        self.counts = Counts()
        self.patience = Patience()
        refusals = Refusals(self.counts)
        self.appends = Appends(self.journals, self.patience, self.counts)
        self.numbering = Numbering(
            Patterns(JournalSettings(topics=("t", "t?"), **options)),
            self.appends,
            refusals,
            groups=self.lists.groups,
            max_message_bytes=100,
            max_aside_bytes=1000,
        )
        lists: Any = self.lists
        submitter: Any = self.outbox
        self.fanouts = NumberedFanOuts(
            self.numbering,
            lists,
            submitter,
            refusals,
            order=order,
            timeout=60.0,
            generate_unique=True,
            max_message_bytes=1 << 20,
            counts=self.counts,
        )

    def take(self, payload: str = "p", **keys: Any) -> NumberedJob:
        """Take a fan-out, in the background unless it says otherwise."""
        job = NumberedJob(encoded({"background": True, **message("t", payload, **keys)}))
        taken: Any = job
        self.fanouts.take(taken)
        return job

    def sent(self) -> list[tuple[str, list[str]]]:
        """The payloads that were sent, each with the uniques of its copies."""
        found = []
        for batch in self.outbox.batches:
            parts: list[bytes] = []
            batch.pack(0, len(batch.queues), parts)
            uniques = [part.strip(b"\0").decode() for part in parts[2::4]]
            found.append((batch.payload.decode(), uniques))
        return found

    def queue_all(self) -> None:
        """The job server queues all copies."""
        for batch in self.outbox.batches:
            batch.created = len(batch.queues)
            batch.listener.batch_created(batch)
        self.outbox.batches.clear()


async def turns(count: int = 20) -> None:
    """Let the loop do what is due."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_copies_and_report_carry_the_number_that_the_message_has() -> None:
    world = World(2)
    job = world.take(unique="mine")
    await turns()

    assert world.sent() == [("p", [f"j.{ID}.1.0"] * 2)]
    world.queue_all()
    ((how, report),) = job.answers
    assert how == "complete"
    assert report == {
        "topic": "t",
        "subscribers": 2,
        "queued": 2,
        "failed": {},
        "journal": ID,
        "sequence": 1,
    }


async def test_a_foreground_copy_ends_in_the_token_of_its_connection() -> None:
    world = World()
    world.take(background=False)
    await turns()

    assert world.sent() == [("p", [f"j.{ID}.1.0.cafe"])]


async def test_what_comes_in_one_turn_of_the_loop_is_one_write_in_its_order() -> None:
    world = World()
    for payload in "abc":
        world.take(payload)
    await turns()

    assert [len(turn[0].entries) for turn in world.journals.turns] == [3]
    assert [payload for payload, _ in world.sent()] == ["a", "b", "c"]


async def test_of_a_topic_one_append_is_under_way() -> None:
    world = World()
    world.journals.held = True
    world.take("a")
    await turns()
    world.take("b")
    world.take("c")
    await turns()
    ((_, run, answered),) = world.journals.asked
    run.set()
    answered.set()
    await turns()

    assert len(world.journals.asked) == 2
    assert [payload for payload, _ in world.sent()] == ["a"]


async def test_an_append_without_an_answer_is_repeated_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.journals.fault = errors.StoreAway("gone")
    given_up = world.take("a")
    world.take("b")
    await turns()
    given_up.lose()
    world.take("c")
    world.journals.fault = None
    await until(lambda: len(world.sent()) == 2)

    first, repeat, later = (
        world.journals.turns[0],
        world.journals.turns[-2],
        world.journals.turns[-1],
    )
    assert first == repeat
    assert [entry.payloads for entry in later[0].entries] == [(b"c",)]
    # The one that was given up stands in the journal, and is not sent.
    assert [uniques for _, uniques in world.sent()] == [[f"j.{ID}.2.0"], [f"j.{ID}.3.0"]]


@pytest.mark.parametrize("order", ["receiver", "topic"])
async def test_fan_outs_whose_append_fails_wait_outside_the_window(order: Order) -> None:
    world = World(order=order)
    world.journals.fault = errors.StoreFull("no room")
    jobs = [world.take("a"), world.take("b")]
    await turns()
    jobs.append(world.take("c"))
    await turns()

    assert all(job.aside for job in jobs)
    assert world.fanouts.set_aside == 3
    assert world.fanouts.waiting()["list"] == 3
    world.journals.fault = None
    await until(lambda: bool(world.sent()))
    while not all(job.answers for job in jobs):
        world.queue_all()
        await turns()
    assert not any(job.aside for job in jobs)
    assert world.fanouts.set_aside == 0


async def test_those_beyond_the_bound_stay_in_the_window() -> None:
    world = World()
    world.journals.fault = errors.StoreAway("gone")
    jobs = [world.take("x" * 90) for _ in range(10)]
    await turns()

    assert 0 < sum(job.aside for job in jobs) < 10


@pytest.mark.parametrize("order", ["receiver", "topic"])
async def test_a_list_that_may_not_be_kept_serves_those_appended_before_it_was_asked_for(
    order: Order,
) -> None:
    world = World(order=order)
    world.lists.kept = False
    world.journals.held = True
    world.take("a")
    await turns()
    world.take("b")
    (_, run, answered) = world.journals.asked[0]
    run.set()
    answered.set()
    await turns()
    # The second was taken before this list was asked for, and appended after.
    assert len(world.lists.questions) == 1
    world.lists.questions[0].set()
    await turns()

    assert [payload for payload, _ in world.sent()] == ["a"]


async def test_with_order_topic_one_is_appended_when_its_turn_comes() -> None:
    world = World(order="topic")
    world.take("a")
    world.take("b", background=False)
    await turns()
    assert [payload for payload, _ in world.sent()] == ["a"]
    assert world.journals.topics_held["t"].last == 1

    world.queue_all()
    await turns()
    assert world.sent() == [("b", [f"j.{ID}.2.0.cafe"])]


async def test_with_order_topic_the_next_goes_on_when_one_is_given_up() -> None:
    world = World(order="topic")
    world.journals.held = True
    first = world.take("a")
    world.take("b")
    await turns()
    first.lose()
    (_, run, answered) = world.journals.asked[0]
    run.set()
    answered.set()
    await turns()
    (_, run, answered) = world.journals.asked[1]
    run.set()
    answered.set()
    await turns()

    assert world.sent() == [("b", [f"j.{ID}.2.0"])]


async def test_a_repeat_in_the_background_is_answered_with_the_first_ones_report() -> None:
    world = World(2)
    world.take(id="one")
    await turns()
    world.queue_all()
    await turns()
    job = world.take("other", id="one")
    await turns()

    assert not world.sent()
    ((_, report),) = job.answers
    assert report["sequence"] == 1
    assert report["duplicate"] is True
    assert (report["subscribers"], report["queued"]) == (2, 2)
    assert world.counts.journal_duplicates == 1
    # It is a request that was answered, and no fan-out that ended.
    assert world.counts.requests == {("", "ok"): 1}
    assert sum(world.counts.fanouts[False].sizes) == 1


async def test_what_is_known_to_be_queued_is_written_with_the_next_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appends_module, "MARKS_S", 600.0)
    world = World()
    world.take("first", id="one")
    await turns()
    world.queue_all()
    await turns()
    assert [len(append.marks) for (append,) in world.journals.turns] == [0]
    world.take("second", id="two")
    await turns()
    assert [len(append.marks) for (append,) in world.journals.turns] == [0, 1]


async def test_what_is_known_to_be_queued_is_written_soon_without_a_message() -> None:
    world = World()
    world.take("first", id="one")
    await turns()
    world.queue_all()
    await until(lambda: len(world.journals.turns) > 1)
    ((last,),) = world.journals.turns[1:]
    assert (last.number, len(last.marks)) == (0, 1)


@pytest.mark.parametrize("background", [True, False])
async def test_a_repeat_of_one_that_is_not_known_to_be_queued_is_sent_again(
    background: bool,
) -> None:
    world = World()
    world.take("first", id="one")
    await turns()
    world.outbox.batches.clear()
    world.take("repeat", id="one", background=background)
    await turns()

    assert world.sent() == [("first", [f"j.{ID}.1.0" + ("" if background else ".cafe")])]


async def test_a_repeat_in_the_foreground_is_sent_whatever_is_known() -> None:
    world = World()
    world.take("first", id="one")
    await turns()
    world.queue_all()
    world.take("repeat", id="one", background=False)
    await turns()

    assert world.sent() == [("first", [f"j.{ID}.1.0.cafe"])]


async def test_one_that_was_trimmed_meanwhile_is_sent_with_the_repeats_payload() -> None:
    world = World(max_messages=1)
    world.take("first", id="one")
    world.take("second")
    await turns()
    world.outbox.batches.clear()
    world.take("repeat", id="one")
    await turns()

    assert world.sent() == [("repeat", [f"j.{ID}.1.0"])]


async def test_copies_have_the_groups_that_the_message_was_appended_with() -> None:
    world = World(1200)
    world.take("first", id="one")
    await turns()
    assert len(set(world.sent()[0][1])) == 4
    first = dict(zip(world.outbox.batches[0].queues, world.sent()[0][1], strict=True))
    world.outbox.batches.clear()
    # Another list, of fewer groups or more.
    for subscribers in (400, 3000):
        world.lists._recipients = Recipients.of("t", [f"c{n}" for n in range(subscribers)], 0.0)
        world.take("first", id="one")
        await turns()
        (batch,) = world.outbox.batches
        again = dict(zip(batch.queues, world.sent()[0][1], strict=True))
        assert len(set(again.values())) == 4
        assert all(first[queue] == again[queue] for queue in first if queue in again)
        world.outbox.batches.clear()


async def test_what_a_journal_does_not_take_is_refused() -> None:
    world = World()
    too_large = world.take("x" * 101)
    world.journals.max_topics = 0
    too_many = world.take()
    await turns()

    assert [answer["error"] for _, answer in too_large.answers] == ["message_too_large"]
    assert [answer["error"] for _, answer in too_many.answers] == ["too_many_journals"]
    assert not world.sent()
    assert not world.numbering.waiting


async def test_large_messages_share_no_write_with_too_many_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appends_module, "MOST_ENTRIES", 2)
    world = World()
    for payload in "abc":
        world.take(payload)
    await turns()

    assert [len(turn[0].entries) for turn in world.journals.turns] == [2, 1]
    assert [payload for payload, _ in world.sent()] == ["a", "b", "c"]


async def test_an_id_without_a_journal_makes_the_uniques() -> None:
    world = World()
    for payload in ("first", "repeat"):
        job: Any = NumberedJob(encoded(message("other", payload, background=True, id="one")))
        world.fanouts.take(job)

    (_, first), (_, repeat) = world.sent()
    assert first == repeat
    assert first[0].endswith("-0")


async def test_what_comes_in_the_flush_interval_is_one_write() -> None:
    world = World()
    world.appends._flush_interval = 0.01
    world.take("a")
    await turns()
    world.take("b")
    assert not world.journals.turns
    await until(lambda: len(world.sent()) == 2)

    assert [len(turn[0].entries) for turn in world.journals.turns] == [2]
