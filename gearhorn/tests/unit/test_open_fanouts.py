# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The bounds of foreground fan-outs that are open."""

from __future__ import annotations

import pytest

from gearhorn import errors
from gearhorn.daemon.open_fanouts import OpenBounds, OpenFanOuts


def full(bounds: OpenBounds, topics: int, copies: int = 1, waiting_bytes: int = 0) -> OpenFanOuts:
    """Open fan-outs to this many topics in turn, until no more are taken."""
    every = OpenFanOuts(bounds)
    number = 0
    try:
        while True:
            every.enter(f"topic{number % topics}", copies, waiting_bytes)
            number += 1
    except errors.TooManyOpen:
        return every


def test_all_topics_together_fill_each_bound() -> None:
    assert full(OpenBounds(fanouts=100), 4).fanouts == 100
    assert full(OpenBounds(copies=1000), 4, copies=10).copies == 1000
    assert full(OpenBounds(waiting_bytes=1000), 4, waiting_bytes=100).waiting_bytes == 1000


def test_one_topic_has_half_of_each() -> None:
    assert full(OpenBounds(fanouts=100), 1).fanouts == 50
    assert full(OpenBounds(copies=1000), 1, copies=10).copies == 500
    assert full(OpenBounds(waiting_bytes=1000), 1, waiting_bytes=100).waiting_bytes == 500


def test_others_go_on_when_one_topic_has_its_half() -> None:
    every = full(OpenBounds(fanouts=100), 1)
    every.enter("other", 1)
    with pytest.raises(errors.TooManyOpen, match="the topic has 50 open foreground fan-outs"):
        every.enter("topic0", 1)


def test_whoever_is_alone_is_never_refused() -> None:
    every = OpenFanOuts(OpenBounds(fanouts=1, copies=10, waiting_bytes=10))
    every.enter("huge", 1000, 1000)
    with pytest.raises(errors.TooManyOpen, match="the daemon has 1 open"):
        every.enter("other", 1)
    # The first of its topic, within what all may have.
    every = OpenFanOuts(OpenBounds(copies=100))
    every.enter("small", 1)
    every.enter("large", 90)
    with pytest.raises(errors.TooManyOpen, match="the topic has 1 open"):
        every.enter("large", 1)


def test_bounds_are_not_for_one_that_waits_for_a_server() -> None:
    every = full(OpenBounds(fanouts=10), 1)
    every.enter("topic0", 1, bound=False)
    assert every.fanouts == 6


def test_answers_and_ends_give_room_back() -> None:
    every = OpenFanOuts(OpenBounds(copies=20, waiting_bytes=100))
    place = every.enter("t", 10, 50)
    with pytest.raises(errors.TooManyOpen):
        every.enter("t", 1)
    place.begin(12)
    assert (every.copies, every.waiting_bytes) == (12, 0)
    for _ in range(5):
        place.answered()
    assert every.copies == 7
    other = every.enter("t", 1)
    place.leave()
    other.leave()
    assert (every.fanouts, every.copies, every.crowds) == (0, 0, {})


def test_other_bounds_hold_from_the_next_one_on() -> None:
    every = full(OpenBounds(fanouts=100, out=1), 1)
    every.apply(OpenBounds(fanouts=10, out=1))
    assert every.fanouts == 50
    with pytest.raises(errors.TooManyOpen):
        every.enter("other", 1)
    every.apply(OpenBounds(fanouts=1000, out=1))
    every.enter("other", 1)


def test_a_wider_bound_of_a_topic_gives_turns_to_those_that_wait() -> None:
    every = OpenFanOuts(OpenBounds(out=1))
    turns: list[str] = []
    every.on_turn = lambda crowd: turns.append(crowd.topic)
    for topic in ("busy", "idle"):
        place = every.enter(topic, 1)
        place.begin(1)
    every.crowds["busy"].waiting["one that waits"] = None
    every.apply(OpenBounds(out=1))
    assert turns == []
    every.apply(OpenBounds(out=2))
    assert turns == ["busy"]
