# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Requests that are taken, the values read from them, and reports."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from gearhorn import errors, messages
from gearhorn.messages import FanOut, Register
from gearhorn.tests.unit.decoding import CLASSES, decode, fan_out, payload_of


def test_names_may_have_512_bytes_together() -> None:
    register: Register = decode("register", {"topic": "é" * 255, "client_id": "c"})
    assert len(messages.queue_name(register.topic, register.client_id).encode()) == 512
    decode("register", {"topic": "t", "client_id": "c" * 510})
    decode("fanout", {"topic": "t" * 510, "payload": ""})


@pytest.mark.parametrize("name", ["a b", "Ω", "😀", "a_b", '"', "\\", "-", " ", "\u2028"])
def test_names_in_requests_may_be_any_text(name: str) -> None:
    register: Register = decode("register", {"topic": name, "client_id": name})
    assert messages.queue_name(register.topic, register.client_id) == f"{name}_{name}"


@pytest.mark.parametrize("unique", ["u", "u" * 48, "é" * 24, "--", " "])
def test_a_unique_may_have_48_bytes(unique: str) -> None:
    assert fan_out(unique=unique).unique == unique


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (b'"please go home early today."', b"please go home early today."),
        (b'""', b""),
        (b'"\\u00e9\\ud83d\\ude00\\n\\u0000"', "é😀\n\0".encode()),
        ('"é😀"'.encode(), "é😀".encode()),
        (
            b'{"b" :  1,\n "a": [ 1.0, 1e2 ,"\\u00e9"] }',
            b'{"b" :  1,\n "a": [ 1.0, 1e2 ,"\\u00e9"] }',
        ),
        (b'{"a": 1, "a": 2}', b'{"a": 1, "a": 2}'),
        ('["é"]'.encode(), '["é"]'.encode()),
        (b"null", b"null"),
        (b"true", b"true"),
        (b"0.10", b"0.10"),
        (b"12345678901234567890123", b"12345678901234567890123"),
        (b"-0", b"-0"),
    ],
)
def test_a_string_is_sent_as_utf_8_and_any_other_value_as_it_stands(
    value: bytes, sent: bytes
) -> None:
    assert payload_of(b'{ "payload" : ' + value + b' , "topic": "t"}') == sent


@pytest.mark.once
@settings(deadline=None, database=None)
@given(st.binary(max_size=200))
def test_base64_carries_any_bytes(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert fan_out(payload=text, encoding="base64").payload_bytes() == data


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.once
@settings(deadline=None, database=None)
@given(json_values, st.sampled_from([None, 2]), st.booleans())
def test_every_json_value_reaches_receivers(value: Any, indent: int | None, ascii_: bool) -> None:
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_).encode()
    except UnicodeEncodeError:
        return
    sent = payload_of(b'{"topic": "t", "payload": ' + text + b"}")
    assert sent == (value.encode() if isinstance(value, str) else text)


@pytest.mark.once
@settings(deadline=None, database=None, max_examples=300)
@given(st.sampled_from(sorted(CLASSES)), st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_are_taken_or_refused(kind: str, data: bytes | str) -> None:
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    for request in (raw, b'{"topic": "t", "payload": ' + raw + b"}"):
        try:
            decode(kind, request)
        except errors.RequestError:
            messages.wants_report(request)


TRUE = [
    "true",
    "1",
    '"0"',
    '"false"',
    '" "',
    "[0]",
    '{"a": 0}',
    "0.1",
    "-1",
    "1e-3",
    "1e400",
    "[[]]",
]
FALSE = ["false", "0", '""', "null", "[]", "{}", "0.0", "-0", "0e5", "[ ]", "{ \n }"]


@pytest.mark.parametrize("key", ["background", "gather", "always_report"])
@pytest.mark.parametrize(
    ("value", "truth"), [(value, True) for value in TRUE] + [(value, False) for value in FALSE]
)
def test_what_counts_as_true(key: str, value: str, truth: bool) -> None:
    data = b'{"topic": "t", "payload": 1, "%s": %s}' % (key.encode(), value.encode())
    request: FanOut = decode("fanout", data)
    assert messages.truth(getattr(request, key)) is truth
    if key == "always_report":
        # Also where the request is refused for another key.
        assert messages.wants_report(data[:-1] + b', "unheard_of": 1}') is truth


@pytest.mark.parametrize("function", ["register", "unregister", "notice", "fanout", "query"])
def test_every_function_takes_always_report(function: str) -> None:
    sound: dict[str, dict[str, Any]] = {
        "register": {"topic": "t", "client_id": "c"},
        "unregister": {"topic": "t", "client_id": "c"},
        "notice": {"topic": "t"},
        "fanout": {"topic": "t", "payload": 1},
        "query": {"query": "topics"},
    }
    request: messages.Request = decode(function, {**sound[function], "always_report": True})
    assert messages.truth(request.always_report)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [*((v, True) for v in TRUE), *((v, v == "null") for v in FALSE)],
)
def test_progress_is_reported_unless_it_is_false(value: str, wanted: bool) -> None:
    request: FanOut = decode("fanout", b'{"topic":"t","payload":1,"progress":%s}' % value.encode())
    assert request.wants_progress is wanted
    assert fan_out().wants_progress


def test_the_topic_of_a_request_that_was_refused() -> None:
    assert messages.topic_in(b'{"topic": "news", "unheard_of": 1}') == "news"
    assert messages.topic_in(b'{"topic": "%s"}' % (b"t" * 1_000_000)) == "t" * 100
    for data in (b"", b"[]", b"\xff", b"{" * 100_000, b'{"topic": 1}', b'{"payload": 1}'):
        assert messages.topic_in(data) is None


def test_a_request_that_cannot_be_read_asks_for_no_report() -> None:
    for data in (b"", b"[]", b"\xff", b"{" * 100_000, b'{"always_report": 1'):
        assert messages.wants_report(data) is False


def test_null_is_the_same_as_leaving_out() -> None:
    optional = ["unique", "background", "timeout", "priority", "gather", "encoding"]
    request = fan_out(**dict.fromkeys([*optional, "always_report"]))
    plain = fan_out()
    for key in ("unique", "timeout", "priority", "encoding"):
        assert getattr(request, key) is getattr(plain, key) is None
    for key in ("background", "gather", "always_report"):
        assert messages.truth(getattr(request, key)) is False
    register: Register = decode("register", {"topic": "t", "client_id": "c", "ttl": None})
    assert register.ttl is None


@pytest.mark.parametrize(
    ("request_", "topic"),
    [
        (b'{"topic": "a", "payload": 1, "topic": "b"}', "b"),
        (b'{"topic": 5, "payload": 1, "topic": "b"}', "b"),
        (b'{"topic": "", "payload": 1, "t\\u006fpic": "b"}', "b"),
        (b'{"topic": "b", "payload": 1, "priority": "urgent", "priority": "low"}', "b"),
        (b'{"topic": "b", "payload": 1, "timeout": "x", "timeout": null}', "b"),
    ],
)
def test_of_duplicate_keys_the_last_counts(request_: bytes, topic: str) -> None:
    request: FanOut = decode("fanout", request_)
    assert request.topic == topic


def test_what_is_encoded_is_decoded_again_and_leaves_out_what_is_not_given() -> None:
    register = Register(topic="t", client_id="c")
    assert json.loads(register.encode()) == {"topic": "t", "client_id": "c"}
    assert decode("register", register.encode()) == register
    request = FanOut(topic="t", payload=Raw(b'{"a":1}'), priority="low", gather=Raw(b"true"))
    decoded: FanOut = decode("fanout", request.encode())
    assert decoded.payload_bytes() == b'{"a":1}'
    assert decoded.priority == "low"
    assert messages.truth(decoded.gather)
    assert not messages.truth(decoded.background)


def test_messages_are_checked_when_they_are_made_and_frozen_then() -> None:
    with pytest.raises(errors.InvalidTopic):
        Register(topic="", client_id="c")
    with pytest.raises(AttributeError):
        Register(topic="t", client_id="c").topic = "u"  # type: ignore[misc]


# Reports.


def test_reports_hold_what_there_is_to_say() -> None:
    report = messages.FanOutReport(topic="t", subscribers=2, delivered=2)
    assert json.loads(report.encode()) == {
        "topic": "t",
        "subscribers": 2,
        "delivered": 2,
        "failed": {},
    }
    report = messages.FanOutReport(
        topic="t",
        subscribers=3,
        queued=2,
        failed={"c": messages.NOT_QUEUED},
        failed_count=1,
        results=UNSET,
    )
    assert json.loads(report.encode()) == {
        "topic": "t",
        "subscribers": 3,
        "queued": 2,
        "failed": {"c": "not_queued"},
        "failed_count": 1,
    }
    refusal = messages.Refusal.of(errors.InvalidTopic("why"))
    assert json.loads(refusal.encode()) == {"error": "invalid_topic", "message": "why"}


def test_a_result_is_text_or_base64() -> None:
    assert messages.result_of("é".encode()) == "é"
    assert messages.result_of(b"") == ""
    report = messages.FanOutReport(
        topic="t", subscribers=1, delivered=1, results={"c": messages.result_of(b"\xff\0")}
    )
    assert json.loads(report.encode())["results"] == {"c": {"base64": "/wA="}}


def test_reasons_are_a_closed_list() -> None:
    assert set(messages.REASONS) == {
        "timeout",
        "receiver_failed",
        "receiver_exception",
        "server_lost",
        "not_queued",
        "result_too_large",
    }


@pytest.mark.parametrize(
    ("queue", "topics"),
    [
        ("a_b", ["a"]),
        ("a_b_c", ["a", "a_b"]),
        ("_a__b_", ["_a", "_a_"]),
        ("a", []),
        ("__", []),
        ("___", ["_"]),
    ],
)
def test_a_queue_is_cut_at_each_underscore(queue: str, topics: list[str]) -> None:
    assert messages.topics_of(queue) == topics
    assert all(messages.queue_name(t, queue[len(t) + 1 :]) == queue for t in topics)
