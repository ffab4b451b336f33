# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Replays: how far one comes, why it stops, and what whoever waits is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import Raw

from gearhorn import messages
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.guard.seen import Seen
from gearhorn.daemon.journal import replays as module
from gearhorn.daemon.journal import room as room_module
from gearhorn.daemon.journal.replays import Replayed, Replays
from gearhorn.daemon.journal.room import Room
from gearhorn.daemon.metrics import Counts
from gearhorn.store.journal import Append, Entry, Head, JournalLimits
from gearhorn.store.patience import Patience
from gearhorn.tests.unit.played_journals import ID, PlayedJournals
from gearhorn.tests.unit.test_fanout import Outbox
from gearhorn.tests.unit.test_journal_fanout import NumberedJob, turns
from gearhorn.wire.address import Address

SERVER = Address("one.example", 4730)


class PlayedRoom:
    """A queue that has room for so many messages."""

    def __init__(self, left: float) -> None:
        self.most = left

    async def left(self, size: int) -> float:
        return self.most

    def put(self, count: int) -> None:
        self.most -= count


class TellingJob(NumberedJob):
    """A job whose client is told of progress."""

    def __init__(self) -> None:
        super().__init__(b"{}")
        self.told: list[tuple[int, int]] = []

    def progress(self, done: int, total: int) -> None:
        self.told.append((done, total))


class World:
    """The replays of one daemon, and a topic with some messages."""

    def __init__(self, left: float = 10_000) -> None:
        self.journals = PlayedJournals()
        self.outbox = Outbox()
        self.outbox.connect()
        self.subscribed = True
        self.counts = Counts()
        self.rooms: list[tuple[str, int | None]] = []
        self.left = left
        submitter: Any = self.outbox
        self.replays = Replays(
            self.journals,
            Patience(),
            submitter,
            self.counts,
            is_subscribed=self._is_subscribed,
            room=self._room,
        )

    async def _is_subscribed(self, topic: str, client_id: str) -> bool:
        return self.subscribed

    def _room(self, queue: str, own_most: int | None) -> Any:
        self.rooms.append((queue, own_most))
        return PlayedRoom(self.left)

    async def append(self, count: int) -> None:
        entries = [Entry([b"m%d" % number]) for number in range(1, count + 1)]
        await self.journals.append([Append("t", 1, entries, JournalLimits(1000, 1 << 20, 0))])

    def start(self, start: str = '"first"', last: int = 250) -> asyncio.Task[Replayed]:
        request = messages.Register(topic="t", client_id="bob", start=Raw(start.encode()))
        self.job = TellingJob()
        job: Any = self.job
        head = Head(ID if last else None, last)
        return asyncio.ensure_future(self.replays.run(job, request, head))

    def answer(self, refused: bytes = b"") -> list[bytes]:
        """The job server answers all copies, one with ERROR; return what it queued."""
        batches, self.outbox.batches = self.outbox.batches, []
        for batch in batches:
            if batch.payload == refused:
                batch.listener.copy_refused(batch, 0, full=True)
            batch.created = 1
            batch.listener.batch_created(batch)
        return [batch.payload for batch in batches if batch.payload != refused]


async def test_all_is_replayed_page_by_page() -> None:
    world = World()
    await world.append(250)
    running = world.start()
    found: list[bytes] = []
    for _ in range(3):
        await turns()
        assert world.replays.running == 1
        found += world.answer()

    assert await running == Replayed(250, 250)
    assert world.replays.running == 0
    assert found == [b"m%d" % number for number in range(1, 251)]
    assert world.job.aside
    assert world.rooms == [("t_bob", None)]
    assert world.counts.journal_replayed == 250


async def test_what_came_after_the_answer_is_not_replayed() -> None:
    world = World()
    await world.append(5)
    running = world.start(last=3)
    await turns()

    assert world.answer() == [b"m1", b"m2", b"m3"]
    assert await running == Replayed(3, 3)


@pytest.mark.parametrize(
    ("start", "result"),
    [
        ('"last"', Replayed(1, 250)),
        ('{"after": 248, "journal": "5f0c"}', Replayed(2, 250)),
        ('{"after": 250, "journal": "5f0c"}', Replayed(0, 250)),
        ('{"after": 900, "journal": "5f0c"}', Replayed(0, 250)),
    ],
)
async def test_where_one_begins(start: str, result: Replayed) -> None:
    world = World()
    await world.append(250)
    running = world.start(start)
    await turns()
    world.answer()

    assert await running == result


async def test_one_with_a_position_in_another_journal_gets_all() -> None:
    world = World()
    await world.append(2)
    running = world.start('{"after": 1, "journal": "old"}', 2)
    await turns()
    world.answer()

    assert await running == Replayed(2, 2, reset=True)


async def test_nothing_is_replayed_before_the_first_message() -> None:
    assert await World().start(last=0) == Replayed(0, 0)


async def test_it_stops_where_the_queue_is_full() -> None:
    world = World(left=120)
    await world.append(250)
    running = world.start()
    for _ in range(2):
        await turns()
        world.answer()

    assert await running == Replayed(120, 120, "queue_full")


async def test_it_stops_at_a_copy_that_the_job_server_refuses() -> None:
    world = World()
    await world.append(250)
    running = world.start()
    await turns()
    world.answer(refused=b"m40")

    assert await running == Replayed(39, 39, "queue_full")


async def test_it_stops_when_the_subscription_has_ended() -> None:
    world = World()
    await world.append(250)
    running = world.start()
    await turns()
    world.subscribed = False
    world.answer()

    assert await running == Replayed(100, 100, "unsubscribed")


async def test_it_stops_when_the_journal_is_another() -> None:
    world = World()
    await world.append(250)
    running = world.start()
    await turns()
    world.answer()
    read = world.journals.read

    async def read_another(*args: Any) -> Any:
        return (await read(*args))._replace(journal="new", reset=True)

    world.journals.read = read_another  # type: ignore[assignment, method-assign]
    await asyncio.wait([running], timeout=10)
    assert running.result() == Replayed(100, 100, "replaced")


async def test_a_page_that_is_lost_with_its_server_is_sent_again() -> None:
    world = World()
    await world.append(2)
    running = world.start(last=2)
    await turns()
    batches, world.outbox.batches = world.outbox.batches, []
    for batch in batches:
        batch.listener.batch_lost(batch)
    await turns()

    assert world.answer() == [b"m1", b"m2"]
    assert await running == Replayed(2, 2)


async def test_whoever_waits_is_told_of_progress_while_others_have_the_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STATUS_S", 0.01)
    world = World()
    await world.append(250)
    others = [world.start() for _ in range(module.MOST_REPLAYS)]
    running = world.start()
    await turns()
    sent = len(world.outbox.batches)
    assert sent == module.MOST_REPLAYS * module.PAGE

    async def told() -> None:
        while True:
            if world.job.told:
                return
            await asyncio.sleep(0.01)

    await asyncio.wait_for(told(), 10)
    assert world.job.told[0] == (0, 250)
    assert world.replays.running == module.MOST_REPLAYS + 1
    for each in (*others, running):
        each.cancel()
    await asyncio.wait([*others, running])
    assert world.replays.running == 0


def room(own_most: int | None, seen: Seen, asked: list[bool]) -> Room:
    return Room(
        "t_bob",
        own_most,
        LimitSettings(max_waiting=200, max_waiting_bytes=1000),
        seen,
        server=lambda: SERVER,
        look=lambda server, urgent: asked.append(urgent),
    )


async def test_the_room_is_what_the_last_look_left_less_what_was_put_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room_module, "LOOK_S", 0.0)
    seen, asked = Seen(LimitSettings()), list[bool]()
    known = seen.server(SERVER)
    known.look = known.look._replace(jobs={b"t_bob": 20})
    known.asked = 0.0
    its = room(100, seen, asked)

    assert await its.left(1) == 80
    its.put(40)
    assert not asked
    # Half of it is used: a look is due.
    assert (await its.left(1), asked) == (40, [False])
    its.put(40)
    assert (await its.left(1), asked) == (0, [False, True])
    # Larger messages: fewer.
    assert await room(None, seen, asked).left(100) == -10
