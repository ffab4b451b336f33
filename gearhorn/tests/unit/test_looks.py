# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Looks at a job server: its answer in pieces, and one that does not come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from gearhorn.daemon.guard import looks
from gearhorn.daemon.guard.deep_log import LINES, DeepLog
from gearhorn.daemon.guard.guard import Guard
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.guard.looks import Looks
from gearhorn.daemon.recipients import Recipients
from gearhorn.tasks import at_once
from gearhorn.tests.listening import close_server
from gearhorn.tests.processes import until
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.look import NOTHING, look
from gearhorn.wire.status import StatusReader

ANSWER = b"t_bob\t12\t2\t1\nt_idle\t0\t0\t0\na name\twith a tab\t3\t0\t0\n.\n"
LINES_OF_IT = [
    (b"t_bob", b"12", b"2", b"1"),
    (b"t_idle", b"0", b"0", b"0"),
    (b"a name\twith a tab", b"3", b"0", b"0"),
]
SERVER = Address("one.example", 4730)


@pytest.mark.parametrize("size", range(1, len(ANSWER) + 1))
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(size: int) -> None:
    reader = StatusReader()
    found: list[object] = []
    for start in range(0, len(ANSWER), size):
        assert not reader.ended
        found += reader.feed(ANSWER[start : start + size])
    assert reader.ended
    assert found == LINES_OF_IT


def test_only_the_names_in_question_are_read() -> None:
    assert StatusReader(("t_b", "a ")).feed(ANSWER) == [LINES_OF_IT[0], LINES_OF_IT[2]]
    assert StatusReader(("t_bob\t",)).feed(ANSWER) == LINES_OF_IT[:1]


def test_a_server_without_functions_has_an_empty_answer() -> None:
    reader = StatusReader()
    assert list(reader.feed(b".\r\n")) == []
    assert reader.ended


async def test_other_work_is_done_between_the_pieces_of_a_long_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queues = {b"topic-%d_bob" % number: number for number in range(1, 100_001)}
    reader = asyncio.StreamReader()
    # All of it has come: nothing need be waited for.
    reader.feed_data(b"".join(b"%s\t%d\t0\t0\n" % line for line in queues.items()) + b".\n")
    writer: Any = Mute()
    turns = 0
    pieces: list[tuple[int, int]] = []
    feed = StatusReader.feed

    def note(self: StatusReader, data: bytes) -> Any:
        pieces.append((len(data), turns))
        return feed(self, data)

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(StatusReader, "feed", note)
    other = asyncio.ensure_future(work())
    try:
        found = await look(SERVER, ConnectionSettings(), (reader, writer), 60)
    finally:
        other.cancel()

    assert found.jobs == queues
    assert max(size for size, _ in pieces) <= 64 << 10
    assert all(after > before for (_, before), (_, after) in pairwise(pieces))
    assert len(pieces) > 30


class Mute:
    """A server that takes the question; its answer is there already."""

    def write(self, data: bytes) -> None:
        assert data == b"status\n"


class Playing:
    """A server that answers ``status`` only when the test tells it to."""

    def __init__(self) -> None:
        self.mute = False
        self.asked: asyncio.Queue[None] = asyncio.Queue()
        self.connections = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while await reader.readline() == b"status\n":
            self.asked.put_nowait(None)
            if not self.mute:
                writer.write(ANSWER)
        writer.close()


class NoCopies:
    """A submitter without copies."""

    def __init__(self, *servers: Address) -> None:
        self.servers = dict.fromkeys(servers)

    def under_way(self, server: Address) -> tuple[list[Any], int]:
        return [], 0


@asynccontextmanager
async def looking(at: Playing) -> AsyncIterator[tuple[Looks, Guard, Address]]:
    server = await asyncio.start_server(at.accept, "127.0.0.1", 0)
    address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    guard = Guard(
        LimitSettings(),
        uncounted_topic="__matchmaking",
        servers=lambda: [address],
        daemons=lambda: 1,
        max_topics=10,
    )
    submitter: Any = NoCopies(address)
    looks = Looks([address], ConnectionSettings(), guard, submitter)
    try:
        await looks.start()
        yield looks, guard, address
    finally:
        await looks.close()
        await close_server(server)


async def test_what_a_look_has_shown_is_known_before_jobs_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However busy the machine is.
    monkeypatch.setattr(looks, "FIRST_S", 10)
    async with looking(Playing()) as (_, guard, address):
        known = guard.seen.server(address).look
        assert known.jobs == {b"t_bob": 12, b"a name\twith a tab": 3}
        assert known.running == {b"t_bob": 2}
        assert known.workers == {b"t_bob": 1}
        assert guard.seen.deepest() == [("t_bob", 10, 1), ("a name\twith a tab", 3, 0)]
        depth = guard.seen.depth("t_bob", 1e12)
        assert (depth.waiting, depth.running, depth.workers, depth.full) == (10, 2, 1, False)


async def test_a_look_that_is_not_answered_leaves_the_old_depths_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gearhorn.daemon.guard.looks")
    monkeypatch.setattr(looks, "AGAIN_S", 0.05)
    monkeypatch.setattr(looks, "FIRST_S", 10)
    playing = Playing()
    async with looking(playing) as (watching, guard, address):
        playing.mute = True
        monkeypatch.setattr(looks, "TIMEOUT_S", 0.05)
        watching.due(address, False)
        await until(lambda: playing.connections >= 4)
        assert guard.seen.server(address).look.jobs
        assert caplog.text.count("does not tell how deep its queues are") == 1
        playing.mute = False
        monkeypatch.setattr(looks, "TIMEOUT_S", 10)
        await until(lambda: "tells again how deep its queues are" in caplog.text)


async def test_a_server_that_is_silent_from_the_start_keeps_nobody_from_serving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(looks, "FIRST_S", 0.05)
    playing = Playing()
    playing.mute = True
    async with looking(playing) as (_, guard, address):
        assert guard.seen.server(address).look is NOTHING
        assert guard.seen.depth("t_bob", 0.0).age is None


async def test_a_server_that_comes_back_is_looked_at() -> None:
    playing = Playing()
    async with looking(playing) as (watching, _, address):
        submitter: Any = watching._submitter
        await playing.asked.get()
        submitter.servers = {}
        watching.servers_changed()
        submitter.servers = {address: None}
        watching.servers_changed()
        await asyncio.wait_for(playing.asked.get(), 10)


def test_a_queue_is_named_once_and_again_after_it_was_well_below(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = DeepLog()
    for depth in (100, 110, 90, 100):
        at_once(log.looked(SERVER, {b"q": depth}, 0.0))
        log.found(SERVER, b"q", depth, 2, 0.0, is_full=False)
    assert caplog.messages == [
        "queue q has 100 jobs and 2 workers: messages come faster than they are taken"
    ]
    log.found(SERVER, b"q", 200, 0, 0.0, is_full=True)
    log.found(SERVER, b"q", 210, 0, 0.0, is_full=True)
    at_once(log.looked(SERVER, {b"q": 49}, 0.0))
    log.found(SERVER, b"q", 100, 2, 0.0, is_full=False)
    assert [line.split(":")[0] for line in caplog.messages] == [
        "queue q has 100 jobs and 2 workers",
        "queue q is full with 200 jobs and 0 workers",
        "queue q has 100 jobs and 2 workers",
    ]


def test_of_a_storm_a_few_are_named_and_the_rest_counted_with_the_deepest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = DeepLog()
    for number in range(100):
        log.found(SERVER, b"q%d" % number, 1000 + number, 0, 5.0, is_full=True)
    at_once(log.looked(SERVER, {}, 64.0))
    assert len(caplog.messages) == LINES
    at_once(log.looked(SERVER, {}, 65.0))
    log.close()
    assert len(caplog.messages) == LINES + 1
    assert caplog.messages[-1] == (
        "97 more queues were full in the last 60 seconds; the deepest, q99, has 1099 jobs "
        "and 0 workers"
    )


def test_a_topic_is_forgotten_only_for_newer_ones_that_have_subscribers() -> None:
    guard = Guard(
        LimitSettings(),
        uncounted_topic="__matchmaking",
        servers=lambda: [SERVER],
        daemons=lambda: 1,
        max_topics=10,
    )
    for number in range(50):
        guard.admit(Recipients.of(f"nobody{number}", [], 0.0), 1)
        guard.admit(Recipients.of(f"t{number}", ["bob"], 0.0), 1)
    assert list(guard._topics) == [f"t{number}" for number in range(40, 50)]
