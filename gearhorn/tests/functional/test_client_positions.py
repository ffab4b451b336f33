# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Subscribers with a position, on topics with a journal."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearhorn import AsyncSubscriber, FilePosition, Message, Subscriber, errors
from gearhorn.tests.builders import subscription
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.failing import Failing
from gearhorn.tests.functional.programs import line_of, running_program, tell
from gearhorn.tests.functional.subscribing import Running, running
from gearhorn.tests.processes import eventually

Seen = list[tuple[int | None, str]]


@pytest.fixture(params=[Subscriber, AsyncSubscriber])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def position(tmp_path: Path) -> Iterator[FilePosition]:
    with FilePosition(tmp_path / "positions") as position:
        yield position


@pytest.fixture
def few(journaled: Topic) -> Topic:
    """A topic whose journal keeps the last message."""
    journaled.name = f"few-{journaled.name}"
    return journaled


def handler(seen: Seen) -> Callable[[Message], str]:
    def handle(message: Message) -> str:
        seen.append((message.sequence, message.text))
        return message.text

    return handle


def publish(topic: Topic, *numbers: int) -> None:
    for number in numbers:
        assert topic.publish(str(number), background=True).completed


def numbered(*numbers: int) -> Seen:
    return [(number, str(number)) for number in numbers]


def unique_of(topic: Topic, number: int) -> str:
    """A unique with a number in today's journal, as anybody can make one."""
    outcome = topic.client.submit("fanout_read", {"topic": topic.name})
    return f"j.{outcome.report['journal']}.{number}.1"


def test_a_message_shows_its_number_and_its_journal(journaled: Topic) -> None:
    found: list[tuple[str | None, int | None]] = []
    subscriber = Subscriber(journaled.server.address, "bob")
    journaled.subscribe("bob")
    subscriber.on(journaled.name)(lambda m: found.append((m.journal, m.sequence)))
    with running(subscriber):
        report = journaled.publish("1").report
        journaled.publish("2")
    journal = report["journal"]
    assert found == [(journal, 1), (journal, 2)]


def test_a_message_without_a_journal_has_no_number(topic: Topic) -> None:
    found: list[tuple[str | None, int | None]] = []
    topic.subscribe("bob")
    subscriber = Subscriber(topic.server.address, "bob")
    subscriber.on(topic.name)(lambda m: found.append((m.journal, m.sequence)))
    with running(subscriber):
        assert topic.publish("1").completed
    assert found == [(None, None)]


def test_messages_come_in_order_and_once_over_restarts(
    journaled: Topic, kind: Any, position: FilePosition
) -> None:
    journaled.subscribe("bob")
    seen: Seen = []
    for first in (1, 4, 7):
        publish(journaled, first)
        subscriber = kind(journaled.server.address, "bob", position=position)
        subscriber.on(journaled.name, start="first")(handler(seen))
        with running(subscriber):
            publish(journaled, first + 1)
            report = journaled.publish(str(first + 2), gather=True).report
            assert report["results"] == {"bob": str(first + 2)}
    assert seen == numbered(*range(1, 10))


@pytest.mark.parametrize(
    ("start", "first"),
    [(None, 4), ("new", 4), ("last", 3), ("first", 1), ("after 1", 2), ("another", 1)],
)
def test_where_nothing_is_written_it_begins_where_start_says(
    journaled: Topic, position: FilePosition, start: Any, first: int
) -> None:
    publish(journaled, 1, 2, 3)
    journal = unique_of(journaled, 1).split(".")[1]
    places = {
        "after 1": {"after": 1, "journal": journal},
        "another": {"after": 2, "journal": "65f0"},
    }
    seen: Seen = []
    subscriber = Subscriber(journaled.server.address, "bob", position=position)
    subscriber.on(journaled.name, start=places.get(start, start))(handler(seen))
    with running(subscriber):
        eventually(lambda: position.read(journaled.name, "bob") is not None)
        publish(journaled, 4)
        eventually(lambda: (4, "4") in seen)
    assert seen == numbered(*range(first, 5))


def test_what_was_left_out_of_a_full_queue_is_read_from_the_journal(
    journaled: Topic, kind: Any, position: FilePosition
) -> None:
    seen: Seen = []
    address = journaled.server.address
    options = {"position": position, "max_waiting": 100, "overflow": "skip"}
    subscriber = kind(address, "bob", **options)
    subscriber.on(journaled.name)(handler(seen))
    with running(subscriber):
        eventually(lambda: position.read(journaled.name, "bob") is not None)
    handles = [journaled.start(str(number), background=True) for number in range(1, 301)]
    reports = [journaled.client.finish(handle).report for handle in handles]
    assert sum(report.get("skipped", 0) for report in reports) >= 150
    assert journaled.waiting("bob") <= 150
    subscriber = kind(address, "bob", **options)
    subscriber.on(journaled.name)(handler(seen))
    with running(subscriber):
        eventually(lambda: len(seen) >= 300, 30)
    assert seen == numbered(*range(1, 301))


def test_the_last_message_of_a_quiet_topic_that_was_left_out_is_found(
    journaled: Topic, position: FilePosition
) -> None:
    seen: Seen = []
    subscriber = Subscriber(
        journaled.server.address, "bob", position=position, check_interval=0.2, register=False
    )
    subscriber.on(journaled.name, start="first")(handler(seen))
    publish(journaled, 1)
    with running(subscriber):
        eventually(lambda: seen == numbered(1))
        # Nobody is registered, so that no copy is sent.
        publish(journaled, 2)
        eventually(lambda: seen == numbered(1, 2))


def test_what_is_gone_is_told_and_the_rest_is_seen(
    few: Topic, kind: Any, position: FilePosition, caplog: pytest.LogCaptureFixture
) -> None:
    missed: list[Any] = []
    seen: Seen = []
    for on_missed, first in ((None, 1), (missed.append, 6)):
        subscriber = kind(
            few.server.address, "bob", position=position, on_missed=on_missed, register=False
        )
        subscriber.on(few.name, start="first")(handler(seen))
        publish(few, *range(first, first + 5))
        with running(subscriber):
            eventually(lambda last=first + 4: (last, str(last)) in seen)  # type: ignore[misc]
        if on_missed is None:
            assert f"bob missed the messages 1 to 4 of {few.name}" in caplog.text
    assert seen == numbered(5, 10)
    assert [(each.first, each.last, each.why) for each in missed] == [(6, 9, "trimmed")]
    assert (missed[0].topic, missed[0].client_id) == (few.name, "bob")


def test_a_message_that_failed_moves_the_position_on_and_its_copy_fails_again(
    journaled: Topic, kind: Any, position: FilePosition
) -> None:
    journaled.subscribe("bob")
    seen: Seen = []
    subscriber = kind(journaled.server.address, "bob", position=position)

    @subscriber.on(journaled.name, start="first")  # type: ignore[untyped-decorator]
    def handle(message: Message) -> None:
        seen.append((message.sequence, message.text))
        if message.text == "1":
            raise ValueError

    with running(subscriber):
        assert journaled.publish("1").report["failed"] == {"bob": "receiver_failed"}
        assert journaled.publish("2").completed
        again = [unique_of(journaled, number) for number in (1, 2)]
        outcomes = [
            journaled.client.submit(journaled.queue("bob"), "?", unique=unique) for unique in again
        ]
    assert [outcome.completed for outcome in outcomes] == [False, True]
    assert seen == numbered(1, 2)


def test_a_message_is_tried_again_in_its_place(
    journaled: Topic, kind: Any, position: FilePosition
) -> None:
    seen: Seen = []
    subscriber = kind(journaled.server.address, "bob", position=position)

    @subscriber.on(journaled.name, start="first", retries=2, backoff=0.01)  # type: ignore[untyped-decorator]
    def handle(message: Message) -> None:
        seen.append((message.sequence, message.text))
        if len(seen) in (1, 2):
            raise ValueError

    publish(journaled, 1, 2)
    with running(subscriber):
        eventually(lambda: len(seen) == 4)
    assert seen == numbered(1, 1, 1, 2)


def test_a_number_that_nobody_gave_out_moves_no_position(
    journaled: Topic, position: FilePosition
) -> None:
    journaled.subscribe("bob")
    seen: Seen = []
    subscriber = Subscriber(journaled.server.address, "bob", position=position)
    subscriber.on(journaled.name)(handler(seen))
    with running(subscriber):
        publish(journaled, 1)
        eventually(lambda: seen == numbered(1))
        forged = unique_of(journaled, 1000)
        queue = journaled.queue("bob")
        assert journaled.client.submit(queue, "forged", unique=forged).completed
        # So is one of a journal that never was, and one without any number.
        assert journaled.client.submit(queue, "odd", unique="j.65f0.7.1").completed
        assert journaled.client.submit(queue, "plain").completed
        publish(journaled, 2)
        eventually(lambda: (2, "2") in seen)
    assert seen == [
        *numbered(1),
        (1000, "forged"),
        (7, "odd"),
        (None, "plain"),
        *numbered(2),
    ]


def test_copies_in_any_order_are_seen_in_theirs(journaled: Topic, position: FilePosition) -> None:
    seen: Seen = []
    publish(journaled, *range(1, 11))
    queue = journaled.queue("bob")
    for number in (3, 1, 2, 7, 6, 6, 9):
        journaled.client.start(queue, str(number), True, unique_of(journaled, number))
    subscriber = Subscriber(journaled.server.address, "bob", position=position, register=False)
    subscriber.on(journaled.name, start="first")(handler(seen))
    with running(subscriber):
        eventually(lambda: len(seen) == 10)
        eventually(lambda: journaled.waiting("bob") == 0)
    assert seen == numbered(*range(1, 11))


def test_the_queue_of_a_subscriber_that_is_given_a_position_is_shown_as_it_comes(
    journaled: Topic, position: FilePosition
) -> None:
    journaled.subscribe("bob")
    publish(journaled, 1, 2)
    seen: Seen = []
    subscriber = Subscriber(journaled.server.address, "bob", position=position)
    subscriber.on(journaled.name)(handler(seen))
    with running(subscriber):
        publish(journaled, 3)
        eventually(lambda: len(seen) == 3)
    assert seen == numbered(1, 2, 3)


KILLED = """
    from gearhorn import FilePosition
    subscriber = Subscriber(server, "bob", position=FilePosition(sys.argv[3]))

    @subscriber.on(topic, start="first")
    def handle(message):
        say(message.sequence)
        sys.stdin.readline()

    subscriber.run()
"""


def test_a_subscriber_that_is_killed_again_and_again_sees_all_but_the_one_in_hand_once(
    journaled: Topic, tmp_path: Path
) -> None:
    journaled.subscribe("bob")
    seen: list[int] = []
    publish(journaled, *range(1, 41))
    for last in (10, 11, 30, 40):
        with running_program(
            KILLED, journaled.server.address, journaled.name, tmp_path / "positions"
        ) as program:
            seen.append(int(line_of(program)))
            while seen[-1] != last:
                tell(program)
                seen.append(int(line_of(program)))
    again = [10, 11, 30]
    assert seen == sorted([*range(1, 41), *again])


def test_a_second_subscriber_of_the_same_position_is_refused(
    journaled: Topic, kind: Any, position: FilePosition, tmp_path: Path
) -> None:
    first = kind(journaled.server.address, "bob", position=position)
    first.on(journaled.name)(lambda message: None)
    with running(first):
        eventually(lambda: position.read(journaled.name, "bob") is not None)
        for other in (position, FilePosition(tmp_path / "positions")):
            second = kind(journaled.server.address, "bob", position=other)
            second.on(journaled.name)(lambda message: None)
            attempt = Running(second)
            attempt.join()
            assert isinstance(attempt.raised, errors.PositionInUse)
    # The first one has ended.
    third = kind(journaled.server.address, "bob", position=position)
    seen: Seen = []
    third.on(journaled.name)(handler(seen))
    with running(third):
        assert journaled.publish("1").completed
    assert seen == numbered(1)


class Broken:
    """A position of one's own, which fails."""

    def __init__(self, *, reads: bool) -> None:
        self.reads = reads

    def read(self, topic: str, client_id: str) -> bytes | None:
        if not self.reads:
            return b"no position"
        return None

    def write(self, topic: str, client_id: str, data: bytes) -> None:
        raise OSError("the disk is full")


@pytest.mark.parametrize(
    ("reads", "error"), [(False, errors.PositionUnreadable), (True, OSError)], ids=["read", "write"]
)
def test_a_position_that_fails_ends_the_subscriber_and_takes_no_message(
    journaled: Topic, kind: Any, reads: bool, error: type[Exception]
) -> None:
    journaled.subscribe("bob")
    publish(journaled, 1)
    subscriber = kind(journaled.server.address, "bob", position=Broken(reads=reads))
    subscriber.on(journaled.name)(lambda message: None)
    attempt = Running(subscriber)
    attempt.join()
    assert isinstance(attempt.raised, error)
    assert journaled.waiting("bob") == 1


def test_a_topic_without_a_journal_is_received_as_it_comes(
    topic: Topic, kind: Any, position: FilePosition
) -> None:
    seen: Seen = []
    subscriber = kind(topic.server.address, "bob", position=position)
    subscriber.on(topic.name)(handler(seen))
    topic.subscribe("bob")
    with running(subscriber):
        for text in ("one", "two"):
            assert topic.publish(text).completed
    assert seen == [(None, "one"), (None, "two")]
    assert position.read(topic.name, "bob") is None


def test_large_messages_are_read_from_the_journal(journaled: Topic, position: FilePosition) -> None:
    """In JSON each of these bytes takes six."""
    large = "\x01" * 900_000
    for number in range(3):
        assert journaled.publish(f"{number}{large}", background=True).completed
    seen: list[tuple[int | None, int]] = []
    subscriber = Subscriber(journaled.server.address, "bob", position=position, register=False)
    subscriber.on(journaled.name, start="first")(lambda m: seen.append((m.sequence, len(m.text))))
    with running(subscriber):
        eventually(lambda: len(seen) == 3)
    assert seen == [(number, 900_001) for number in (1, 2, 3)]


def another(topic: Topic) -> Topic:
    other = Topic.__new__(Topic)
    other.__dict__.update(topic.__dict__)
    other.name = f"{topic.name}-other"
    return other


@pytest.mark.parametrize("register", [True, False], ids=["registered", "not registered"])
def test_a_topic_that_was_off_goes_on_where_it_was_and_holds_up_no_other_meanwhile(
    journaled: Topic, kind: Any, position: FilePosition, register: bool
) -> None:
    other = another(journaled)
    subscriber = kind(
        journaled.server.address,
        "bob",
        position=position,
        check_interval=0.2,
        register=register,
    )
    queue = journaled.queue("bob")
    seen: dict[str, Seen] = {journaled.name: [], other.name: []}
    for each in (journaled, other):
        subscriber.on(each.name, start="first")(handler(seen[each.name]))
        publish(each, 1)
    with running(subscriber) as run:
        for first in (1, 4, 7):
            eventually(lambda last=first: seen[journaled.name] == numbered(*range(1, last + 1)))  # type: ignore[misc]
            run.call(lambda: subscriber.off(journaled.name))
            eventually(lambda: journaled.server.admin.queue(queue).workers == 0)
            for each in (other, journaled):
                publish(each, *range(first + 1, first + 4))
            # Read from the journal, where nobody is registered.
            eventually(lambda last=first: len(seen[other.name]) == last + 3)  # type: ignore[misc]
            assert len(seen[journaled.name]) == first
            run.call(
                lambda: subscriber.on(journaled.name, start="first")(handler(seen[journaled.name]))
            )
        eventually(lambda: len(seen[journaled.name]) == 10)
    assert seen == {journaled.name: numbered(*range(1, 11)), other.name: numbered(*range(1, 11))}


@pytest.mark.parametrize("is_copy", [True, False], ids=["copy", "read"])
def test_a_topic_that_is_off_finishes_the_message_in_hand_and_gives_the_others_back(
    journaled: Topic, kind: Any, position: FilePosition, is_copy: bool
) -> None:
    subscriber = kind(journaled.server.address, "bob", position=position, register=False)
    publish(journaled, *range(1, 6))
    queue = journaled.queue("bob")
    copies = (1, 3, 5) if is_copy else (3, 5)
    for number in copies:
        journaled.client.start(queue, str(number), True, unique_of(journaled, number))
    seen: Seen = []
    go_on = threading.Event()

    async def wait(message: Message) -> None:
        seen.append((message.sequence, message.text))
        assert await asyncio.to_thread(go_on.wait, 20)

    def block(message: Message) -> None:
        seen.append((message.sequence, message.text))
        assert go_on.wait(20)

    def change() -> None:
        """All of it while the first message is in hand."""
        for _ in range(3):
            subscriber.off(journaled.name)
            subscriber.on(journaled.name)(handler(seen))
        subscriber.off(journaled.name)

    subscriber.on(journaled.name, start="first")(wait if kind is AsyncSubscriber else block)
    with running(subscriber) as run:
        eventually(lambda: seen == numbered(1))
        eventually(lambda: journaled.server.admin.queue(queue).running == len(copies))
        run.call(change)
        go_on.set()
        eventually(lambda: journaled.server.admin.queue(queue).workers == 0)
        assert seen == numbered(1)
        eventually(lambda: journaled.waiting("bob") == 2)
        # Once the message in hand is written, the position is free for another subscriber.
        eventually(lambda: not subscriber._reception._positions.leaving)
        assert seen == numbered(1)
        second = kind(journaled.server.address, "bob", position=position, register=False)
        second.on(journaled.name)(handler(seen))
        with running(second):
            eventually(lambda: len(seen) == 5)
            eventually(lambda: journaled.server.admin.queue(queue).total == 0)
    assert seen == numbered(*range(1, 6))


def test_a_topic_that_is_off_and_on_while_a_message_is_in_hand_sees_the_rest_once(
    journaled: Topic, position: FilePosition
) -> None:
    subscriber = Subscriber(journaled.server.address, "bob", position=position, register=False)
    publish(journaled, *range(1, 6))
    queue = journaled.queue("bob")
    for number in (1, 3, 5):
        journaled.client.start(queue, str(number), True, unique_of(journaled, number))
    seen: Seen = []
    go_on = threading.Event()

    @subscriber.on(journaled.name, start="first")
    def handle(message: Message) -> None:
        seen.append((message.sequence, message.text))
        assert go_on.wait(20)

    with running(subscriber):
        eventually(lambda: seen == numbered(1))
        eventually(lambda: journaled.server.admin.queue(queue).running == 3)
        subscriber.off(journaled.name)
        subscriber.on(journaled.name)(handle)
        go_on.set()
        eventually(lambda: len(seen) == 5)
        # The copies that were given back have come again, and are answered.
        eventually(lambda: journaled.server.admin.queue(queue).total == 0)
    assert seen == numbered(*range(1, 6))


def test_one_topic_that_waits_for_a_missing_copy_holds_up_no_other(
    journaled: Topic, position: FilePosition
) -> None:
    """A handler of the one is called while the other waits."""
    other = another(journaled)
    seen: Seen = []
    subscriber = Subscriber(journaled.server.address, "bob", position=position, register=False)
    for each in (journaled, other):
        subscriber.on(each.name, start="first")(handler(seen))
        publish(each, 1, 2)
    for number in (1, 2):
        unique = unique_of(other, number)
        other.client.start(other.queue("bob"), f"other {number}", True, unique)
    journaled.client.start(journaled.queue("bob"), "2", True, unique_of(journaled, 2))
    with running(subscriber):
        eventually(lambda: len(seen) == 4)
    assert [text for _, text in seen if "other" in text] == ["other 1", "other 2"]
    assert [text for _, text in seen if "other" not in text] == ["1", "2"]


def test_a_topic_that_is_never_idle_keeps_no_other_from_what_was_left_out(
    journaled: Topic, kind: Any, position: FilePosition
) -> None:
    busy = another(journaled)
    queue = busy.queue("bob")
    subscriber = kind(
        journaled.server.address, "bob", position=position, check_interval=0.3, register=False
    )
    seen: Seen = []
    subscriber.on(journaled.name, start="first")(handler(seen))

    @subscriber.on(busy.name)  # type: ignore[untyped-decorator]
    def take_long(message: Message) -> None:
        if len(seen) < 3:
            time.sleep(0.01)

    publish(journaled, 1)
    with running(subscriber):
        eventually(lambda: seen == numbered(1))
        for _ in range(2000):
            busy.client.start(queue, "more", True)
        # Nobody is registered, so that no copies are sent.
        publish(journaled, 2, 3)
        eventually(lambda: seen == numbered(1, 2, 3))
        assert busy.waiting("bob") > 0


def test_on_missed_may_be_a_coroutine_function(few: Topic, position: FilePosition) -> None:
    missed: list[Any] = []

    async def on_missed(what: Any) -> None:
        await asyncio.sleep(0)
        missed.append(what)

    publish(few, 1, 2, 3)
    subscriber = AsyncSubscriber(
        few.server.address, "bob", position=position, on_missed=on_missed, register=False
    )
    seen: Seen = []
    subscriber.on(few.name, start="first")(handler(seen))
    with running(subscriber):
        eventually(lambda: seen == numbered(3))
    assert (missed[0].first, missed[0].last) == (1, 2)


def test_several_processes_with_one_client_id_and_no_position_share_its_messages(
    journaled: Topic,
) -> None:
    """Each message goes to one of them, and no order holds between them."""
    journaled.subscribe("bob")
    seen: list[Seen] = [[], []]
    both = threading.Barrier(2)
    runs = []
    for each in seen:
        subscriber = Subscriber(journaled.server.address, "bob")

        @subscriber.on(journaled.name)
        def handle(message: Message, each: Seen = each) -> None:
            if not each:
                both.wait(20)
            each.append((message.sequence, message.text))

        runs.append(Running(subscriber))
    publish(journaled, *range(1, 21))
    eventually(lambda: journaled.waiting("bob") == 0)
    for run in runs:
        run.stop()
        run.join()
    assert all(seen)
    assert sorted(seen[0] + seen[1]) == numbered(*range(1, 21))


def test_a_copy_without_a_unique_that_fails_for_good_has_its_letter(
    journaled: Topic, kind: Any, position: FilePosition
) -> None:
    dead = f"dead-{journaled.name}"
    request = subscription(dead, "ops")
    assert journaled.client.submit("register_fanout_subscriber", request).completed
    journaled.subscribe("bob")
    subscriber = kind(journaled.server.address, "bob", position=position)
    subscriber.on(journaled.name, dead_letter=dead)(Failing())
    with running(subscriber):
        # Anybody may submit to a queue.
        for _ in range(2):
            journaled.client.submit(journaled.queue("bob"), "hello")
    with journaled.peer() as worker:
        worker.can_do(f"{dead}_ops")
        assert [json.loads(data)["payload"] for data in worker.take(2)] == ["hello", "hello"]
