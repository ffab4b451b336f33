# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""In what blocks the submitter sends copies, and whose turn it is."""

from __future__ import annotations

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.unit.submitting import Link, Told, batch, queues_of
from gearhorn.wire import block
from gearhorn.wire.block import BlockSize


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
