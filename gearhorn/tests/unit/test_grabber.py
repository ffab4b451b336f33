# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The worker on the loop, against a job server that does what each test tells it."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.fake import Conversation, FakeServer, fake_server
from gearhorn.tests.processes import free_port
from gearhorn.wire import fair_grabber
from gearhorn.wire.address import Address
from gearhorn.wire.connection import Connection, ConnectionSettings
from gearhorn.wire.fair_grabber import FairGrabber
from gearhorn.wire.grabber import MAX_GRABS, Grabber, Job
from gearhorn.wire.watch import Watch

FAST = ConnectionSettings(
    connect_timeout=5.0, liveness_interval=30.0, liveness_timeout=30.0, reconnect_max=0.05
)


class Worker(Grabber):
    """Does ``work`` by keeping the jobs."""

    def __init__(
        self, settings: ConnectionSettings, window: int, window_bytes: int, max_bytes: int
    ) -> None:
        super().__init__("worker-1", settings, max_bytes, Watch(), window, window_bytes)
        self.jobs: asyncio.Queue[Job] = asyncio.Queue()
        self.add_function("other", self.jobs.put_nowait)
        self.add_function("work", self.jobs.put_nowait)

    async def job(self) -> Job:
        return await asyncio.wait_for(self.jobs.get(), 10)


NewWorker = Callable[..., Worker]


async def asked(server: FakeServer) -> Conversation:
    """The next connection, once it has asked for the first two jobs."""
    there = await server.accept()
    await there.expect(wire.GRAB_JOB_UNIQ, 2)
    return there


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as server:
        yield server


@pytest.fixture
async def new_worker(server: FakeServer) -> AsyncIterator[NewWorker]:
    async with AsyncExitStack() as stack:

        def start(
            *servers: Address,
            settings: ConnectionSettings = FAST,
            window: int = 1000,
            window_bytes: int = 1 << 30,
            max_bytes: int = 1 << 20,
        ) -> Worker:
            worker = Worker(settings, window, window_bytes, max_bytes)
            stack.push_async_callback(worker.close)
            worker.connect(servers or (server.address,))
            return worker

        yield start


async def test_functions_are_registered_in_order_and_before_the_first_grab(
    server: FakeServer, new_worker: NewWorker
) -> None:
    worker = new_worker()
    there = await server.accept()
    await there.expect(wire.GRAB_JOB_UNIQ)
    await worker.connected()
    assert there.functions == [b"other", b"work"]
    assert there.probes == 1


async def test_a_packet_is_sent_at_once(server: FakeServer, new_worker: NewWorker) -> None:
    # With Nagle's algorithm a worker does 23 jobs a second.
    worker = new_worker()
    await server.accept()
    await worker.connected()
    (connection,) = worker.connections.values()
    assert connection._transport is not None
    raw = connection._transport.get_extra_info("socket")
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_many_jobs_are_asked_for_ahead(server: FakeServer, new_worker: NewWorker) -> None:
    worker = new_worker()
    there = await server.accept()
    outstanding = 0
    handles = 0
    while outstanding < MAX_GRABS:
        await there.expect(wire.GRAB_JOB_UNIQ)
        outstanding += 1
        if not there.pending:
            await there.settle()
        if not there.pending and outstanding < MAX_GRABS:
            handles += 1
            outstanding -= 1
            there.assign(b"H:%d" % handles, b"work")
    await there.settle()
    assert there.pending == 0
    assert handles < 10
    assert worker.held == handles
    for _ in range(handles):
        (await worker.job()).complete(b"")
    await there.expect(wire.WORK_COMPLETE, handles)


@pytest.mark.parametrize(("functions", "most"), [(1_000, 256), (1_001, 64)])
async def test_fewer_are_asked_for_where_one_in_vain_costs_the_server_more(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, functions: int, most: int
) -> None:
    monkeypatch.setattr(fair_grabber, "TURN_S", 1000.0)
    arrived: list[Job] = []
    worker = FairGrabber("worker-1", FAST, 1 << 20, Watch(), 1000, 1 << 30, arrived.extend)
    for number in range(functions):
        worker.serve(f"queue{number}")
    worker.connect((server.address,))
    try:
        there = await asked(server)
        outstanding = 2
        for handle in range(20):
            there.assign(b"H:%d" % handle, b"queue0")
            await there.settle()
            outstanding += there.pending - 1
            await there.expect(wire.GRAB_JOB_UNIQ, there.pending)
        assert outstanding == most
    finally:
        await worker.close()


async def test_it_sleeps_only_when_every_grab_is_answered_and_wakes_at_a_call(
    server: FakeServer, new_worker: NewWorker
) -> None:
    worker = new_worker()
    there = await asked(server)
    there.send(wire.NO_JOB)
    await there.settle()
    assert there.pending == 0

    there.send(wire.NO_JOB)
    await there.expect(wire.PRE_SLEEP)
    await there.settle()
    assert there.pending == 0

    there.send(wire.NOOP)
    await there.expect(wire.GRAB_JOB_UNIQ, 2)
    there.assign(b"H:1", b"work", b"data\0more", b"unique")
    job = await worker.job()
    assert (job.handle, job.function, job.unique) == (b"H:1", b"work", b"unique")
    assert job.data == b"data\0more"
    await there.expect(wire.GRAB_JOB_UNIQ, 3)
    job.complete(b"done")
    assert await there.expect(wire.WORK_COMPLETE) == [(wire.WORK_COMPLETE, b"H:1\0done")]


async def test_a_call_between_answers_is_not_lost(
    server: FakeServer, new_worker: NewWorker
) -> None:
    new_worker()
    there = await asked(server)
    there.send(wire.NO_JOB)
    there.send(wire.NO_JOB)
    there.send(wire.NOOP)
    await there.expect(wire.PRE_SLEEP)
    await there.expect(wire.GRAB_JOB_UNIQ, 2)


async def test_a_full_window_asks_for_no_more(server: FakeServer, new_worker: NewWorker) -> None:
    worker = new_worker(window=3)
    there = await asked(server)
    there.assign(b"H:1", b"work")
    there.assign(b"H:2", b"work")
    await there.expect(wire.GRAB_JOB_UNIQ)
    there.assign(b"H:3", b"work")
    await there.settle()
    assert there.pending == 0
    assert worker.held == 3

    (await worker.job()).fail(b"why")
    assert [await there.receive() for _ in range(3)] == [
        (wire.WORK_WARNING, b"H:1\0why"),
        (wire.WORK_FAIL, b"H:1"),
        (wire.GRAB_JOB_UNIQ, b""),
    ]


async def test_large_jobs_fill_the_window_by_their_bytes(
    server: FakeServer, new_worker: NewWorker
) -> None:
    worker = new_worker(window_bytes=2500)
    there = await asked(server)
    there.assign(b"H:1", b"work", b"x" * 1000)
    there.assign(b"H:2", b"work", b"x" * 1000)
    await there.settle()
    assert there.pending == 0

    (await worker.job()).complete(b"")
    await there.expect(wire.WORK_COMPLETE)
    await there.expect(wire.GRAB_JOB_UNIQ)
    await there.settle()
    assert there.pending == 0


async def test_a_job_larger_than_the_window_is_not_the_last(
    server: FakeServer, new_worker: NewWorker
) -> None:
    worker = new_worker(window_bytes=1000)
    there = await asked(server)
    there.assign(b"H:1", b"work", b"x" * 5000)
    there.send(wire.NO_JOB)
    (await worker.job()).complete(b"")
    there.send(wire.NOOP)
    packets = [await there.receive() for _ in range(3)]
    assert (wire.GRAB_JOB_UNIQ, b"") in packets


async def test_an_answered_job_holds_nobody(server: FakeServer, new_worker: NewWorker) -> None:
    worker = new_worker()
    there = await asked(server)
    there.assign(b"H:1", b"work", b"x")
    job = await worker.job()
    # As a fan-out does, which holds the job: only the garbage collector would find the circle.
    job.hold(lambda: job)
    job.complete(b"")
    assert job._on_abandoned is None


async def test_an_oversize_job_is_handed_on_to_be_refused(
    server: FakeServer, new_worker: NewWorker
) -> None:
    worker = new_worker(max_bytes=1000)
    there = await asked(server)
    for size, oversize in ((1000, False), (1001, True), (500_000, True)):
        there.assign(b"H:%d" % size, b"work", b"x" * size, b"unique")
        job = await worker.job()
        assert (job.handle, job.function, job.unique) == (b"H:%d" % size, b"work", b"unique")
        assert job.oversize is oversize
        assert job.data == b"x" * len(job.data)


async def test_draining_asks_for_no_more_and_unregisters_nothing(
    server: FakeServer, new_worker: NewWorker
) -> None:
    # CANT_DO or RESET_ABILITIES while a job is held requeues it.
    worker = new_worker()
    there = await asked(server)
    there.assign(b"H:1", b"work")
    there.assign(b"H:2", b"work")
    first, second = await worker.job(), await worker.job()
    await there.settle()
    grabs = there.pending
    await there.expect(wire.GRAB_JOB_UNIQ, grabs)

    worker.stop_grabbing()
    # What was asked for before may still be a job, and counts.
    there.assign(b"H:3", b"work")
    third = await worker.job()
    for _ in range(grabs - 1):
        there.send(wire.NO_JOB)
    await there.expect(wire.PRE_SLEEP)
    there.send(wire.NOOP)
    first.complete(b"")
    second.complete(b"")
    await there.expect(wire.WORK_COMPLETE, 2)
    assert not worker.idle.is_set()
    third.complete(b"")
    await asyncio.wait_for(worker.idle.wait(), 10)
    await there.expect(wire.WORK_COMPLETE)

    await worker.close()
    assert await there.expect_closed() == []


async def test_what_waits_to_be_sent_is_sent_before_the_connection_is_closed(
    server: FakeServer, new_worker: NewWorker
) -> None:
    worker = new_worker()
    there = await asked(server)
    there.assign(b"H:1", b"work")
    job = await worker.job()
    job.complete(b"x" * 1_000_000)
    await worker.close()
    packets = await there.expect_closed()
    assert (wire.WORK_COMPLETE, b"H:1\0" + b"x" * 1_000_000) in packets


async def test_a_late_answer_never_goes_out_on_a_newer_connection(
    server: FakeServer, new_worker: NewWorker
) -> None:
    # Handles restart with the server: it would end somebody else's job.
    worker = new_worker()
    there = await asked(server)
    there.assign(b"H:1", b"work", b"old")
    old = await worker.job()
    abandoned = asyncio.Event()
    old.hold(abandoned.set)
    (old_connection,) = worker.connections.values()
    there.close()
    await asyncio.wait_for(abandoned.wait(), 10)
    assert worker.held == 0

    there = await asked(server)
    there.assign(b"H:1", b"work", b"new")
    new = await worker.job()
    (new_connection,) = worker.connections.values()
    assert new_connection is not old_connection
    old.complete(b"late")
    old.fail(b"late")
    old.progress(1, 2)
    new.complete(b"in time")
    new.complete(b"twice")
    await there.settle()
    sent = [await there.receive() for _ in range(there.pending)]
    assert [p for p in sent if p.type != wire.GRAB_JOB_UNIQ] == [
        (wire.WORK_COMPLETE, b"H:1\0in time")
    ]


async def test_an_error_does_not_drop_the_jobs(
    server: FakeServer, new_worker: NewWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker = new_worker()
    there = await asked(server)
    there.assign(b"H:1", b"work")
    job = await worker.job()
    there.send(wire.ERROR, b"JOB_NOT_FOUND", b"no such job")
    await there.settle()
    assert worker.held == 1
    assert "JOB_NOT_FOUND no such job" in caplog.text
    job.complete(b"done")
    packets = [await there.receive() for _ in range(there.pending + 1)]
    assert (wire.WORK_COMPLETE, b"H:1\0done") in packets


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\0RES\0\0\0\x1f\0\0\0\3abc",
        b"\0RES\0\0\0\x1f\0\0\0\x0eH:1\0unheard\0\0x",
        b"\0RES\0\0\x0f\xff\0\0\0\0",
    ],
)
async def test_what_is_no_job_ends_the_connection_and_another_is_made(
    server: FakeServer, new_worker: NewWorker, nonsense: bytes
) -> None:
    worker = new_worker()
    there = await asked(server)
    there.send_raw(nonsense)
    await there.expect_closed()
    there = await asked(server)
    there.assign(b"H:1", b"work", b"sound")
    assert (await worker.job()).data == b"sound"


async def test_a_server_that_cannot_be_reached_holds_up_no_other(
    server: FakeServer, new_worker: NewWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nobody = Address("127.0.0.1", free_port())
    async with fake_server() as mute:
        mute.mute = True
        worker = new_worker(nobody, mute.address, Address("not a host name", 1), server.address)
        there = await asked(server)
        there.assign(b"H:1", b"work")
        await worker.job()
        assert list(worker.connections) == [server.address]
        await mute.accept()
    assert f"job server {nobody}: away" in caplog.text
    assert f"job server {server.address}: connected" in caplog.text


async def test_an_awakening_asks_for_as_many_jobs_as_the_last_one_brought(
    server: FakeServer, new_worker: NewWorker
) -> None:
    worker = new_worker()
    there = await asked(server)
    for handle in (b"H:1", b"H:2", b"H:3"):
        there.assign(handle, b"work")
        await worker.job()
    await there.settle()
    asked_more = there.pending
    for _ in range(asked_more):
        await there.expect(wire.GRAB_JOB_UNIQ)
    for _ in range(2 + asked_more - 3):
        there.send(wire.NO_JOB)
    await there.expect(wire.PRE_SLEEP)
    there.send(wire.NOOP)
    await there.expect(wire.GRAB_JOB_UNIQ, 3)
    await there.settle()
    assert there.pending == 0


async def test_closing_ends_a_connection_made_in_the_same_moment(server: FakeServer) -> None:
    class Closing(Worker):
        def other_packet(self, connection: Connection, packet_type: int, body: bytes) -> None:
            super().other_packet(connection, packet_type, body)
            if packet_type == wire.ECHO_RES:
                closed.set_result(asyncio.ensure_future(self.close()))

    closed: asyncio.Future[asyncio.Task[None]] = asyncio.get_running_loop().create_future()
    worker = Closing(FAST, 1, 1 << 20, 1 << 20)
    worker.connect((server.address,))
    await asyncio.wait_for(await closed, 10)
    await (await server.accept()).expect_closed()


async def test_a_server_that_comes_later_is_found(new_worker: NewWorker) -> None:
    port = free_port()
    worker = new_worker(Address("127.0.0.1", port))
    later = FakeServer()
    await later.start(port)
    try:
        there = await asked(later)
        there.assign(b"H:1", b"work")
        await worker.job()
    finally:
        await later.stop()


async def test_a_server_that_accepts_and_never_answers_is_given_up_and_tried_again(
    server: FakeServer, new_worker: NewWorker
) -> None:
    server.mute = True
    settings = ConnectionSettings(connect_timeout=0.1, reconnect_max=0.05)
    worker = new_worker(settings=settings)
    for _ in range(2):
        await (await server.accept()).expect_closed()
    assert not worker.connections
    server.mute = False
    while not worker.connections:
        there = await server.accept()
        there.mute = False
        await asyncio.wait_for(worker.connected(), 10)


async def test_a_server_that_falls_silent_counts_as_lost(
    server: FakeServer, new_worker: NewWorker
) -> None:
    settings = ConnectionSettings(liveness_interval=0.05, liveness_timeout=0.5, reconnect_max=0.05)
    worker = new_worker(settings=settings)
    there = await asked(server)
    there.assign(b"H:1", b"work")
    job = await worker.job()
    abandoned = asyncio.Event()
    job.hold(abandoned.set)
    there.mute = True
    await asyncio.wait_for(abandoned.wait(), 10)
    await there.expect_closed()
    assert there.probes >= 2
    # One that answers the probes is kept, however little it says.
    there = await asked(server)
    while there.probes < 4:
        await there.settle()
    assert server.accepted == 2


async def test_a_server_that_closes_at_once_is_not_besieged(
    server: FakeServer, new_worker: NewWorker
) -> None:
    server.refuse = True
    begun = asyncio.get_running_loop().time()
    new_worker(settings=ConnectionSettings(reconnect_max=10.0))
    while server.accepted < 5:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    # At the soonest after 0, 0.05, 0.15, 0.35 and 0.75 seconds.
    assert asyncio.get_running_loop().time() - begun >= 0.7


async def test_the_window_is_that_of_all_servers_together(
    server: FakeServer, new_worker: NewWorker
) -> None:
    async with fake_server() as second:
        worker = new_worker(server.address, second.address, window=3)
        here, there = await server.accept(), await second.accept()
        grabs = {here: 0, there: 0}

        async def count() -> None:
            for conversation in (here, there):
                await conversation.settle()
                for _ in range(conversation.pending):
                    await conversation.expect(wire.GRAB_JOB_UNIQ)
                    grabs[conversation] += 1

        await count()
        assert sum(grabs.values()) == 3
        for conversation, number in grabs.items():
            for job in range(number):
                conversation.assign(b"H:%d" % job, b"work")
        await count()
        assert sum(grabs.values()) == 3
        assert worker.held == 3
        # What a lost server held makes room on the other.
        lost, left = (here, there) if grabs[here] else (there, here)
        lost_jobs = grabs[lost]
        before = grabs[left]
        await lose(server if lost is here else second)
        while not left.pending:
            await left.settle()
        assert left.pending <= lost_jobs + before


async def lose(server: FakeServer) -> None:
    await server.stop()
    await server.start(free_port())


async def test_nothing_of_gears_threads_is_left(server: FakeServer, new_worker: NewWorker) -> None:
    worker = new_worker()
    await server.accept()
    await worker.connected()
    assert not any("Gearman" in thread.name for thread in threading.enumerate())
