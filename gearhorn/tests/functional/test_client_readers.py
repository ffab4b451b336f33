# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Readers of journals, and subscribers that begin with what is there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn

import pytest

from gearhorn import (
    AsyncPublisher,
    AsyncReader,
    AsyncSubscriber,
    Publisher,
    Reader,
    Subscriber,
    errors,
)
from gearhorn.client.journal import asking
from gearhorn.client.journal.entries import Entry
from gearhorn.tests.builders import message
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.subscribing import Running, running
from gearhorn.tests.processes import eventually


def publish(topic: Topic, *numbers: int) -> None:
    for number in numbers:
        assert topic.publish(str(number), background=True).completed


class OfThreads:
    """A reader of either kind, used as that for threads."""

    def __init__(self, reader: AsyncReader) -> None:
        self._reader = reader
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> OfThreads:
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.run_until_complete(self._reader.close())
        self._loop.close()

    def __iter__(self) -> Iterator[Entry]:
        entries: AsyncIterator[Entry] = self._reader.__aiter__()
        while True:
            try:
                yield self._loop.run_until_complete(anext(entries))
            except StopAsyncIteration:
                return

    @property
    def after(self) -> int:
        return self._reader.after


@pytest.fixture(params=["Reader", "AsyncReader"])
def kind(request: pytest.FixtureRequest) -> Any:
    if request.param == "Reader":
        return Reader
    return lambda *arguments, **options: OfThreads(AsyncReader(*arguments, **options))


def test_a_reader_yields_what_is_there_and_goes_on_from_there(journaled: Topic, kind: Any) -> None:
    publish(journaled, 1, 2)
    request = message(journaled.name, "/w==", encoding="base64", background=True)
    assert journaled.client.submit("fanout", request).completed
    with kind(journaled.server.address, journaled.name) as reader:
        one, two, three = reader
        assert (one.topic, one.sequence, one.text, one.json()) == (journaled.name, 1, "1", 1)
        assert three.payload == b"\xff"
        assert one.published <= two.published <= three.published
        assert {one.gap, one.trimmed, one.reset} == {False}
        assert [*reader] == []
        publish(journaled, 4, 5)
        assert next(iter(reader)).text == "4"
        assert [entry.text for entry in reader] == ["5"]
        assert reader.after == 5
    with kind(journaled.server.address, journaled.name, after=3) as reader:
        assert [entry.sequence for entry in reader] == [4, 5]


def test_more_than_one_answer_holds_is_read(journaled: Topic, kind: Any) -> None:
    with Publisher(journaled.server.address) as publisher:
        many = ((journaled.name, str(number)) for number in range(1, 2502))
        assert all(publisher.publish_many(many, background=True))
    with kind(journaled.server.address, journaled.name) as reader:
        assert [entry.sequence for entry in reader] == [*range(1, 2502)]


def test_a_reader_that_follows_gets_what_comes(journaled: Topic, kind: Any) -> None:
    publish(journaled, 1)
    with kind(journaled.server.address, journaled.name, follow=True) as reader:
        entries = iter(reader)
        assert next(entries).text == "1"
        for number in (2, 3):
            publish(journaled, number)
            assert next(entries).text == str(number)


def test_closing_a_reader_ends_an_iteration_that_waits(journaled: Topic) -> None:
    publish(journaled, 1)
    reader = Reader(journaled.server.address, journaled.name, follow=True)
    seen: list[Any] = []

    def read() -> None:
        try:
            for entry in reader:
                seen.append(entry.text)
        except errors.Closed:
            seen.append("closed")

    thread = threading.Thread(target=read)
    thread.start()
    eventually(lambda: seen == ["1"])
    reader.close()
    thread.join(20)
    assert seen == ["1", "closed"]


def test_closing_a_reader_ends_its_pause_after_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    async def nobody_answers(*question: object) -> NoReturn:
        asked.set()
        raise errors.NoAnswer("no daemon answered in time")

    monkeypatch.setattr(asking, "read", nobody_answers)
    reader = Reader("127.0.0.1:1", "topic", follow=True)
    ended: list[BaseException] = []

    def read() -> None:
        try:
            next(iter(reader))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert asked.wait(20)
    reader.close()
    thread.join(20)
    assert [type(error) for error in ended] == [errors.Closed]


def test_what_is_gone_and_another_journal_are_told(journaled: Topic, kind: Any) -> None:
    journaled.name = f"few-{journaled.name}"
    publish(journaled, 1, 2, 3)
    with kind(journaled.server.address, journaled.name) as reader:
        (entry,) = reader
        assert (entry.sequence, entry.trimmed, entry.gap, entry.reset) == (3, True, False, False)
    with kind(journaled.server.address, journaled.name, after=2, journal="65f0") as reader:
        (entry,) = reader
        assert (entry.sequence, entry.reset) == (3, True)


def test_before_the_first_message_there_is_nothing(journaled: Topic, kind: Any) -> None:
    with kind(journaled.server.address, journaled.name, follow=False) as reader:
        assert [*reader] == []


def test_a_topic_without_a_journal_cannot_be_read(topic: Topic, kind: Any) -> None:
    for follow in (False, True):
        with (
            kind(topic.server.address, topic.name, follow=follow) as reader,
            pytest.raises(errors.NoJournal),
        ):
            next(iter(reader))


@pytest.mark.parametrize("reader", [Reader, AsyncReader])
@pytest.mark.parametrize(
    ("topic", "options", "error"),
    [
        ("", {}, errors.InvalidTopic),
        (b"t", {}, errors.WrongType),
        ("t", {"after": -1}, errors.InvalidPosition),
        ("t", {"after": 2**53}, errors.InvalidPosition),
        ("t", {"after": "1"}, errors.WrongType),
        ("t", {"journal": 1}, errors.WrongType),
        ("t", {"connect_timeout": 0}, errors.InvalidSeconds),
        ("t", {"function": ""}, errors.ConfigurationError),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_at_once(
    reader: Any, topic: Any, options: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        reader("127.0.0.1:1", topic, **options)


def test_a_server_that_is_away_is_an_error(kind: Any) -> None:
    with (
        kind("127.0.0.1:1", "t", connect_timeout=0.1) as reader,
        pytest.raises(errors.NoServer),
    ):
        next(iter(reader))


@pytest.mark.parametrize("subscriber", [Subscriber, AsyncSubscriber])
@pytest.mark.parametrize(("start", "first"), [("first", 1), ("last", 3), ("new", 4)])
def test_a_subscriber_begins_with_what_is_there(
    journaled: Topic, subscriber: Any, start: Any, first: int
) -> None:
    publish(journaled, 1, 2, 3)
    seen: list[str] = []
    bob = subscriber(journaled.server.address, "bob")
    bob.on(journaled.name, start=start)(lambda message: seen.append(message.text))
    with running(bob):
        eventually(lambda: len(seen) == 4 - first)
        eventually(lambda: journaled.reached() == 1)
        eventually(lambda: len(seen) == 5 - first)
    assert seen == [*map(str, range(first, 4)), ""]


def test_a_subscriber_whose_queue_is_full_asks_for_the_rest(journaled: Topic) -> None:
    with Publisher(journaled.server.address) as publisher:
        many = ((journaled.name, str(number)) for number in range(1, 251))
        assert all(publisher.publish_many(many, background=True))
    seen: list[int] = []
    bob = Subscriber(journaled.server.address, "bob", max_waiting=100)
    bob.on(journaled.name, start="first")(lambda message: seen.append(int(message.text)))
    with running(bob):
        eventually(lambda: len(seen) >= 250, 60)
    assert sorted({*seen}) == [*range(1, 251)]


@pytest.mark.parametrize(
    ("start", "error"),
    [
        ("firsts", errors.InvalidStart),
        ({"after": 1}, errors.InvalidStart),
        ({"after": -1, "journal": "65f0"}, errors.InvalidStart),
        ({"after": object(), "journal": "65f0"}, errors.InvalidStart),
        (1, errors.WrongType),
    ],
    ids=["word", "no journal", "below 0", "no number", "number"],
)
def test_a_start_that_is_none_is_refused_at_once(start: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Subscriber("127.0.0.1:1", "bob").on("t", start=start)


def test_a_start_on_a_topic_without_a_journal_ends_the_subscriber(topic: Topic) -> None:
    bob = Subscriber(topic.server.address, "bob")
    bob.on(topic.name, start="first")(lambda message: None)
    attempt = Running(bob)
    attempt.join()
    assert isinstance(attempt.raised, errors.NoJournal)


def test_a_message_that_is_published_again_with_its_id_is_the_same(journaled: Topic) -> None:
    with Publisher(journaled.server.address) as publisher:
        first = publisher.publish(journaled.name, "hello", id="memo-1", background=True)
        again = publisher.publish(journaled.name, "hello", id="memo-1", background=True)
        other = publisher.publish(journaled.name, "hello", background=True)
        assert (again.sequence, again.duplicate) == (first.sequence, True)
        assert other.sequence == 2
        many: list[Any] = [(journaled.name, "hello", None, "memo-1"), (journaled.name, "hello")]
        reports = [*publisher.publish_many(many, background=True)]
        assert [report.sequence for report in reports] == [1, 3]
        for wrong in ("", "x" * 129, "\ud800"):
            with pytest.raises(errors.InvalidId):
                publisher.publish(journaled.name, "hello", id=wrong)


async def test_so_it_is_on_asyncio(journaled: Topic) -> None:
    async with AsyncPublisher(journaled.server.address) as publisher:
        for _ in range(2):
            report = await publisher.publish(journaled.name, "hello", id="memo-1", background=True)
            assert report.sequence == 1
