# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The worker's connections: lost, late, refused, and made again."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.fake import FakeServer, fake_server
from gearhorn.tests.processes import free_port
from gearhorn.tests.unit.grabbing import FAST, NewWorker, Worker, asked
from gearhorn.wire.address import Address
from gearhorn.wire.connection import Connection, ConnectionSettings


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
    settings = ConnectionSettings(liveness_interval=0.05, liveness_timeout=1.0, reconnect_max=0.05)
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


async def test_nothing_of_gears_threads_is_left(server: FakeServer, new_worker: NewWorker) -> None:
    worker = new_worker()
    await server.accept()
    await worker.connected()
    assert not any("Gearman" in thread.name for thread in threading.enumerate())
