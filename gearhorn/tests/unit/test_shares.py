# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Many functions of a worker are dealt out to several connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.fake import Conversation, FakeServer, fake_server
from gearhorn.tests.processes import until
from gearhorn.tests.unit.grabbing import FAST, asked
from gearhorn.wire import probes, shares
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.fair_grabber import FairGrabber
from gearhorn.wire.grabber import Job
from gearhorn.wire.shares import Shares
from gearhorn.wire.watch import Watch


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "FULL", 2)
    monkeypatch.setattr(shares, "MOST", 3)


def test_a_share_is_filled_before_the_next_is_begun() -> None:
    dealt = Shares()
    assert [dealt.add(b"%d" % number) for number in range(6)] == [0, 0, 1, 1, 2, 2]
    assert (len(dealt), dealt.largest) == (3, 2)


def test_a_function_keeps_its_share_until_it_is_removed() -> None:
    dealt = Shares()
    for number in range(5):
        dealt.add(b"%d" % number)
    dealt.remove(b"0")
    assert dealt.add(b"4") == dealt.of(b"4") == 2
    dealt.remove(b"4")
    assert [dealt.add(name) for name in (b"4", b"5")] == [0, 2]
    dealt.remove(b"unknown")


def test_when_all_shares_are_full_they_grow_alike() -> None:
    dealt = Shares()
    grown = Counter(dealt.add(b"%d" % number) for number in range(20))
    assert sorted(grown.values()) == [6, 7, 7]
    assert dealt.largest == 7


@contextlib.asynccontextmanager
async def serving(
    names: Sequence[str], *servers: Address, window: int = 1000
) -> AsyncIterator[tuple[FairGrabber, list[Job]]]:
    jobs: list[Job] = []
    worker = FairGrabber("worker-1", FAST, 1 << 20, Watch(), window, 1 << 30, jobs.extend)
    for name in names:
        worker.serve(name)
    worker.connect(servers)
    try:
        yield worker, jobs
    finally:
        await worker.close()


async def accepted(server: FakeServer, connections: int) -> list[Conversation]:
    """The next connections once each has asked for jobs, by their first functions."""
    return sorted([await asked(server) for _ in range(connections)], key=lambda c: c.functions)


async def test_few_functions_have_one_connection(server: FakeServer) -> None:
    async with serving(["a", "b"], server.address):
        there = await asked(server)
        await there.settle()
        assert there.functions == [b"a", b"b"]
        assert server.accepted == 1


async def test_many_functions_have_several_and_each_one_of_them(server: FakeServer) -> None:
    async with serving(list("abcde"), server.address):
        first, second, third = await accepted(server, 3)
        assert first.functions == [b"a", b"b"]
        assert second.functions == [b"c", b"d"]
        assert third.functions == [b"e"]


async def test_each_server_has_all_shares(server: FakeServer) -> None:
    async with fake_server() as second, serving(list("abc"), server.address, second.address):
        for each in (server, second):
            assert [there.functions for there in await accepted(each, 2)] == [[b"a", b"b"], [b"c"]]


async def test_a_function_that_comes_later_is_given_room_or_a_connection(
    server: FakeServer,
) -> None:
    async with serving(["a", "b"], server.address) as (worker, _):
        first = await asked(server)
        worker.serve("c")
        second = await asked(server)
        worker.serve("d")
        await second.settle()
        assert (first.functions, second.functions) == ([b"a", b"b"], [b"c", b"d"])

        for _ in range(2):
            first.send(wire.NO_JOB)
        await first.expect(wire.PRE_SLEEP)
        worker.leave("a")
        await first.expect(wire.CANT_DO)
        worker.serve("e")
        await first.settle()
        assert first.functions == [b"a", b"b", b"e"]
        assert server.accepted == 2


async def test_a_function_that_is_left_keeps_its_connection_while_its_job_is_held(
    server: FakeServer,
) -> None:
    # On another one its next jobs could come before that one is done.
    async with serving(list("abcd"), server.address) as (worker, jobs):
        first, second = await accepted(server, 2)
        second.assign(b"H:1", b"c")
        await second.settle()
        outstanding = 1 + second.pending
        worker.leave("c")
        worker.leave("a")
        for there, grabs in ((first, 2), (second, outstanding)):
            for _ in range(grabs):
                there.send(wire.NO_JOB)
        await first.settle()
        held = [worker.leaving]
        worker.serve("c")
        await first.settle()
        assert (first.functions, second.functions) == ([b"a", b"b"], [b"c", b"d"])
        held.append(worker.leaving)
        assert held == [True, False]
        (job,) = jobs
        job.complete(b"")
        await second.settle()
        kinds = [(await second.receive()).type for _ in range(second.pending)]
        assert wire.WORK_COMPLETE in kinds
        assert wire.CANT_DO not in kinds


async def test_a_lost_connection_comes_back_with_its_functions(server: FakeServer) -> None:
    changes: list[Sequence[Address]] = []
    async with serving(list("abc"), server.address) as (worker, _):
        worker.on_servers_changed = lambda: changes.append(tuple(worker.connections))
        _, second = await accepted(server, 2)
        second.close()
        again = await asked(server)
        assert again.functions == [b"c"]
        # The server itself was never away: nothing is to be registered anew.
        assert set(changes) == {(server.address,)}


async def test_the_jobs_of_a_lost_connection_are_abandoned_and_no_others(
    server: FakeServer,
) -> None:
    async with serving(list("abc"), server.address) as (worker, jobs):
        first, second = await accepted(server, 2)
        first.assign(b"H:1", b"a")
        second.assign(b"H:1", b"c")
        await until(lambda: len(jobs) == 2)
        second.close()
        await until(lambda: worker.held == 1)
        for job in jobs:
            job.complete(b"")
        await first.settle()
        sent = [await first.receive() for _ in range(first.pending)]
        assert [packet for packet in sent if packet.type == wire.WORK_COMPLETE] == [
            (wire.WORK_COMPLETE, b"H:1\0")
        ]


async def test_no_connection_is_made_after_the_end(server: FakeServer) -> None:
    async with serving(["a", "b"], server.address) as (worker, _):
        there = await asked(server)
        await worker.close()
        worker.serve("c")
        await there.settle()
        assert server.accepted == 1


async def test_stopping_waits_for_the_answers_on_all_connections(server: FakeServer) -> None:
    async with serving(list("abc"), server.address) as (worker, _):
        first, second = await accepted(server, 2)
        worker.stop_grabbing()
        for _ in range(2):
            first.send(wire.NO_JOB)
        await first.settle()
        assert not worker.settled.is_set()
        for _ in range(2):
            second.send(wire.NO_JOB)
        await asyncio.wait_for(worker.settled.wait(), 10)


async def test_connections_that_have_nothing_leave_their_turn_to_the_others(
    server: FakeServer,
) -> None:
    async with serving(list("abcdef"), server.address, window=1) as (_, jobs):
        connections = [await server.accept() for _ in range(3)]
        order: list[bytes] = []
        for number in range(30):
            await until(lambda: any(there.pending for there in connections))
            for there in connections:
                asks = there.pending
                kinds = [(await there.receive()).type for _ in range(asks)]
                if wire.GRAB_JOB_UNIQ not in kinds:
                    continue
                if there.functions == [b"a", b"b"]:
                    there.send(wire.NO_JOB)
                else:
                    there.assign(b"H:%d" % number, there.functions[0])
                    await until(lambda: len(jobs) > len(order))
                    order.append(jobs[-1].function)
                    jobs[-1].complete(b"")
        later = order[4:]
        assert len(later) > 10
        # By turns, though one of the three has nothing to give.
        assert all(one != other for one, other in itertools.pairwise(later))


async def test_a_server_is_tried_once_for_all_its_connections(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Address] = []

    async def takes_turns(server: Address, settings: ConnectionSettings) -> bool:
        tried.append(server)
        return True

    monkeypatch.setattr(probes, "takes_turns", takes_turns)
    monkeypatch.setattr("gearhorn.wire.fair_grabber.TURN_S", 0.0)
    async with serving(list("abcd"), server.address):
        for there in await accepted(server, 2):
            for number in range(4):
                there.assign(b"H:%d" % number, there.functions[0])
                await there.settle()
        assert tried == [server.address]
