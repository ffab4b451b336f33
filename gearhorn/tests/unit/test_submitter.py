# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The client on the loop, against a job server that does what each test tells it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.fake import Conversation, FakeServer, fake_server
from gearhorn.tests.packets import Packet
from gearhorn.wire import block
from gearhorn.wire.batch import Batch, Copy, Listener
from gearhorn.wire.block import BlockSize
from gearhorn.wire.connection import Connection, ConnectionSettings
from gearhorn.wire.submitter import Submitter
from gearhorn.wire.watch import Watch

FAST = ConnectionSettings(reconnect_max=0.05)


class Told(Listener):
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
        self.copies: dict[str, Copy] = {}

    async def next(self) -> tuple[object, ...]:
        return await asyncio.wait_for(self.events.get(), 10)

    async def expect(self, *events: tuple[object, ...]) -> None:
        assert [await self.next() for _ in events] == list(events)

    def batch_written(self, batch: Batch) -> None:
        self.events.put_nowait(("written",))

    def batch_created(self, batch: Batch) -> None:
        self.events.put_nowait(("created",))

    def batch_lost(self, batch: Batch) -> None:
        self.events.put_nowait(("lost", batch.created))

    def copy_created(self, copy: Copy) -> None:
        self.copies[copy.key] = copy

    def copy_refused(self, batch: Batch, index: int) -> None:
        self.events.put_nowait(("refused", batch.keys[index]))

    def copy_answered(self, copy: Copy, packet_type: int, data: bytes, whole: bool) -> None:
        what = "answered" if whole else "answered at length"
        self.events.put_nowait((what, copy.key, packet_type, data))

    def copy_lost(self, copy: Copy) -> None:
        self.events.put_nowait(("copy lost", copy.key))


def batch(
    told: Told,
    copies: int | Sequence[str] = 1,
    *,
    lane: str = "t",
    foreground: bool = False,
    priority: str = "normal",
    payload: bytes = b"payload",
    uniques: Sequence[bytes] = (b"unique",),
    groups: Sequence[int] | None = None,
) -> Batch:
    keys = [f"c{n}" for n in range(copies)] if isinstance(copies, int) else copies
    queues = [f"{lane}_{key}".encode() for key in keys]
    return Batch(
        told,
        lane,
        priority=priority,
        foreground=foreground,
        queues=queues,
        keys=keys,
        uniques=uniques,
        groups=groups,
        payload=payload,
        longest_queue=max(map(len, queues)),
    )


class Link:
    """A submitter and the server that it is connected to."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.submitter = Submitter("worker-1", FAST, 1 << 20, Watch())
        self.submitter.connect([server.address])
        self.there: Conversation
        self._handles = 0

    async def connected(self) -> Link:
        self.there = await self.server.accept()
        while not self.submitter.servers or self.connection.lost.done():
            await self.there.settle()
        return self

    @property
    def connection(self) -> Connection:
        return self.submitter.servers[self.server.address]

    def submit(self, *batches: Batch) -> None:
        for one in batches:
            self.submitter.submit(self.connection, one)

    async def sent(self) -> list[Packet]:
        """What has been sent and not been answered; at least one packet."""
        packets = [await self.there.receive()]
        await self.there.settle()
        return packets + [await self.there.receive() for _ in range(self.there.pending)]

    def create(self, count: int = 1, handle: bytes | None = None) -> None:
        for _ in range(count):
            self._handles += 1
            self.there.send(wire.JOB_CREATED, handle or b"H:%d" % self._handles)


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as server:
        yield server


@pytest.fixture
async def link(server: FakeServer) -> AsyncIterator[Link]:
    link = Link(server)
    yield await link.connected()
    await link.submitter.close()


def queues_of(packets: Sequence[Packet]) -> list[str]:
    return [packet.body.split(b"\0")[0].decode() for packet in packets]


async def test_exceptions_are_asked_for(link: Link) -> None:
    # Else they come as WORK_FAIL with a NUL behind the handle.
    assert link.there.options == [b"exceptions"]


async def test_a_packet_is_sent_at_once(link: Link) -> None:
    assert link.connection._transport is not None
    raw = link.connection._transport.get_extra_info("socket")
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize(
    ("foreground", "priority", "packet_type"),
    [
        (True, "high", wire.SUBMIT_JOB_HIGH),
        (True, "normal", wire.SUBMIT_JOB),
        (True, "low", wire.SUBMIT_JOB_LOW),
        (False, "high", wire.SUBMIT_JOB_HIGH_BG),
        (False, "normal", wire.SUBMIT_JOB_BG),
        (False, "low", wire.SUBMIT_JOB_LOW_BG),
    ],
)
async def test_each_copy_is_one_packet(
    link: Link, foreground: bool, priority: str, packet_type: int
) -> None:
    told = Told()
    link.submit(batch(told, ["bob", "al"], foreground=foreground, priority=priority))
    assert await link.sent() == [
        (packet_type, b"t_bob\0unique\0payload"),
        (packet_type, b"t_al\0unique\0payload"),
    ]


async def test_the_copies_of_a_group_share_a_unique(link: Link) -> None:
    link.submit(batch(Told(), 4, uniques=[b"a", b"b"], groups=[1, 0, 0, 1]))
    assert [packet.body.split(b"\0")[1] for packet in await link.sent()] == [b"b", b"a", b"a", b"b"]


async def test_a_batch_is_created_when_every_copy_is_answered(link: Link) -> None:
    told = Told()
    link.submit(batch(told, 3))
    await link.sent()
    link.create(2)
    await link.there.settle()
    assert told.events.empty()
    link.create()
    await told.expect(("created",))


async def test_a_block_is_filled_from_many_batches(link: Link) -> None:
    told = Told()
    link.submit(*(batch(told, 1, lane=f"t{n}") for n in range(block.FIRST + 5)))
    assert len(await link.sent()) == block.FIRST
    link.create(block.FIRST - 1)
    await link.there.settle()
    assert link.there.pending == 0
    link.create()
    assert len(await link.sent()) == 5
    for _ in range(block.FIRST):
        await told.expect(("created",))


async def test_the_next_block_is_sent_when_all_of_the_last_is_answered(link: Link) -> None:
    link.submit(batch(Told(), 100))
    assert len(await link.sent()) == block.FIRST
    link.create(block.FIRST - 1)
    await link.there.settle()
    assert link.there.pending == 0
    link.create()
    assert len(await link.sent()) == 2 * block.FIRST


async def test_what_is_unanswered_is_never_more_than_the_size(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "AIM_S", 60.0)
    link.submit(batch(Told(), 3000))
    sent = answered = 0
    while sent < 3000:
        packets = await link.sent()
        sent += len(packets)
        assert sent - answered <= block.MOST
        link.create(len(packets))
        answered = sent


async def test_a_block_of_foreground_copies_is_smaller(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "AIM_S", 60.0)
    link.submit(batch(Told(), 3000), batch(Told(), 300, foreground=True), batch(Told(), 3000))
    types: list[list[int]] = []
    while sum(map(len, types)) < 6300:
        types.append([packet.type for packet in await link.sent()])
        link.create(len(types[-1]))
    answered = [block.count(wire.SUBMIT_JOB) for block in types]
    assert [count for count in answered if count] == [block.MOST_FOREGROUND, 100]
    # What is in the background goes with it as it would alone.
    assert len(types[-2]) == block.MOST


async def test_lanes_take_turns_and_keep_their_order(link: Link) -> None:
    told = Told()
    many = batch(told, 100, lane="many")
    behind = batch(told, 1, lane="many")
    others = [batch(told, 2, lane=f"other{n}") for n in range(3)]
    link.submit(many, behind, *others)

    first = queues_of(await link.sent())
    assert len(first) == block.FIRST
    # At most half a block while others wait, and the rest of the block when none does.
    assert first[: block.FIRST // 2] == [f"many_c{n}" for n in range(block.FIRST // 2)]
    assert first[block.FIRST // 2 :][:6] == [f"other{n}_c{c}" for n in range(3) for c in (0, 1)]
    rest = [name for name in first if name.startswith("many")]
    while len(rest) < 101:
        link.create(len(first))
        first = queues_of(await link.sent())
        rest += first
    # Within the lane, all of a batch before the next.
    assert rest == [f"many_c{n}" for n in range(100)] + ["many_c0"]


async def test_the_block_follows_the_server(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sizes(count: int) -> list[int]:
        found = []
        for _ in range(count):
            found.append(len(await link.sent()))
            link.create(found[-1])
        return found

    link.submit(batch(Told(), 100_000))
    monkeypatch.setattr(block, "AIM_S", 60.0)
    assert (await sizes(8))[-1] == block.MOST
    monkeypatch.setattr(block, "AIM_S", -1.0)
    assert (await sizes(12))[-1] == block.LEAST


@pytest.mark.parametrize(
    ("way_s", "copy_s", "most", "expected"),
    [
        (0.0001, 1e-6, block.MOST, block.MOST),
        # A server far away.
        (0.05, 1e-6, block.MOST, block.MOST),
        (0.0001, 1e-5, block.MOST, 200),
        # A slow one, and foreground copies, of which a block never holds more.
        (0.0001, 1e-4, block.MOST_FOREGROUND, 20),
    ],
)
def test_a_full_block_takes_two_milliseconds(
    way_s: float, copy_s: float, most: int, expected: int
) -> None:
    size = BlockSize()
    size.note(0, way_s)
    for _ in range(20):
        copies = min(most, size.copies)
        size.note(copies, way_s + copies * copy_s)
    assert size.copies == pytest.approx(expected, rel=0.02)


async def test_a_block_has_a_mebibyte_at_the_most(link: Link) -> None:
    link.submit(batch(Told(), 5, payload=b"x" * 300_000))
    assert queues_of(await link.sent()) == ["t_c0", "t_c1", "t_c2"]
    # One that alone is larger goes alone. What comes meanwhile waits as well.
    link.submit(
        batch(Told(), 2, lane="u", payload=b"x" * 2_000_000), batch(Told(), block.MOST, lane="v")
    )
    link.create(2)
    await link.there.settle()
    assert link.there.pending == 0
    link.create()
    assert queues_of(await link.sent()) == ["t_c3", "t_c4"]
    link.create(2)
    assert queues_of(await link.sent()) == ["u_c0"]
    link.create()
    # It is the turn of the other, and the large one is the first of the next block.
    turn = await link.sent()
    assert {name[0] for name in queues_of(turn)} == {"v"}
    link.create(len(turn))
    assert queues_of(await link.sent()) == ["u_c1"]
    link.create()
    await link.sent()


async def test_large_copies_leave_blocks_of_small_ones_large(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "AIM_S", 60.0)
    link.submit(batch(Told(), 3000))
    while len(packets := await link.sent()) < block.MOST:
        link.create(len(packets))
    link.submit(batch(Told(), 9, payload=b"x" * 300_000), batch(Told(), 3000))
    sizes = [block.MOST]
    while sum(sizes) < 4000:
        link.create(sizes[-1])
        sizes.append(len(await link.sent()))
    assert 3 in sizes
    assert block.MOST in sizes[1:]


async def test_an_error_is_for_the_copy_that_it_answers(link: Link) -> None:
    first, second = Told(), Told()
    link.submit(batch(first, ["a", "b", "c"], lane="t"), batch(second, ["d", "e"], lane="u"))
    assert queues_of(await link.sent()) == ["t_a", "t_b", "t_c", "u_d", "u_e"]
    link.create()
    link.there.send(wire.ERROR, b"JOB_QUEUE_FULL", b"full")
    link.create()
    link.there.send(wire.ERROR, b"JOB_QUEUE_FULL", b"full")
    link.create()
    await first.expect(("refused", "b"), ("created",))
    await second.expect(("refused", "d"), ("created",))


async def test_an_error_that_answers_no_copy_is_logged(
    link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    link.there.send(wire.ERROR, b"UNKNOWN", b"what is this")
    await link.there.settle()
    assert "UNKNOWN what is this" in caplog.text
    told = Told()
    link.submit(batch(told))
    await link.sent()
    link.create()
    await told.expect(("created",))


async def foreground(link: Link, *keys: str) -> Told:
    """A batch whose copies the server has queued, as H:1 and so on."""
    told = Told()
    link.submit(batch(told, keys, foreground=True))
    await link.sent()
    await told.expect(("written",))
    link.create(len(keys))
    await told.expect(("created",))
    return told


async def test_answers_are_told_by_their_handle(link: Link) -> None:
    told = await foreground(link, "bob", "alice", "carol")
    link.there.send(wire.WORK_STATUS, b"H:1", b"1", b"2")
    link.there.send(wire.WORK_WARNING, b"H:1", b"slow")
    link.there.send(wire.WORK_DATA, b"H:2", b"part\0")
    link.there.send(wire.WORK_COMPLETE, b"H:2", b"done\0")
    link.there.send(wire.WORK_EXCEPTION, b"H:3", b"why")
    link.there.send(wire.WORK_COMPLETE, b"H:99", b"unheard of")
    link.there.send(wire.WORK_FAIL, b"H:1")
    await told.expect(
        ("answered", "alice", wire.WORK_DATA, b"part\0"),
        ("answered", "alice", wire.WORK_COMPLETE, b"done\0"),
        ("answered", "carol", wire.WORK_EXCEPTION, b"why"),
        ("answered", "bob", wire.WORK_FAIL, b""),
    )


async def test_a_handle_ends_at_its_first_nul(link: Link) -> None:
    # So comes a WORK_EXCEPTION from a gearmand that was not asked for exceptions.
    told = await foreground(link, "bob")
    link.there.send(wire.WORK_FAIL, b"H:1", b"")
    await told.expect(("answered", "bob", wire.WORK_FAIL, b""))


async def test_a_result_that_is_too_large_is_an_answer(link: Link) -> None:
    told = await foreground(link, "bob")
    link.there.send(wire.WORK_COMPLETE, b"H:1", b"x" * (2 << 20))
    what, key, packet_type, data = await told.next()
    assert (what, key, packet_type) == ("answered at length", "bob", wire.WORK_COMPLETE)
    assert isinstance(data, bytes)
    assert set(data) == {ord("x")}


async def test_coalesced_copies_get_one_answer_each(link: Link) -> None:
    told = Told()
    link.submit(
        batch(told, ["one"], foreground=True),
        batch(told, ["two"], foreground=True),
        batch(told, ["three"], foreground=True),
    )
    await link.sent()
    link.create(3, b"H:7")
    await told.expect(("written",), ("written",), ("written",), *[("created",)] * 3)
    for kind, data in ((wire.WORK_DATA, b"part"), (wire.WORK_COMPLETE, b"end")):
        for _ in range(3):
            link.there.send(kind, b"H:7", data)
    await told.expect(
        *(("answered", key, wire.WORK_DATA, b"part") for key in ("one", "two", "three")),
        *(("answered", key, wire.WORK_COMPLETE, b"end") for key in ("one", "two", "three")),
    )


@pytest.mark.parametrize("forgotten", ["one", "two"])
async def test_of_coalesced_copies_one_may_be_forgotten(link: Link, forgotten: str) -> None:
    told = Told()
    link.submit(batch(told, ["one"], foreground=True), batch(told, ["two"], foreground=True))
    await link.sent()
    link.create(2, b"H:7")
    await told.expect(("written",), ("written",), ("created",), ("created",))
    told.copies[forgotten].forget()
    told.copies[forgotten].forget()
    # gearmand answers both.
    for _ in range(2):
        link.there.send(wire.WORK_COMPLETE, b"H:7", b"end")
    (left,) = {"one", "two"} - {forgotten}
    await told.expect(("answered", left, wire.WORK_COMPLETE, b"end"))
    await link.there.settle()
    assert told.events.empty()


async def test_a_forgotten_copy_is_not_answered(link: Link) -> None:
    told = await foreground(link, "bob", "alice")
    told.copies["bob"].forget()
    link.there.send(wire.WORK_COMPLETE, b"H:1", b"late")
    link.there.send(wire.WORK_COMPLETE, b"H:2", b"in time")
    await told.expect(("answered", "alice", wire.WORK_COMPLETE, b"in time"))


async def test_what_is_cancelled_is_written_no_further_and_told_nothing(link: Link) -> None:
    cancelled, told = Told(), Told()
    given_up = batch(cancelled, 100, lane="t")
    link.submit(given_up, batch(told, 1, lane="t"))
    assert len(await link.sent()) == block.FIRST
    given_up.cancel()
    link.there.send(wire.ERROR, b"JOB_QUEUE_FULL", b"full")
    link.create(block.FIRST - 1)
    assert queues_of(await link.sent()) == ["t_c0"]
    link.create()
    await told.expect(("created",))
    assert cancelled.events.empty()


async def test_a_lost_server_leaves_what_it_had_not_answered(link: Link) -> None:
    background, waiting, told = Told(), Told(), Told()
    answered = await foreground(link, "bob", "alice")
    link.there.send(wire.WORK_COMPLETE, b"H:1", b"")
    await answered.expect(("answered", "bob", wire.WORK_COMPLETE, b""))
    link.submit(batch(background, 40), batch(waiting, 3), batch(told, 1, lane="other"))
    await link.sent()
    link.create(5)
    await link.there.settle()

    link.there.close()

    await answered.expect(("copy lost", "alice"))
    await background.expect(("lost", 5))
    await waiting.expect(("lost", 0))
    await told.expect(("lost", 0))
    assert background.events.empty()

    # A new connection, a new token for uniques, and nothing left of the old one.
    old = link.connection.token if link.submitter.servers else None
    await link.connected()
    assert link.connection.token != old
    link.submit(batch(background, 1))
    assert queues_of(await link.sent()) == ["t_c0"]
    link.create()
    await background.expect(("created",))


async def test_a_job_that_was_not_asked_for_ends_the_connection(link: Link) -> None:
    link.create()
    await link.there.expect_closed()


async def test_whoever_waits_for_servers_is_told_of_changes(server: FakeServer) -> None:
    link = Link(server)
    changes: list[int] = []
    link.submitter.on_servers_changed = lambda: changes.append(len(link.submitter.servers))
    await link.connected()
    link.there.close()
    await link.connected()
    assert changes == [1, 0, 1]
    await link.submitter.close()
    assert link.submitter.servers == {}
