# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Samples of queues: their states, how long they were not empty, and which topics are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearhorn.daemon.guard import sample as sampling
from gearhorn.daemon.guard.sample import (
    MOST_CHARACTERS,
    STATES,
    Queue,
    Sample,
    Samples,
    TopicSample,
    names,
    shown_name,
)
from gearhorn.tasks import at_once
from gearhorn.wire.look import Look


def look(**queues: tuple[int, int, int]) -> Look:
    """A look at queues with so many jobs, of which some run, and workers."""
    rows = {name.encode(): numbers for name, numbers in queues.items()}
    jobs, running, workers = (
        {name: numbers[index] for name, numbers in rows.items() if numbers[index]}
        for index in range(3)
    )
    return Look(jobs, running, workers)


NOTHING = (0, 0, 0)


@pytest.mark.parametrize(
    ("one", "two", "state"),
    [
        (NOTHING, NOTHING, "idle"),
        ((0, 0, 2), NOTHING, "idle"),
        # All that is there is done.
        ((2, 2, 2), NOTHING, "idle"),
        ((3, 2, 2), NOTHING, "backlogged"),
        ((3, 0, 2), (1, 1, 1), "backlogged"),
        ((3, 0, 0), NOTHING, "unread"),
        ((3, 0, 0), (1, 0, 0), "unread"),
        ((3, 0, 0), (0, 0, 1), "half_read"),
        ((0, 0, 1), (3, 0, 0), "half_read"),
        # It lives on the first server, and nobody else need be there.
        ((3, 0, 1), NOTHING, "backlogged"),
        # The last worker of one server has gone, and left nothing that waits.
        ((1, 1, 0), (1, 0, 1), "backlogged"),
    ],
)
def test_the_state_of_a_queue(
    one: tuple[int, int, int], two: tuple[int, int, int], state: str
) -> None:
    queue = Queue.seen(b"t_bob", [look(t_bob=one), look(t_bob=two)])
    assert queue.state == state
    assert queue.running == one[1] + two[1]
    assert queue.waiting == one[0] + two[0] - queue.running
    assert queue.workers == one[2] + two[2]


def test_each_queue_comes_once_whichever_servers_have_it() -> None:
    looks = [
        look(a=(1, 0, 0), b=(0, 0, 1), c=(1, 0, 1), idle=NOTHING),
        look(a=(1, 0, 1), d=(0, 0, 1)),
        look(b=(1, 0, 1), d=(1, 0, 0), e=(1, 0, 0)),
    ]
    assert sorted(names(looks)) == [b"a", b"b", b"c", b"d", b"e"]


class Sampled:
    """Samples of one server, one each ten seconds, of the queues of topics and of nobody."""

    def __init__(self, most: int = 20) -> None:
        self.samples = Samples(most)
        self.now = 1_000.0

    def take(self, sizes: Mapping[str, int], orphans: Iterable[str] = (), **queues: Any) -> Sample:
        """Take a sample. A queue's topic is what comes before the first ``_``."""
        self.now += 10
        looks = [look(**queues)]
        count = self.samples.begin(self.now)
        for name in names(looks):
            text = name.decode()
            topic = None if text in orphans else text.partition("_")[0]
            count.add(name, Queue.seen(name, looks), topic)
        return at_once(self.samples.end(count, self.now, sizes, complete=True))

    def waiting(self, **topics: int) -> list[str]:
        """Take a sample of topics with so much waiting; return those that are shown."""
        queues = {f"{topic}_bob": (count, 0, 1) for topic, count in topics.items()}
        found = self.take(dict.fromkeys(topics, 1), (), **queues)
        return [topic.name for topic in found.top]


def test_a_sample_has_all_queues_of_subscribers_and_those_of_nobody() -> None:
    found = Sampled().take(
        {"memos": 5, "news": 1},
        ["memos_gone"],
        memos_alice=(3, 1, 2),
        memos_bob=(7, 0, 0),
        memos_carol=(0, 0, 1),
        news_bob=(1, 1, 1),
        memos_gone=(9, 0, 0),
    )
    assert (found.topics, found.subscriptions) == (2, 6)
    assert (found.waiting, found.running) == (2 + 7 + 9, 1 + 1)
    # Two of memos were not seen at all.
    assert found.states == {
        "idle": 4,
        "backlogged": 1,
        "unread": 1,
        "half_read": 0,
        "orphaned": 1,
    }
    assert found.deepest == 9
    assert found.top == [TopicSample("memos", 9, 3, 1, 0.0)]


def test_nothing_at_all_has_its_zeros() -> None:
    found = Sampled().take({})
    assert found == Sample(True, 0, 0, 0, 0, dict.fromkeys(STATES, 0), 0, 0.0, [])


def test_how_long_a_queue_was_not_seen_empty() -> None:
    sampled = Sampled()
    sizes = {"memos": 2, "news": 1}
    took = []
    for memos_bob, news_bob in ((0, 0), (1, 0), (5, 0), (2, 1), (0, 1), (1, 1)):
        found = sampled.take(sizes, memos_bob=(memos_bob, 0, 1), news_bob=(news_bob, 0, 1))
        by_topic = {topic.name: topic.nonempty_s for topic in found.top}
        took.append((found.nonempty_s, by_topic.get("memos"), by_topic.get("news")))
    assert took == [
        (0, None, None),
        # Since the last time that it was empty: no copy in it can be older.
        (10, 10, None),
        (20, 20, None),
        (30, 30, 10),
        (20, 0, 20),
        (30, 10, 30),
    ]


def test_what_waited_before_the_first_sample_counts_from_it() -> None:
    sampled = Sampled()
    assert sampled.take({"memos": 1}, memos_bob=(1, 0, 0)).nonempty_s == 0
    assert sampled.take({"memos": 1}, memos_bob=(1, 0, 0)).nonempty_s == 10


# The topics that are shown.


def test_the_topics_with_most_waiting_are_shown_the_most_first() -> None:
    sampled = Sampled(most=2)
    assert sampled.waiting(a=1, b=3, c=2) == ["b", "c"]
    assert sampled.waiting(a=0, b=3, c=4) == ["c", "b"]


def test_a_topic_leaves_after_three_samples_without_it_among_those_with_most() -> None:
    sampled = Sampled(most=2)
    assert sampled.waiting(a=1, b=3, c=2) == ["b", "c"]
    # There are never more than two, and series do not come and go.
    assert sampled.waiting(a=9, b=3, c=2) == ["b", "c"]
    assert sampled.waiting(a=9, b=3, c=2) == ["b", "c"]
    assert sampled.waiting(a=9, b=3, c=2) == ["a", "b"]
    assert sampled.waiting(a=9, b=3, c=4) == ["a", "b"]
    assert sampled.waiting(a=9, b=4, c=3) == ["a", "b"]
    assert sampled.waiting(a=9, b=3, c=4) == ["a", "b"]
    assert sampled.waiting(a=9, b=3, c=4) == ["a", "b"]
    assert sampled.waiting(a=9, b=3, c=4) == ["a", "c"]


def test_a_topic_with_most_is_not_kept_out_by_others_that_take_turns() -> None:
    sampled = Sampled(most=2)
    assert sampled.waiting(a=2, b=1, c=0) == ["a", "b"]
    shown = [sampled.waiting(a=1 + n % 2, b=2 - n % 2, c=9) for n in range(3)]
    assert shown[:2] == [["b", "a"], ["a", "b"]]
    assert "c" in shown[2]


def test_a_topic_in_which_nothing_waits_is_shown_with_zeros_for_a_while() -> None:
    sampled = Sampled()
    assert sampled.waiting(a=1, b=0) == ["a"]
    found = [sampled.take({"a": 1, "b": 1}).top for _ in range(3)]
    assert found == [[TopicSample("a")], [TopicSample("a")], []]


def test_a_topic_without_subscribers_is_gone_at_once() -> None:
    sampled = Sampled()
    assert sampled.waiting(a=1, b=1) == ["a", "b"]
    assert sampled.waiting(b=1) == ["b"]


def test_there_are_never_more_than_so_many_whatever_happens() -> None:
    sampled = Sampled(most=3)
    for number in range(50):
        assert len(sampled.waiting(**{f"t{number + i}": i + 1 for i in range(10)})) == 3


# Names.


@given(st.text(min_size=1))
def test_a_name_that_is_shown_is_short_and_printable(topic: str) -> None:
    topic = topic.encode("utf-8", "replace").decode()
    name = shown_name(topic)
    assert len(name) <= MOST_CHARACTERS
    assert name.isprintable()
    assert shown_name(topic) == name


def test_long_names_are_cut_and_stay_two() -> None:
    assert shown_name("x" * 80) == "x" * 80
    one, two = shown_name("x" * 81), shown_name("x" * 82)
    assert one != two
    assert len(one) == len(two) == 80
    assert one.startswith("x" * 71 + "~")


def test_a_name_with_what_is_not_to_be_seen_is_no_other_name() -> None:
    assert shown_name("a\u202e") != shown_name("a\\u202e")
    assert shown_name("a\\u202e") == "a\\u202e"


# Cost.


def test_many_topics_are_gone_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_PIECE", 10)
    samples = Samples(5)
    looks = [look(**{f"t{n}_bob": (n, 0, 0) for n in range(1, 101)})]
    count = samples.begin(1.0)
    for name in names(looks):
        count.add(name, Queue.seen(name, looks), name.decode().partition("_")[0])
    steps = samples.end(count, 1.0, {f"t{n}": 1 for n in range(101)}, complete=True)
    pieces = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found = done.value
            break
        pieces += 1
    assert pieces == 10
    assert [topic.waiting for topic in found.top] == [100, 99, 98, 97, 96]


class Untouched(dict[bytes, int]):
    """A mapping that nobody is to go through."""

    def __iter__(self) -> Iterator[bytes]:
        yield from ()
        raise AssertionError("somebody went through all of it")


def test_the_names_of_a_look_come_one_by_one_and_not_after_a_pass_over_all_of_them() -> None:
    assert next(names([Look({b"t_bob": 1}, {}, Untouched())])) == b"t_bob"
