# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The worker on the loop, against a job server that does what each test tells it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.fake import FakeServer, fake_server
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.unit.grabbing import FAST, NewWorker, asked
from gearhorn.wire import fair_grabber, shares
from gearhorn.wire.connection import Connection
from gearhorn.wire.fair_grabber import FairGrabber
from gearhorn.wire.grabber import MAX_GRABS, Job
from gearhorn.wire.watch import Watch


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
    # All of them on one connection.
    monkeypatch.setattr(shares, "MOST", 1)
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


async def test_a_job_is_given_back_also_where_its_function_is_served_again_at_once(
    server: FakeServer,
) -> None:
    arrived: list[Job] = []
    worker = FairGrabber("worker-1", FAST, 1 << 20, Watch(), 4, 1 << 30, arrived.extend)
    worker.serve("queue")
    worker.connect((server.address,))
    try:
        there = await asked(server)
        there.assign(b"H:1", b"queue")
        await there.settle()
        outstanding = 1 + there.pending
        await there.expect(wire.GRAB_JOB_UNIQ, there.pending)
        worker.leave("queue")
        worker.give_back(arrived)
        worker.serve("queue")
        await there.settle()
        # A job that is on its way would be lost.
        assert there.pending == 0
        for _ in range(outstanding):
            there.send(wire.NO_JOB)
        await there.settle()
        kinds = [(await there.receive()).type for _ in range(there.pending)]
        assert kinds.count(wire.CANT_DO) == 1
        assert there.functions == [b"queue", b"queue"]
        assert (worker.held, worker.leaving) == (0, False)
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


async def test_a_pause_connects_anew_and_the_log_knows_of_no_server_that_is_away(
    server: FakeServer, new_worker: NewWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    worker = new_worker()
    await asked(server)
    await worker.pause()
    worker.resume()
    await asked(server)
    assert caplog.text.count("connected") == 1
    assert "away" not in caplog.text
    assert [tally.losses for tally in worker.tallies.values()] == [0]
    # One that does go away is named all the same.
    await server.stop()
    await asyncio.to_thread(eventually, lambda: "away" in caplog.text)


async def test_a_pause_waits_for_no_connection_that_is_made_meanwhile(
    server: FakeServer, new_worker: NewWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = new_worker()
    await asked(server)
    newer = Connection.__new__(Connection)
    abort = Connection.abort

    def abort_as_another_server_answers(self: Connection, reason: str) -> None:
        worker._grabs[newer] = worker._grabs[self]
        abort(self, reason)

    monkeypatch.setattr(Connection, "abort", abort_as_another_server_answers)
    await worker.pause()
    assert list(worker._grabs) == [newer]
    del worker._grabs[newer]
