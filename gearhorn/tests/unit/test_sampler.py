# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The sampler: whose queues it counts, what it does where something is away, and what it costs."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import async_timeout
import pytest

from gearhorn import clock, errors
from gearhorn.daemon.guard import sampler
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.guard.sampler import Sampler
from gearhorn.daemon.guard.seen import Seen
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.messages import topics_of
from gearhorn.store.base import TopicSize
from gearhorn.wire.address import Address
from gearhorn.wire.look import Look
from gearhorn.wire.status import StatusReader

ONE, TWO = SERVERS = (Address("one.example", 4730), Address("two.example", 4730))


class Kept:
    """A store of subscriptions, as far as the sampler asks it."""

    def __init__(self, queues: Mapping[str, str], ended: Sequence[str] = ()) -> None:
        self.queues = queues
        self.ended = ended
        self.fault: errors.StoreError | None = None
        self.asked: list[int] = []
        self._sizes = Counter({**Counter(queues.values()), "__matchmaking": 3})

    async def topics(self, after: str, limit: int) -> Sequence[TopicSize]:
        if self.fault is not None:
            raise self.fault
        later = [topic for topic in sorted(self._sizes) if topic > after]
        return [TopicSize(topic, self._sizes[topic]) for topic in later][:limit]

    async def holders(self, queues: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(len(queues))
        await asyncio.sleep(0)
        return {queue: self.queues[queue] for queue in queues if queue in self.queues}

    async def discardable(self, queues: Sequence[str], age: float) -> Sequence[str]:
        return [queue for queue in queues if queue in self.ended]


class Sampling:
    """A sampler whose looks are what the test says."""

    def __init__(self, store: Any, looks: Mapping[Address, Look], **settings: Any) -> None:
        self.looks = looks
        self.there: Sequence[Address] = SERVERS
        self.seen = Seen(LimitSettings())
        self.sampler = Sampler(
            DaemonSettings(
                servers=SERVERS,
                store_url="redis://127.0.0.1:1/0",
                **{"queue_interval": 0.001, **settings},
            ),
            store,
            self.seen,
            lambda: self.there,
        )
        self.sampler.look_soon = self.look

    def look(self, server: Address, urgent: bool) -> None:
        """Look at a server at once, if it is there."""
        if server in self.there:
            known = self.seen.server(server)
            known.look, known.asked = self.looks.get(server, Look({}, {}, {})), clock.now()
            self.sampler.looked()

    async def until(self, condition: Callable[[Sampler], object]) -> Sampler:
        """Sample until something is so."""
        self.sampler.start()
        try:
            async with async_timeout.timeout(10):
                while not condition(self.sampler):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        finally:
            await self.sampler.close()
        return self.sampler


async def test_queues_of_subscriptions_and_orphans_are_counted_and_nothing_else() -> None:
    store = Kept({"memos_bob": "memos", "news_bob": "news"}, ended=["gone_bob"])
    waits = {
        b"memos_bob": 3,
        b"gone_bob": 2,
        b"memos_ended": 1,
        # Other applications', and the daemons' own.
        b"resize": 100,
        b"resize_image": 100,
        b"\xff_\xff": 100,
        b"memos_served": 100,
        b"fanout": 100,
        b"register_fanout_subscriber": 100,
        b"__matchmaking_me-1": 100,
    }
    looks = {ONE: Look(waits, {}, {b"memos_served": 1}), TWO: Look({}, {}, {b"news_bob": 2})}
    sampler = await Sampling(store, looks).until(lambda one: one.last)
    found = sampler.last
    assert found is not None
    assert found.complete
    assert sampler.complete
    assert (found.topics, found.subscriptions, found.waiting) == (2, 2, 6)
    assert found.states == {
        "idle": 1,
        "backlogged": 0,
        "unread": 1,
        "half_read": 0,
        "orphaned": 2,
    }
    assert [topic.name for topic in found.top] == ["memos"]
    assert sampler.taken_at == pytest.approx(time.time(), abs=60)


async def test_a_daemon_samples_only_if_it_is_told_to() -> None:
    sampling = Sampling(Kept({}), {}, queue_interval=None)
    sampling.sampler.start()
    await asyncio.sleep(0)
    assert sampling.seen.server(ONE).asked is None
    await sampling.sampler.close()


async def test_a_server_that_is_away_is_not_waited_for_and_counts_as_it_was() -> None:
    sampling = Sampling(Kept({"t_bob": "t"}), {ONE: Look({b"t_bob": 5}, {}, {})})
    await sampling.until(lambda one: one.complete)
    sampling.there = [TWO]
    found = await sampling.until(lambda one: not one.complete)
    assert found.last is not None
    assert not found.last.complete
    assert found.last.waiting == 5


async def test_a_server_that_does_not_answer_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gearhorn.daemon.guard.sampler.LATE_S", 0.01)
    sampling = Sampling(Kept({"t_bob": "t"}), {})
    sampling.sampler.look_soon = lambda server, urgent: None
    found = await sampling.until(lambda one: one.last)
    assert not found.complete


async def test_where_the_store_is_away_the_last_sample_stays_and_is_marked() -> None:
    store = Kept({"t_bob": "t"})
    sampling = Sampling(store, {ONE: Look({b"t_bob": 5}, {}, {})})
    await sampling.until(lambda one: one.complete)
    store.fault = errors.StoreAway("away")
    found = await sampling.until(lambda one: not one.complete)
    assert found.last is not None
    assert found.last.waiting == 5
    store.fault = None
    await sampling.until(lambda one: one.complete)


async def test_an_unexpected_error_does_not_end_the_sampling(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Kept({"t_bob": "t"})
    sampling = Sampling(store, {})
    store.fault = RuntimeError("nobody expects this")  # type: ignore[assignment]
    await sampling.until(lambda one: "unexpected error in the sampling" in caplog.text)
    store.fault = None
    await sampling.until(lambda one: one.complete)


# Cost.


def _functions(count: int) -> tuple[bytes, Kept]:
    """The answer of a server to ``status``, and the store of these queues."""
    queues = [f"topic{n % 100}_subscriber{n}" for n in range(count)]
    lines = [f"{queue}\t{n % 5}\t0\t{n % 3}\n" for n, queue in enumerate(queues)]
    return "".join([*lines, ".\n"]).encode(), Kept({q: topics_of(q)[0] for q in queues})


def _parsed(answer: bytes) -> Look:
    jobs, running, workers = {}, {}, {}
    for name, total, runs, serve in StatusReader().feed(answer):
        if total != b"0":
            jobs[name] = int(total)
        if runs != b"0":
            running[name] = int(runs)
        if serve != b"0":
            workers[name] = int(serve)
    return Look(jobs, running, workers)


async def _processor_time(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return the processor time of some work, and the longest that the loop was held up."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    # What other tests have left is not to be cleared away meanwhile.
    gc.disable()
    try:
        began = time.thread_time()
        watching = asyncio.create_task(watch())
        await work()
        watching.cancel()
        return time.thread_time() - began, longest
    finally:
        gc.enable()


async def test_a_sample_costs_a_few_times_what_reading_the_answer_does() -> None:
    answer, store = _functions(10_000)
    began = time.thread_time()
    look = _parsed(answer)
    parsing = time.thread_time() - began
    sampling = Sampling(store, {ONE: look}, queue_interval=3600.0)
    took, longest = await _processor_time(lambda: sampling.until(lambda one: one.last))
    assert sampling.sampler.last is not None
    assert sampling.sampler.last.waiting == sum(look.jobs.values())
    assert took < 15 * parsing
    # It is counted in pieces, and so is the store asked.
    assert max(store.asked) <= sampler.PAGE
    assert longest < took / 4
