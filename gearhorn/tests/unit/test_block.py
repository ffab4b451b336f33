# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The size of a block of copies, and the counting of its answers."""

from __future__ import annotations

import pytest

from gearhorn.wire import block
from gearhorn.wire.batch import Batch, Listener
from gearhorn.wire.block import Block


class Told(Listener):
    def __init__(self) -> None:
        self.created: list[Batch] = []

    def batch_created(self, batch: Batch) -> None:
        self.created.append(batch)


def created(one: Batch) -> list[Batch]:
    """The batches of which the listener was told that they are queued."""
    listener = one.listener
    assert isinstance(listener, Told)
    return listener.created


def batch(copies: int, *, foreground: bool = False, size: int = 10) -> Batch:
    queues = [b"t_%d" % number for number in range(copies)]
    return Batch(
        Told(),
        "t",
        priority="normal",
        foreground=foreground,
        queues=queues,
        keys=[queue.decode() for queue in queues],
        uniques=(b"",),
        groups=None,
        payload=b"x" * size,
        longest_queue=max(map(len, queues)),
    )


def is_full(one: Block) -> bool:
    return one.full


def test_it_takes_so_many_copies_and_counts_as_many() -> None:
    one = Block(10, alone=True)
    assert one.turn(alone=True) == 10
    assert one.add(batch(4), 10) == 4
    assert not is_full(one)
    assert one.counts_as == 0
    assert one.add(batch(20), one.turn(alone=True)) == 6
    assert is_full(one)
    assert (one.unanswered, one.counts_as) == (10, 10)


@pytest.mark.parametrize(("size", "turn"), [(10, 5), (11, 5), (1, 1)])
def test_a_lane_has_half_of_it_while_others_wait(size: int, turn: int) -> None:
    one = Block(size, alone=False)
    assert one.turn(alone=False) == turn
    assert one.turn(alone=True) == size


@pytest.mark.parametrize("alone", [False, True])
def test_it_takes_few_foreground_copies(alone: bool) -> None:
    one = Block(block.MOST, alone=alone)
    waiting = batch(block.MOST, foreground=True)
    allowed = block.MOST_FOREGROUND if alone else block.MOST_FOREGROUND // 2
    assert one.allows(waiting) == allowed
    assert one.add(waiting, allowed) == allowed
    if not alone:
        one.add(waiting, one.allows(waiting))
    assert one.allows(waiting) == 0
    assert not is_full(one)
    # Others still fit; another foreground one ends it, with what it has.
    assert one.add(batch(5), one.allows(batch(5))) == 5
    assert one.add(waiting, one.allows(waiting)) == 0
    assert is_full(one)
    assert one.counts_as == one.unanswered == block.MOST_FOREGROUND + 5


def test_it_takes_so_many_bytes_and_counts_as_full() -> None:
    one = Block(100, alone=True)
    large = batch(10, size=block.MOST_BYTES // 3)
    assert one.add(large, 100) == 2
    assert not is_full(one)
    assert one.add(large, 98) == 0
    assert is_full(one)
    assert (one.unanswered, one.counts_as) == (2, 100)


def test_a_copy_larger_than_any_block_goes_alone() -> None:
    one = Block(100, alone=True)
    assert one.add(batch(3, size=2 * block.MOST_BYTES), 100) == 1
    assert is_full(one)


def test_answers_are_counted_batch_by_batch() -> None:
    one = Block(10, alone=True)
    first, second, third = batch(2), batch(3), batch(9)
    for each in (first, second, third):
        one.add(each, one.turn(alone=True))
    assert one.packets().count(b"\0REQ") == 10
    one.sent(1.0)
    assert list(one.batches()) == [first, second, third]
    told = []
    for answered in range(10):
        assert one.unanswered == 10 - answered
        told.append(one.batch)
        one.count_answer()
    assert told == [first] * 2 + [second] * 3 + [third] * 5
    assert one.batch is None
    assert [created(each) for each in (first, second)] == [[first], [second]]
    # Four of it wait for the next block.
    assert third.created == third.written == 5
    assert created(third) == []


def test_whoever_cancelled_a_batch_is_told_nothing() -> None:
    one = Block(10, alone=True)
    gone = batch(1)
    one.add(gone, 10)
    one.sent(1.0)
    gone.cancel()
    one.count_answer()
    assert created(gone) == []
