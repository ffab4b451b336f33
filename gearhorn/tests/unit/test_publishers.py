# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Questions about publishers, and servers that answer them badly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gearhorn.daemon import attendance, publishers
from gearhorn.daemon.attendance import Owner
from gearhorn.daemon.publishers import Publishers
from gearhorn.tests import packets as wire
from gearhorn.tests.fake import Conversation, FakeServer
from gearhorn.tests.unit.grabbing import FAST
from gearhorn.wire.address import Address
from gearhorn.wire.client_counter import ClientCounter
from gearhorn.wire.watch import Watch


class Link:
    def __init__(self, server: Address) -> None:
        self.server = server
        self.loop = asyncio.get_running_loop()


class Job:
    """A job that a daemon holds."""

    def __init__(self, server: FakeServer, unique: bytes) -> None:
        self.unique = unique
        self.connection = Link(server.address)


class Holder(Owner):
    """Tells what became of the publisher of its job."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.back = asyncio.Event()

    def publisher_back(self) -> None:
        self.back.set()

    def publisher_left(self) -> None:
        self.left.set()


class Desk:
    """The publishers of a daemon, and the job server that is asked for them."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.counter = ClientCounter(FAST, Watch())
        self.publishers = Publishers(self.counter)
        self.counter.connect([server.address])
        self.there: Conversation

    async def connected(self) -> None:
        self.there = await self.server.accept()
        await self.counter.connected()

    def watch(self, unique: bytes) -> Holder:
        holder = Holder()
        job: Any = Job(self.server, unique)
        self.publishers.watch(job, holder)
        return holder

    async def asked(self) -> bytes:
        """Return the unique of the next question."""
        (packet,) = await self.there.expect(wire.GET_STATUS_UNIQUE)
        return packet.body

    def answer(self, unique: bytes, clients: int) -> None:
        fields = (b"1", b"1", b"0", b"0", b"%d" % clients)
        self.there.send(wire.STATUS_RES_UNIQUE, unique, *fields)


@pytest.fixture
async def desk(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    for name in ("FIRST_S", "AGAIN_S", "ROUND_S"):
        monkeypatch.setattr(attendance, name, 0.01)
    desk = Desk(server)
    await desk.connected()
    yield desk
    desk.publishers.close()
    await desk.counter.close()


async def test_a_publisher_that_leaves_is_found(desk: Desk) -> None:
    holder = desk.watch(b"one")
    for clients in (1, 1, 0):
        assert await desk.asked() == b"one"
        desk.answer(b"one", clients)
    assert await desk.asked() == b"one"
    assert not holder.left.is_set()
    desk.answer(b"one", 0)
    await asyncio.wait_for(holder.left.wait(), 10)


async def test_a_job_without_a_unique_of_its_own_is_not_asked_for(desk: Desk) -> None:
    desk.watch(b"")
    desk.watch(b"-")
    desk.watch(b"one")
    assert await desk.asked() == b"one"


async def test_a_publisher_is_asked_for_anew_where_the_server_was_lost(desk: Desk) -> None:
    holder = desk.watch(b"one")
    for clients in (1, 0):
        await desk.asked()
        desk.answer(b"one", clients)
    await desk.asked()
    desk.there.close()
    await asyncio.wait_for(holder.back.wait(), 10)
    await desk.connected()
    assert await desk.asked() == b"one"


@pytest.mark.parametrize(
    "body", [b"", b"other\0001\0001\0000\0000\0001", b"one\0001\0001\0000\0000\0x", b"one\0001"]
)
async def test_a_server_that_answers_nonsense_is_left(desk: Desk, body: bytes) -> None:
    desk.watch(b"one")
    await desk.asked()
    desk.there.send(wire.STATUS_RES_UNIQUE, body)
    await desk.there.expect_closed()


async def test_a_server_that_answers_what_was_not_asked_is_left(desk: Desk) -> None:
    desk.answer(b"one", 1)
    await desk.there.expect_closed()


async def test_a_server_that_does_not_answer_is_asked_no_more_until_it_does(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(publishers, "ANSWER_S", 0.05)
    holder = desk.watch(b"one")
    await desk.asked()
    while "does not say which publishers have left" not in caplog.text:
        await desk.there.settle()
    desk.watch(b"two")
    await desk.there.settle()
    assert desk.there.pending == 0

    desk.answer(b"one", 0)
    assert {await desk.asked(), await desk.asked()} == {b"one", b"two"}
    assert "says again which publishers have left" in caplog.text
    assert not holder.left.is_set()
