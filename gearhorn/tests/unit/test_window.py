# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The number of jobs that a worker may hold and ask for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gearhorn.wire.window import Window


def window(jobs: int = 10, size: int = 1000) -> Window:
    return Window(jobs, size)


def test_what_is_asked_for_takes_room_as_what_is_held_does() -> None:
    some = window()
    assert some.room() == 10
    some.ask(4)
    assert some.room() == 6
    some.come(0)
    assert (some.held, some.asked, some.room()) == (1, 3, 6)
    some.miss(2)
    assert (some.held, some.asked, some.room()) == (1, 1, 8)
    some.release(0)
    assert (some.held, some.asked, some.room()) == (0, 1, 9)


def test_jobs_that_are_asked_for_are_reckoned_as_large_as_the_largest_of_late() -> None:
    some = window()
    some.ask(3)
    some.come(400)
    # Two more of 400 bytes are asked for, and only one would fit.
    assert some.room() == 0
    some.come(0)
    some.miss()
    assert some.room() == (1000 - 400) // (400 * 7 // 8) == 1
    for _ in range(60):
        some.ask(1)
        some.come(0)
        some.release(0)
    # The large one is forgotten: what it holds counts, no more.
    assert some.room() == 10 - some.held


def test_one_job_always_fits() -> None:
    some = window(size=100)
    some.ask(1)
    some.come(1 << 20)
    assert some.room() < 1
    some.release(1 << 20)
    assert some.room() == 1
    some.ask(1)
    assert some.room() < 1


def test_it_is_idle_when_nothing_is_held_and_nothing_can_come() -> None:
    some = window()
    found = [some.idle]
    some.ask(1)
    found.append(some.idle)
    some.come(5)
    found.append(some.idle)
    some.release(5)
    found.append(some.idle)
    assert found == [True, False, False, True]


def test_it_can_be_made_larger_and_smaller() -> None:
    some = window()
    assert some.resize(20)
    assert some.room() == 20
    assert not some.resize(20)
    assert not some.resize(5)
    some.ask(5)
    assert some.room() == 0


@given(st.lists(st.tuples(st.sampled_from("acmr"), st.integers(0, 300)), max_size=60))
def test_no_more_jobs_come_than_there_is_room_for(steps: list[tuple[str, int]]) -> None:
    some = window()
    held: list[int] = []
    for what, size in steps:
        if what == "a" and some.room() > 0:
            some.ask(some.room())
        elif what == "c" and some.asked:
            some.come(size)
            held.append(size)
        elif what == "m" and some.asked:
            some.miss()
        elif what == "r" and held:
            some.release(held.pop())
        assert some.held == len(held)
        assert some.held + some.asked <= 10
        assert some.idle == (not held and not some.asked)
