# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Who is asked for next, what the answers mean, and how fast questions may come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearhorn.daemon.attendance import (
    AGAIN_S,
    FIRST_AT_ONCE,
    FIRST_S,
    LEAST_AT_ONCE,
    MOST_A_SECOND,
    MOST_AT_ONCE,
    ROUND_S,
    SHARE,
    URGENT_SHARE,
    Attendance,
    Owner,
    Watched,
)

QUICK_S = 1e-6
"""What a question costs a server with few jobs."""


class Publisher(Owner):
    """Keeps what it is told."""

    def __init__(self, number: int = 0) -> None:
        self.watched = Watched(b"unique-%d" % number, self)
        self.told: list[str] = []

    def publisher_doubted(self) -> None:
        self.told.append("doubted")

    def publisher_back(self) -> None:
        self.told.append("back")

    def publisher_left(self) -> None:
        self.told.append("left")


class Shop:
    """A job server with publishers, on a clock of its own."""

    def __init__(self, publishers: int = 1, question_s: float = QUICK_S) -> None:
        self.now = 0.0
        self.attendance = Attendance()
        self.publishers = [Publisher(number) for number in range(publishers)]
        self.question_s = question_s
        for publisher in self.publishers:
            self.attendance.add(publisher.watched, self.now)

    def ask(self) -> list[Watched]:
        """Move to the next questions and return who is asked for."""
        at = self.attendance.next_at()
        assert at is not None
        self.now = max(self.now, at)
        return list(self.attendance.take(self.now))

    def answer(self, asked: list[Watched], clients: Callable[[Watched], int | None]) -> None:
        cost = self.question_s * len(asked)
        self.now += cost
        for owner in self.attendance.answered([clients(w) for w in asked], cost, self.now):
            owner.publisher_left()

    def step(self, clients: int | None) -> list[Watched]:
        """Ask and answer once, with the same clients for all."""
        asked = self.ask()
        self.answer(asked, lambda _: clients)
        return asked

    def run(self, until: float, clients: Callable[[Watched], int | None]) -> int:
        """Ask and answer until then; return the number of questions."""
        questions = 0
        while (at := self.attendance.next_at()) is not None and at <= until:
            asked = self.ask()
            questions += len(asked)
            self.answer(asked, clients)
        return questions

    @property
    def told(self) -> list[str]:
        (publisher,) = self.publishers
        return publisher.told


def test_a_publisher_is_asked_for_a_twentieth_of_a_second_after_its_job_was_taken() -> None:
    shop = Shop()
    assert shop.attendance.next_at() == FIRST_S
    assert shop.attendance.take(FIRST_S / 2) == []
    assert shop.ask() == [shop.publishers[0].watched]


def test_one_that_is_there_is_asked_for_in_turn_and_no_more_than_once_a_second() -> None:
    shop = Shop()
    questions = shop.run(FIRST_S + 10 * ROUND_S, lambda _: 1)
    assert 9 <= questions <= 11
    assert shop.told == []


def test_one_that_leaves_is_asked_for_again_after_six_seconds_and_then_has_left() -> None:
    shop = Shop()
    shop.step(1)
    shop.step(0)
    left_at = shop.now
    assert shop.told == ["doubted"]
    shop.step(0)
    assert shop.now >= left_at + AGAIN_S
    assert shop.told == ["doubted", "left"]


def test_one_that_is_there_after_all_is_asked_for_as_before() -> None:
    shop = Shop()
    for clients in (1, 0, 1):
        shop.step(clients)
    assert shop.told == ["doubted", "back"]
    for clients in (0, 2):
        shop.step(clients)
    assert shop.told == ["doubted", "back"] * 2


def test_a_job_that_never_had_a_client_is_asked_for_once() -> None:
    shop = Shop()
    shop.step(0)
    assert shop.attendance.next_at() is None
    assert shop.told == []


def test_another_job_with_the_same_unique_says_nothing() -> None:
    shop = Shop()
    for clients in (None, 1, None, 0, None):
        shop.step(clients)
    # It was hidden when the question came that would have decided.
    assert shop.told == ["doubted", "back"]


def test_one_that_ended_is_not_asked_for_and_not_told() -> None:
    shop = Shop(2)
    first, second = shop.publishers
    first.watched.done()
    asked = shop.ask()
    assert asked == [second.watched]
    second.watched.done()
    shop.answer(asked, lambda _: 0)
    assert shop.attendance.next_at() is None
    assert (first.told, second.told) == ([], [])


def test_nobody_is_in_doubt_when_a_server_was_lost() -> None:
    shop = Shop()
    shop.step(1)
    shop.step(0)
    shop.attendance.lost(shop.now)
    assert shop.told == ["doubted", "back"]
    # Twice again, before it has left.
    shop.step(0)
    assert shop.told == ["doubted", "back", "doubted"]


def test_what_was_asked_is_asked_anew_when_a_server_was_lost() -> None:
    shop = Shop()
    (asked,) = shop.ask()
    shop.attendance.lost(shop.now)
    # A late answer is nobody's.
    assert list(shop.attendance.answered([0], 0.0, shop.now)) == []
    assert shop.ask() == [asked]


def test_few_are_asked_for_at_once_until_the_server_has_shown_that_it_is_quick() -> None:
    shop = Shop(10_000)
    sizes = [len(shop.step(1)) for _ in range(7)]
    assert sizes[0] == FIRST_AT_ONCE
    assert sizes == sorted(sizes)
    assert max(sizes) == MOST_AT_ONCE


def test_a_slow_server_is_asked_few_questions_at_once() -> None:
    shop = Shop(1000, question_s=1e-3)
    assert [len(shop.step(1)) for _ in range(3)] == [FIRST_AT_ONCE, LEAST_AT_ONCE, LEAST_AT_ONCE]


def test_questions_in_turn_cost_a_hundredth_of_the_time_of_a_server() -> None:
    shop = Shop(20_000, question_s=77e-6)
    shop.run(120.0, lambda _: 1)
    # All are known by now.
    questions = shop.run(shop.now + 100.0, lambda _: 1)
    assert questions * shop.question_s <= 1.05 * SHARE * 100.0


def test_first_questions_and_those_that_decide_may_cost_more() -> None:
    shop = Shop(20_000, question_s=77e-6)
    questions = shop.run(2.0, lambda _: 1)
    assert questions * shop.question_s <= URGENT_SHARE * 2.0
    assert questions * shop.question_s >= 5 * SHARE * 2.0


@pytest.mark.once
def test_no_server_is_asked_more_than_ten_thousand_questions_a_second() -> None:
    shop = Shop(30_000)
    assert MOST_A_SECOND * 1.8 <= shop.run(2.0, lambda _: 1) <= MOST_A_SECOND * 2


def test_a_new_publisher_need_not_wait_until_the_turns_of_others_are_paid_for() -> None:
    shop = Shop(1000, question_s=1e-3)
    shop.run(20.0, lambda _: 1)
    late = Publisher(1000)
    shop.attendance.add(late.watched, shop.now)
    added_at = shop.now
    while late.watched not in shop.step(1):
        pass
    assert shop.now <= added_at + FIRST_S + 0.1


@pytest.mark.once
def test_a_hundred_thousand_that_leave_are_found_in_half_a_minute() -> None:
    shop = Shop(100_000, question_s=25e-6)
    shop.run(30.0, lambda _: 1)
    left_at = shop.now
    shop.run(left_at + 30.0, lambda _: 0)
    assert all(publisher.told == ["doubted", "left"] for publisher in shop.publishers)
