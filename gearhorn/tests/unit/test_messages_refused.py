# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Requests that are refused, the codes, and the names in the messages."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from gearhorn import errors, messages
from gearhorn.messages import Notice, Register
from gearhorn.tests.unit.decoding import decode, fan_out

LONG_TOPIC = "t" * 511
LONG = "é" * 256

# The function, the request, the code, and what the message must name.
REFUSED: list[tuple[str, bytes | dict[str, Any], str, str]] = [
    ("fanout", b"", "invalid_json", "not JSON"),
    ("fanout", b"{", "invalid_json", "not JSON"),
    ("fanout", b'{"topic": "t", "payload": "\xff"}', "invalid_json", "UTF-8"),
    ("fanout", b'{"topic": "t", "payload": "\\ud800 lone"}', "invalid_json", "not JSON"),
    ("fanout", b'{"topic": "t", "payload": "\\q"}', "invalid_json", "not JSON"),
    ("fanout", b'{"topic": "t", "payload": NaN}', "invalid_json", "not JSON"),
    ("fanout", b'{"topic": "t", "payload": 1} more', "invalid_json", "not JSON"),
    ("register", b'{"a": ' + b'{"a": ' * 100_000, "invalid_json", "deep"),
    (
        "fanout",
        b'{"topic": "t", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "invalid_json",
        "deep",
    ),
    ("fanout", b'\xef\xbb\xbf{"topic": "t", "payload": 1}', "invalid_json", "(BOM) of UTF-8"),
    ("register", '{"topic": "t"}'.encode("utf-16"), "invalid_json", "(BOM) of UTF-16"),
    ("fanout", b'["topic", "t"]', "not_an_object", "JSON object"),
    ("register", b'"topic"', "not_an_object", "JSON object"),
    ("unregister", b"null", "not_an_object", "JSON object"),
    ("notice", b"5", "not_an_object", "JSON object"),
    ("fanout", {"topic": "t", "payload": "p", "Unique": "u"}, "unknown_key", "Unique"),
    ("register", {"topic": "t", "client_id": "c", "payload": "p"}, "unknown_key", "payload"),
    ("unregister", {"topic": "t", "client_id": "c", "ttl": 1}, "unknown_key", "ttl"),
    ("notice", {"topic": "t", "client_id": "c"}, "unknown_key", "client_id"),
    ("fanout", {"payload": "p"}, "missing_key", "topic"),
    ("fanout", {"topic": "t"}, "missing_key", "payload"),
    ("register", {"topic": "t"}, "missing_key", "client_id"),
    ("register", {"client_id": "c"}, "missing_key", "topic"),
    ("unregister", {}, "missing_key", "topic"),
    ("notice", {}, "missing_key", "topic"),
    ("fanout", {"topic": 5, "payload": "p"}, "wrong_type", "topic must be a string"),
    ("fanout", {"topic": None, "payload": "p"}, "wrong_type", "topic must be a string"),
    ("fanout", {"topic": "t", "payload": 1, "unique": 5}, "wrong_type", "unique must be a string"),
    (
        "fanout",
        {"topic": "t", "payload": 1, "priority": []},
        "wrong_type",
        "priority must be a str",
    ),
    (
        "fanout",
        {"topic": "t", "payload": 1, "encoding": {}},
        "wrong_type",
        "encoding must be a str",
    ),
    ("fanout", {"topic": "t", "payload": 1, "timeout": "5"}, "wrong_type", "timeout must be a num"),
    (
        "fanout",
        {"topic": "t", "payload": 1, "timeout": True},
        "wrong_type",
        "timeout must be a num",
    ),
    ("register", {"topic": "t", "client_id": 7}, "wrong_type", "client_id must be a string"),
    (
        "register",
        {"topic": "t", "client_id": "c", "ttl": "1"},
        "wrong_type",
        "ttl must be a number",
    ),
    ("unregister", {"topic": [], "client_id": "c"}, "wrong_type", "topic must be a string"),
    ("notice", {"topic": {}}, "wrong_type", "topic must be a string"),
    ("fanout", {"topic": "", "payload": "p"}, "invalid_topic", "topic must not be empty"),
    ("register", {"topic": "a\tb", "client_id": "c"}, "invalid_topic", "topic"),
    ("unregister", {"topic": "a\x7f", "client_id": "c"}, "invalid_topic", "topic"),
    ("notice", {"topic": "a\x85"}, "invalid_topic", "topic"),
    ("register", {"topic": "t", "client_id": ""}, "invalid_client_id", "client_id"),
    ("register", {"topic": "t", "client_id": "a\0"}, "invalid_client_id", "client_id"),
    ("unregister", {"topic": "t", "client_id": "a\n"}, "invalid_client_id", "client_id"),
    ("fanout", {"topic": LONG_TOPIC, "payload": "p"}, "name_too_long", "topic has 511 bytes"),
    ("register", {"topic": "t", "client_id": "c" * 511}, "name_too_long", "client_id has 511"),
    (
        "register",
        {"topic": "t", "client_id": LONG[:-1] + "c"},
        "name_too_long",
        "client_id has 511",
    ),
    ("register", {"topic": "tt", "client_id": "c" * 510}, "name_too_long", "has 513 bytes"),
    ("unregister", {"topic": "t", "client_id": "c" * 511}, "name_too_long", "client_id"),
    ("notice", {"topic": "t" * 511}, "name_too_long", "topic"),
    ("fanout", {"topic": "t", "payload": 1, "unique": ""}, "invalid_unique", "unique has 0 bytes"),
    ("fanout", {"topic": "t", "payload": 1, "unique": "-"}, "invalid_unique", "unique"),
    ("fanout", {"topic": "t", "payload": 1, "unique": "u\0"}, "invalid_unique", "unique"),
    ("fanout", {"topic": "t", "payload": 1, "unique": "u" * 49}, "invalid_unique", "unique has 49"),
    ("fanout", {"topic": "t", "payload": 1, "unique": "é" * 25}, "invalid_unique", "unique has 50"),
    ("fanout", {"topic": "t", "payload": 1, "timeout": 0}, "invalid_seconds", "timeout"),
    ("fanout", {"topic": "t", "payload": 1, "timeout": -1}, "invalid_seconds", "timeout"),
    ("fanout", {"topic": "t", "payload": 1, "timeout": 1e30}, "invalid_seconds", "timeout"),
    ("register", {"topic": "t", "client_id": "c", "ttl": 0.0}, "invalid_seconds", "ttl"),
    ("register", {"topic": "t", "client_id": "c", "ttl": -5}, "invalid_seconds", "ttl"),
    ("register", {"topic": "t", "client_id": "c", "max_waiting": 99}, "invalid_limits", "100"),
    ("register", {"topic": "t", "client_id": "c", "max_waiting": 2**63}, "invalid_limits", "max_w"),
    ("register", {"topic": "t", "client_id": "c", "max_waiting": 100.5}, "wrong_type", "integer"),
    ("register", {"topic": "t", "client_id": "c", "overflow": "drop"}, "invalid_limits", "refuse"),
    ("register", {"topic": "t", "client_id": "c", "remove_idle": 59}, "invalid_limits", "60 to"),
    ("register", {"topic": "t", "client_id": "c", "remove_idle": -1}, "invalid_limits", "remove_"),
    (
        "register",
        {"topic": "t", "client_id": "c", "remove_idle": "60"},
        "wrong_type",
        "remove_idle",
    ),
    ("register", {"topic": "t", "client_id": "c", "overflow": 1}, "wrong_type", "overflow"),
    ("fanout", {"topic": "t", "payload": 1, "priority": "urgent"}, "invalid_priority", "priority"),
    ("fanout", {"topic": "t", "payload": 1, "priority": "HIGH"}, "invalid_priority", "priority"),
    (
        "fanout",
        {"topic": "t", "payload": "cA==", "encoding": "hex"},
        "invalid_encoding",
        "encoding",
    ),
    ("fanout", {"topic": "t", "payload": "cA==", "encoding": ""}, "invalid_encoding", "encoding"),
    (
        "fanout",
        {"topic": "t", "payload": 1, "background": True, "timeout": 5},
        "background_conflict",
        "timeout",
    ),
    (
        "fanout",
        {"topic": "t", "payload": 1, "background": 1, "gather": "yes"},
        "background_conflict",
        "gather",
    ),
    ("fanout", {"topic": "t", "payloads": [1]}, "batch_conflict", "background"),
    ("query", {}, "missing_key", "query"),
    ("query", {"query": "topics", "limit": "1"}, "wrong_type", "limit must be an integer"),
    ("query", {"query": "everything"}, "invalid_query", "query must be one of"),
    ("query", {"query": "subscribers"}, "invalid_query", "topic"),
    ("query", {"query": "ended", "topic": "t"}, "invalid_query", "topic"),
    ("query", {"query": "topics", "topic": "t"}, "invalid_query", "topic"),
    ("query", {"query": "topics", "limit": 0}, "invalid_query", "limit"),
    ("query", {"query": "topics", "limit": 1001}, "invalid_query", "limit"),
    ("query", {"query": "status", "after": "a"}, "invalid_query", "after"),
]


@pytest.mark.parametrize(("kind", "request_", "code", "named"), REFUSED)
def test_a_bad_request_is_refused_with_a_code_and_names_the_key(
    kind: str, request_: bytes | dict[str, Any], code: str, named: str
) -> None:
    with pytest.raises(errors.RequestError) as refused:
        decode(kind, request_)
    assert refused.value.code == code
    assert named in str(refused.value)


@pytest.mark.parametrize("payload", ["a", "*", "cA==cA==!", "é"])
def test_a_payload_that_is_no_base64_is_refused(payload: str) -> None:
    with pytest.raises(errors.InvalidPayload, match="payload"):
        fan_out(payload=payload, encoding="base64").payload_bytes()


def test_base64_needs_a_string() -> None:
    with pytest.raises(errors.InvalidPayload, match="payload must be a string"):
        fan_out(payload=["cA=="], encoding="base64").payload_bytes()


def codes_below(root: type[errors.GearhornError]) -> set[str]:
    return {root.code}.union(*map(codes_below, root.__subclasses__()))


# These depend on what the daemon has, knows or is called: the functional tests are theirs.
NOT_OF_THE_MESSAGE = {
    "bad_request",
    "message_too_large",
    "reserved_topic",
    "reserved_queue",
    "queue_taken",
    "too_many_open",
}


def test_every_code_of_a_wrong_message_is_tested() -> None:
    tested = {code for _, _, code, _ in REFUSED} | {errors.InvalidPayload.code}
    assert codes_below(errors.RequestError) - tested == NOT_OF_THE_MESSAGE


def test_every_error_has_a_code_of_its_own_and_says_when_it_is_raised() -> None:
    classes = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.GearhornError)
    ]
    codes = [error.code for error in classes]
    assert len(set(codes)) == len(codes)
    assert all(error.__doc__ for error in classes)


def test_the_last_of_duplicate_keys_is_refused_if_it_is_wrong() -> None:
    with pytest.raises(errors.WrongType, match="topic"):
        decode("fanout", b'{"topic": "b", "payload": 1, "topic": 5}')


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_what_is_no_unicode_text_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidTopic):
        Notice(topic=text)
    with pytest.raises(errors.InvalidClientId):
        Register(topic="t", client_id=text)
    with pytest.raises(errors.InvalidUnique):
        messages.check_unique(text)


def test_not_a_number_is_no_duration() -> None:
    for seconds in (float("nan"), float("inf"), -1.0, 0.0, messages.MAX_SECONDS * 1.1):
        with pytest.raises(errors.InvalidSeconds, match="wait"):
            messages.check_seconds(seconds, "wait")
    messages.check_seconds(messages.MAX_SECONDS, "wait")
    messages.check_seconds(0.001, "wait")
