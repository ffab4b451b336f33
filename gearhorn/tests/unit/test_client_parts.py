# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The pieces that subscribers are made of."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gearhorn import errors
from gearhorn.client.inbox import Inbox
from gearhorn.client.message import Message
from gearhorn.client.pace import AHEAD_MAX, Pace
from gearhorn.wire.grabber import Job


def new_message(data: bytes) -> tuple[Message, list[bytes | None]]:
    answers: list[bytes | None] = []
    job = cast(Job, SimpleNamespace(data=data, unique=b"u\xc5\xbc", handle=b"H:vm:1"))
    return Message(job, "t", "bob", lambda job, answer: answers.append(answer)), answers


def test_a_message_shows_its_payload() -> None:
    message, _ = new_message('{"a": "ż"}'.encode())
    assert message.payload == '{"a": "ż"}'.encode()
    assert message.text == '{"a": "ż"}'
    assert message.json() == {"a": "ż"}
    assert (message.topic, message.client_id) == ("t", "bob")
    assert (message.unique, message.handle) == ("uż", "H:vm:1")
    assert "'t' for 'bob'" in repr(message)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_payload_that_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        new_message(data)[0].json()


@pytest.mark.parametrize(
    ("result", "sent"),
    [
        (None, b""),
        (b"\xff\0", b"\xff\0"),
        ("ż", "ż".encode()),
        ({"a": 1}, b'{"a":1}'),
        (0, b"0"),
        (False, b"false"),
    ],
)
def test_results_are_sent_as_they_are(result: Any, sent: bytes) -> None:
    message, answers = new_message(b"")
    message.ack(result)
    assert answers == [sent]


def test_a_message_is_answered_once() -> None:
    message, answers = new_message(b"")
    with pytest.raises(errors.InvalidResult):
        message.ack(object())
    message.fail()
    for again in (message.ack, message.fail):
        with pytest.raises(errors.AlreadyAnswered):
            again()
    # As the end of a handler that has answered for itself.
    message.settle(b"late")
    assert answers == [None]


def test_fast_handlers_have_many_messages_fetched_ahead_and_slow_ones_few() -> None:
    pace = Pace()
    assert pace.ahead(1) == 1
    for _ in range(200):
        pace.note(0.000002)
    assert pace.ahead(1) == AHEAD_MAX
    pace.note(2.0)
    assert pace.ahead(1) == 1
    for _ in range(500):
        pace.note(0.005)
    assert pace.ahead(1) == pytest.approx(10, abs=1)
    assert pace.ahead(4) == pytest.approx(40, abs=1)


def test_an_inbox_hands_out_each_item_once_to_many_threads() -> None:
    inbox: Inbox[int] = Inbox(lambda: None)
    taken: list[int] = []

    def take() -> None:
        while (item := inbox.get()) is not None:
            taken.append(item)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for start in range(0, 20_000, 5):
        inbox.put(range(start, start + 5))
    inbox.close()
    for thread in threads:
        thread.join(10)
    assert sorted(taken) == list(range(20_000))


def test_an_inbox_says_when_it_is_empty() -> None:
    empty = threading.Event()
    inbox: Inbox[int] = Inbox(empty.set)
    inbox.put([1])
    assert inbox.get() == 1
    assert not empty.is_set()
    inbox.close()
    assert inbox.get() is None
    assert empty.is_set()
