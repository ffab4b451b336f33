# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What is given back before a fan-out ends, and what a report is counted as."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from gearhorn import messages
from gearhorn.daemon.gathering import Results, Room
from gearhorn.tests import packets as wire
from gearhorn.tests.fake import FakeServer
from gearhorn.tests.unit import test_fanout
from gearhorn.tests.unit.grabbing import NewWorker, asked
from gearhorn.wire.address import Address
from gearhorn.wire.batch import AwaitedCopies, Batch, Copy


class Job(test_fanout.Job):
    """A job that says when its data was given back."""

    dropped = False

    def set_aside(self) -> None:
        pass

    def drop_data(self) -> None:
        self.dropped = True


def queue(batch: Batch) -> None:
    """The server has queued every copy."""
    batch.created = len(batch.queues)
    batch.listener.batch_created(batch)


async def test_the_payload_is_kept_until_every_copy_is_queued() -> None:
    outbox = test_fanout.Outbox()
    outbox.connect()
    other: Any = test_fanout.Link(b"beef")
    other.server = Address("two.example", 4730)
    outbox.servers[other.server] = other
    job: Any = Job(test_fanout.request(background=False, gather=True))
    test_fanout.fan_outs(outbox, 40).take(job)
    first, second = outbox.batches

    queue(first)
    assert not job.dropped
    # The second server is lost before it has queued its last copies.
    second.created = 1
    del outbox.servers[other.server]
    second.listener.batch_lost(second)
    (again,) = outbox.batches[2:]
    assert again.payload == b"p"
    assert list(again.keys) == list(second.keys[1:])
    assert not job.dropped

    queue(again)
    assert job.dropped
    awaited = AwaitedCopies()
    delivery: Any = first.listener
    for batch in (first, second, again):
        for key in batch.keys[: batch.created]:
            copy = Copy(batch, key, b"H:1", awaited)
            delivery.copy_created(copy)
            delivery.copies_lost([copy])
    # As ever: what was queued and is lost with its server is named.
    ((kind, report),) = job.answers
    assert (kind, report["delivered"]) == ("fail", 0)
    assert set(report["failed"].values()) == {"server_lost"}


async def test_a_worker_makes_use_of_the_room_of_data_that_was_given_back(
    server: FakeServer, new_worker: NewWorker
) -> None:
    worker = new_worker(window_bytes=1000)
    there = await asked(server)
    for number in range(2):
        there.assign(b"H:%d" % number, b"work", b"x" * 500)
    jobs = [await worker.job(), await worker.job()]
    await there.settle()
    asked_before = there.pending
    jobs[0].drop_data()
    jobs[0].drop_data()
    await there.expect(wire.GRAB_JOB_UNIQ, asked_before + 1)
    assert worker.held == 2

    for job in jobs:
        job.complete(b"")
        # Too late: it has been answered.
        job.drop_data()
    await there.expect(wire.WORK_COMPLETE, 2)
    assert worker._window._bytes == 0


async def test_jobs_beyond_the_window_stay_with_the_server(
    server: FakeServer, new_worker: NewWorker
) -> None:
    """Many are asked for while they are small, and then all are large."""
    worker = new_worker(window_bytes=1_000_000)
    there = await asked(server)
    for number in range(8):
        there.assign(b"H:%d" % number, b"work")
        await there.settle()
        (await worker.job()).complete(b"")
    await there.settle()
    assert there.pending > 10

    for number in range(10):
        there.assign(b"L:%d" % number, b"work", b"x" * 600_000)
    held = [await worker.job(), await worker.job()]
    (connection,) = worker.connections.values()
    assert not connection._transport.is_reading()  # type: ignore[union-attr]
    assert worker.held == 2

    held[0].drop_data()
    held.append(await worker.job())
    held[1].complete(b"")
    held.append(await worker.job())
    for job in held:
        job.complete(b"")
    for _ in range(6):
        (await worker.job()).complete(b"")


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)), st.integers(1, 9))
@example(b"\0" * 70_000, 1)
@example("é".encode() * 40_000 + b"x", 1)
@example(b"x" * 65_535 + "\U0001f600".encode(), 1)
@example(b"x" * 70_000 + b"\xf0\x9f", 1)
def test_a_result_is_written_as_json_would_write_it(data: bytes, spare: int) -> None:
    expected = msgspec.json.encode(messages.result_of(data))
    for most in (len(expected), len(expected) + spare):
        written = messages.written_result(data, most)
        assert written is not None
        assert bytes(written) == expected
    assert messages.written_result(data, len(expected) - spare) is None


def test_results_are_counted_as_the_report_will_write_them() -> None:
    for data, size in ((b"x" * 10_000, 10_002), (b"\0" * 10_000, 60_002), (b"\0" * 100, 602)):
        room = Room(100_000)
        assert not Results(size - 1, room).close("bob", data, True)
        results = Results(size, room)
        assert results.close("bob", data, True)
        assert room.free == 100_000 - size
        assert len(msgspec.json.encode(results.complete["bob"])) == size
        results.give_back()
        assert room.free == 100_000


def test_a_result_in_parts_is_counted_once() -> None:
    room = Room(1000)
    results = Results(1000, room)
    results.add("bob", b"\0" * 50, True)
    assert room.free == 950
    assert results.close("bob", b"\0" * 50, True)
    assert room.free == 1000 - 602
    # As they come they fit; as JSON they do not.
    results.add("al", b"\0" * 50, True)
    assert not results.close("al", b"\0" * 50, True)
    assert room.free == 1000 - 602
    assert json.loads(msgspec.json.encode(results.complete)) == {"bob": "\0" * 100}
