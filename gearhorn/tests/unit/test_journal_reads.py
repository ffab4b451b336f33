# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Readers that wait: who is answered when, by how many looks, and how many may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gearhorn import errors
from gearhorn.daemon.journal import reads as module
from gearhorn.daemon.journal.patterns import Patterns
from gearhorn.daemon.journal.reads import Reads
from gearhorn.daemon.journal.settings import JournalSettings
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.refusals import Refusals
from gearhorn.store.journal import Append, Entry, JournalLimits
from gearhorn.store.patience import Patience
from gearhorn.tests.builders import encoded
from gearhorn.tests.unit.played_journals import PlayedJournals
from gearhorn.tests.unit.test_journal_fanout import NumberedJob, turns

LIMITS = JournalLimits(100, 1000, 0.0)


class World:
    """The readers of one daemon."""

    def __init__(self) -> None:
        self.journals = PlayedJournals()
        self.counts = Counts()
        self.reads = Reads(
            self.journals,
            Patience(),
            Refusals(self.counts),
            self.counts,
            covers=Patterns(JournalSettings(topics=("t*",))).covers,
        )
        self._number = 0

    def take(self, topic: str = "t", **keys: Any) -> NumberedJob:
        job = NumberedJob(encoded({"topic": topic, **keys}))
        taken: Any = job
        self.reads.take(taken)
        return job

    async def append(self, payload: str, topic: str = "t") -> None:
        """Append a message, which the store tells of if the topic is watched."""
        self._number += 1
        entry = Entry([payload.encode()])
        await self.journals.append([Append(topic, self._number, [entry], LIMITS)])
        await turns()


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.reads.close()


def found(job: NumberedJob) -> list[str]:
    """The payloads that a reader was answered with."""
    ((how, answer),) = job.answers
    assert how == "complete"
    return [each["payload"] for each in answer["messages"]]


async def test_all_that_wait_for_the_same_are_answered_by_one_look(world: World) -> None:
    jobs = [world.take(wait=60) for _ in range(100)]
    await turns()
    looks = world.journals.reads
    assert world.reads.waiting == 100
    assert all(job.aside for job in jobs)
    await world.append("one")

    assert all(found(job) == ["one"] for job in jobs)
    assert world.journals.reads - looks == 1
    assert world.reads.waiting == 0
    assert not world.journals.watched
    assert world.counts.journal_read == 100


async def test_a_message_that_comes_before_the_first_look_is_not_missed(world: World) -> None:
    job = world.take(wait=60)
    await world.append("one")

    assert found(job) == ["one"]


async def test_others_go_on_waiting(world: World) -> None:
    await world.append("one")
    late, early = world.take(after=1, wait=60), world.take(after=0, wait=60)
    other = world.take("t2", wait=60)
    await turns()
    assert found(early) == ["one"]
    await world.append("two")

    assert found(late) == ["two"]
    assert not other.answers


async def test_what_the_store_does_not_tell_of_is_seen_within_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    job = world.take(wait=60)
    await turns()
    world.journals.watched.clear()
    await world.append("one")

    await asyncio.wait_for(job.answered.wait(), 10)
    assert found(job) == ["one"]


async def test_all_are_looked_at_when_the_watch_was_interrupted(world: World) -> None:
    job = world.take(wait=60)
    await turns()
    world.journals.watched.clear()
    await world.append("one")
    world.journals.on_append(None)
    await turns()

    assert found(job) == ["one"]


async def test_a_position_in_another_journal_is_answered_at_once(world: World) -> None:
    await world.append("one")
    job = world.take(after=1, journal="another", wait=60)
    await turns()

    assert found(job) == ["one"]
    assert job.answers[0][1]["reset"] is True


async def test_too_many_answer_the_one_that_waits_longest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    jobs = [world.take(wait=60) for _ in range(3)]
    await turns()

    assert [bool(job.answers) for job in jobs] == [True, False, False]
    assert found(jobs[0]) == []


async def test_a_daemon_that_drains_answers_all(world: World) -> None:
    job = world.take(wait=60)
    await turns()
    world.reads.drain()
    late = world.take(wait=60)
    await turns()

    assert found(job) == found(late) == []


async def test_one_whose_connection_is_lost_is_forgotten(world: World) -> None:
    job = world.take(wait=60)
    await turns()
    job.lose()
    await world.append("one")

    assert not job.answers
    assert world.reads.waiting == 0


async def test_topics_that_have_news_together_are_read_by_one_call(world: World) -> None:
    jobs = [world.take(f"t{number}", wait=60) for number in range(10)]
    await turns()
    calls, reads = world.journals.calls, world.journals.reads
    entry = Entry([b"one"])
    await world.journals.append([Append(f"t{n}", 1, [entry], LIMITS) for n in range(10)])
    await turns()

    assert all(found(job) == ["one"] for job in jobs)
    assert world.journals.reads - reads == 10
    assert world.journals.calls - calls == 1


async def test_a_topic_that_cannot_be_read_holds_up_no_other(world: World) -> None:
    broken, sound = world.take("t1", wait=60), world.take("t2", wait=60)
    await turns()
    world.journals.faults["t1"] = errors.StoreError("WRONGTYPE")
    entry = Entry([b"one"])
    await world.journals.append([Append(topic, 1, [entry], LIMITS) for topic in ("t1", "t2")])
    await turns()

    assert found(sound) == ["one"]
    assert not broken.answers
    world.journals.faults.clear()
    await asyncio.wait_for(broken.answered.wait(), 10)
    assert found(broken) == ["one"]
