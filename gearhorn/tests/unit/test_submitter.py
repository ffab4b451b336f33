# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The client on the loop, against a job server that does what each test tells it."""

from __future__ import annotations

import socket

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.fake import FakeServer
from gearhorn.tests.unit.submitting import Link, Told, batch, queues_of
from gearhorn.wire import block


async def test_exceptions_are_asked_for(link: Link) -> None:
    # Else they come as WORK_FAIL with a NUL behind the handle.
    assert link.there.options == [b"exceptions"]


async def test_a_submission_is_sent_at_once(link: Link) -> None:
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
    answered = await foreground(link, "bob", "alice", "carol")
    link.there.send(wire.WORK_COMPLETE, b"H:1", b"")
    await answered.expect(("answered", "bob", wire.WORK_COMPLETE, b""))
    link.submit(batch(background, 40), batch(waiting, 3), batch(told, 1, lane="other"))
    await link.sent()
    link.create(5)
    await link.there.settle()

    link.there.close()

    await answered.expect(("copies lost", "alice", "carol"))
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
