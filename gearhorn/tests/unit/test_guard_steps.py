# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Long lists are gone through in steps, and messages that come in between count as any."""

from __future__ import annotations

from collections.abc import Callable

from gearhorn.daemon.guard.assessing import PIECE
from gearhorn.daemon.guard.guard import Guard
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.recipients import Recipients
from gearhorn.tasks import Steps, at_once
from gearhorn.tests.unit.guard_world import SERVER
from gearhorn.wire.look import Look

NAMES = [f"c{number}" for number in range(20 * PIECE)]
MOST = 100


class Long:
    """A topic with a long list, and a guard whose long work is done when the test says so."""

    def __init__(self) -> None:
        self.guard = Guard(
            LimitSettings(max_waiting=MOST, warn_waiting=0),
            uncounted_topic="__matchmaking",
            servers=lambda: [SERVER],
            daemons=lambda: 1,
            max_topics=10,
        )
        self.work: list[Steps[None]] = []
        self.guard.on_work = self.work.append
        self.recipients = self.list()
        self.time = 0.0

    def list(self) -> Recipients:
        return Recipients.of("t", NAMES, 0.0)

    def send(self, messages: int = 1) -> int:
        """Send messages, and return how many queues the last was left out of."""
        for _ in range(messages):
            left = self.guard.admit(self.recipients, 1)
        return left.refused_count

    def look(self, depth: Callable[[int], int], workers: int = 1) -> Steps[object]:
        queues = self.recipients.whole.queues
        jobs = {queue: depth(number) for number, queue in enumerate(queues) if depth(number)}
        self.time += 1
        asked = self.guard.asked(SERVER, self.time, ([], 0))
        return self.guard.take(SERVER, Look(jobs, {}, dict.fromkeys(queues, workers)), asked)


def test_a_long_list_is_gone_through_in_pieces_and_its_result_comes_at_once() -> None:
    topic = Long()
    at_once(topic.guard.prepare(topic.recipients))
    topic.send()
    full = topic.look(lambda number: MOST if number % 2 else 1)
    steps = 0
    left_out = set()
    for _ in full:
        steps += 1
        left_out.add(topic.send())
    # One after the other: the list, what is left of it, what is full, what the log names.
    assert steps > 2 * len(NAMES) / PIECE
    # Until the last queue was gone through nothing is left out, and from then on all that are full.
    assert left_out == {0, len(NAMES) // 2}
    assert topic.guard.seen.server(SERVER).full.keys() == {
        queue for number, queue in enumerate(topic.recipients.whole.queues) if number % 2
    }
    assert not topic.work


def test_a_list_that_is_read_again_leaves_out_at_once_what_is_full() -> None:
    topic = Long()
    at_once(topic.guard.prepare(topic.recipients))
    topic.send()
    at_once(topic.look(lambda number: MOST))
    assert topic.send() == len(NAMES)
    topic.recipients = topic.list()
    at_once(topic.guard.prepare(topic.recipients))
    assert topic.send() == len(NAMES)
    # Also where nobody has prepared it.
    topic.recipients = topic.list()
    assert topic.send() == len(NAMES)


def test_a_list_that_comes_while_another_is_gone_through_counts() -> None:
    topic = Long()
    at_once(topic.guard.prepare(topic.recipients))
    topic.send()
    steps = topic.look(lambda number: MOST)
    for _ in range(5):
        next(steps)
    topic.recipients = topic.list()
    at_once(topic.guard.prepare(topic.recipients))
    at_once(steps)
    assert topic.send() == len(NAMES)


def test_a_look_that_comes_while_a_list_is_gone_through_counts() -> None:
    topic = Long()
    preparing = topic.guard.prepare(topic.recipients)
    next(preparing)
    at_once(topic.look(lambda number: MOST))
    at_once(preparing)
    assert topic.send() == len(NAMES)


def test_what_is_sent_while_absent_queues_are_found_full_is_not_forgotten() -> None:
    topic = Long()
    at_once(topic.guard.prepare(topic.recipients))
    topic.send()
    # Nobody serves the queues: the first have less room than the others.
    queues = topic.recipients.whole.queues
    jobs = {queue: 50 if number < PIECE else 40 for number, queue in enumerate(queues)}
    asked = topic.guard.asked(SERVER, 1.0, ([], 0))
    at_once(topic.guard.take(SERVER, Look(jobs, {}, {}), asked))
    topic.send(50)
    (steps,) = topic.work
    next(steps)
    # These fill all the others.
    topic.send(10)
    at_once(steps)
    assert topic.send() == len(NAMES)


def test_a_long_list_that_nobody_has_prepared_is_gone_through_while_messages_are_sent() -> None:
    topic = Long()
    at_once(topic.look(lambda number: MOST if not number else 0))
    assert topic.send() == 0
    (steps,) = topic.work
    at_once(steps)
    assert topic.send() == 1
