# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How often and how late a handler is called again, and what a dead letter says."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gearhorn import AsyncSubscriber, Subscriber, errors
from gearhorn.client.dead_letters import MAX_ERROR_CHARACTERS, DeadLetter, described
from gearhorn.client.message import Message
from gearhorn.client.retries import MAX_PAUSE_S, RetryPolicy
from gearhorn.wire.grabber import Job

DRAWS = 200


def pauses(policy: RetryPolicy, tries: int) -> list[float]:
    drawn = [policy.pause(tries) for _ in range(DRAWS)]
    return [pause for pause in drawn if pause is not None]


@pytest.mark.parametrize(("tries", "whole"), [(1, 0.5), (2, 1), (3, 2), (10, 256), (11, 300)])
def test_pauses_double_up_to_five_minutes_and_leave_half_to_chance(
    tries: int, whole: float
) -> None:
    drawn = pauses(RetryPolicy(retries=20, backoff=0.5), tries)
    assert len(drawn) == DRAWS
    assert all(whole / 2 <= pause <= whole for pause in drawn)
    # Chance is not all but gone.
    assert max(drawn) - min(drawn) > whole / 4


def test_there_are_as_many_pauses_as_retries() -> None:
    assert pauses(RetryPolicy(retries=2), 2)
    assert not pauses(RetryPolicy(retries=2), 3)
    assert not pauses(RetryPolicy(), 1)


def test_any_number_of_retries_and_any_backoff_has_a_pause() -> None:
    for backoff in (1e-9, 3e8):
        for tries in (1, 1100, 1_000_000):
            policy = RetryPolicy(retries=1_000_000, backoff=backoff)
            assert all(0 < pause <= MAX_PAUSE_S for pause in pauses(policy, tries))


@pytest.mark.parametrize("kind", [Subscriber, AsyncSubscriber])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"retries": -1}, errors.ConfigurationError),
        ({"retries": 1.5}, errors.WrongType),
        ({"retries": True}, errors.WrongType),
        ({"backoff": 0}, errors.InvalidSeconds),
        ({"backoff": "1"}, errors.WrongType),
        ({"dead_letter": b"dead"}, errors.WrongType),
        ({"dead_letter": ""}, errors.InvalidTopic),
        ({"dead_letter": "a\nb"}, errors.InvalidTopic),
        ({"dead_letter": "x" * 511}, errors.NameTooLong),
        ({"dead_letter": "__matchmaking"}, errors.ReservedTopic),
        # Each letter that failed would be in a letter that fails.
        ({"dead_letter": "t"}, errors.ConfigurationError),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_at_once(
    kind: Any, options: Any, error: type[errors.GearhornError]
) -> None:
    with pytest.raises(error):
        kind("127.0.0.1:1", "bob").on("t", **options)


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such office"), "ValueError: no such office"),
        (KeyError("żółw"), "KeyError: 'żółw'"),
        (ValueError(), "ValueError: "),
        (OSError(f"no {os.fsdecode(b'caf' + bytes([0xE9]))}"), r"OSError: no caf\udce9"),
        (Unreadable(), "Unreadable: its text cannot be read"),
    ],
)
def test_an_error_is_told_by_its_class_and_text(error: Exception, text: str) -> None:
    assert described(error) == text


def test_a_long_error_is_cut() -> None:
    text = described(ValueError("ż" * 5000))
    assert len(text) == MAX_ERROR_CHARACTERS
    assert text.startswith("ValueError: żż")


def letter(payload: bytes, *, unique: bytes = b"u", handle: bytes = b"H:vm:1") -> DeadLetter:
    job = SimpleNamespace(
        data=payload,
        unique=unique,
        handle=handle,
        function=b"t_bob",
        connection=SimpleNamespace(server="127.0.0.1:4730"),
    )
    message = Message(cast(Job, job), "t", "bob", lambda job, answer: None)
    return DeadLetter(message, "dead", 3, ValueError("no"))


def name(of: DeadLetter) -> str:
    return str(json.loads(of.request.encode())["id"])


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"hello", {"payload": "hello"}),
        (b"", {"payload": ""}),
        (b'{"a": 1}', {"payload": '{"a": 1}'}),
        ("ż\0".encode(), {"payload": "ż\0"}),
        (b"\xff", {"payload": "/w==", "encoding": "base64"}),
    ],
)
def test_a_letter_has_these_keys_and_no_others(payload: bytes, shown: dict[str, Any]) -> None:
    request = json.loads(letter(payload).request.encode())
    value = request.pop("payload")
    assert request == {"topic": "dead", "id": name(letter(payload)), "background": True}
    assert value.pop("time") > 0
    head = {"topic": "t", "client_id": "bob", "attempts": 3, "error": "ValueError: no"}
    assert value == head | shown
    short = json.loads(letter(payload).short_request().encode())["payload"]
    assert short.pop("time") > 0
    assert short == head | {"payload_omitted": len(payload)}


def test_a_letter_of_a_message_in_a_journal_has_its_number() -> None:
    value = json.loads(letter(b"hello", unique=b"j.65f0.12.1").request.encode())["payload"]
    assert (value["journal"], value["sequence"]) == ("65f0", 12)


def test_the_unique_of_a_letter_is_that_of_its_message() -> None:
    one = name(letter(b"a"))
    assert one == name(letter(b"a", handle=b"H:vm:2"))
    assert one != name(letter(b"a", unique=b"v"))
    # A publisher may use a unique again, for another message.
    assert one != name(letter(b"b"))
    # Without one the server's handle takes its place.
    handles = {name(letter(b"a", unique=b"", handle=handle)) for handle in (b"H:vm:1", b"H:vm:2")}
    assert len(handles) == 2
    assert all(len(each) <= 48 for each in {one, *handles})
