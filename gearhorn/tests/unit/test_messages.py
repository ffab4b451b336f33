# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What requests are taken, as what, and what their reports look like."""

from __future__ import annotations

import base64
import inspect
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from gearhorn import errors, messages
from gearhorn.messages import FanOut, Notice, Query, Register, RequestDecoder, Unregister

CLASSES: dict[str, type[messages.Request]] = {
    "register": Register,
    "unregister": Unregister,
    "fanout": FanOut,
    "notice": Notice,
    "query": Query,
}


def decode(kind: str, request: bytes | dict[str, Any]) -> Any:
    data = json.dumps(request).encode() if isinstance(request, dict) else request
    return RequestDecoder(CLASSES[kind])(data)


def fan_out(**keys: Any) -> FanOut:
    request: FanOut = decode("fanout", {"topic": "t", "payload": "p", **keys})
    return request


def payload_of(request: bytes) -> bytes:
    decoded: FanOut = decode("fanout", request)
    return decoded.payload_bytes()


# What is refused: the function, the request, the code, what the message must name.

long_topic = "t" * 511
LONG = "é" * 256

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
    ("fanout", {"topic": long_topic, "payload": "p"}, "name_too_long", "topic has 511 bytes"),
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
    ("query", {}, "missing_key", "query"),
    ("query", {"query": "topics", "limit": "1"}, "wrong_type", "limit must be an integer"),
    ("query", {"query": "everything"}, "invalid_query", "query must be one of"),
    ("query", {"query": "subscribers"}, "invalid_query", "topic"),
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
}


def test_every_code_of_a_refusal_is_tested() -> None:
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


# What is taken.


def test_names_may_have_512_bytes_together() -> None:
    register: Register = decode("register", {"topic": "é" * 255, "client_id": "c"})
    assert len(messages.queue_name(register.topic, register.client_id).encode()) == 512
    decode("register", {"topic": "t", "client_id": "c" * 510})
    decode("fanout", {"topic": "t" * 510, "payload": ""})


@pytest.mark.parametrize("name", ["a b", "Ω", "😀", "a_b", '"', "\\", "-", " ", "\u2028"])
def test_names_may_be_any_text(name: str) -> None:
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


@settings(deadline=None, database=None)
@given(json_values, st.sampled_from([None, 2]), st.booleans())
def test_every_json_value_reaches_receivers(value: Any, indent: int | None, ascii_: bool) -> None:
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_).encode()
    except UnicodeEncodeError:
        return
    sent = payload_of(b'{"topic": "t", "payload": ' + text + b"}")
    assert sent == (value.encode() if isinstance(value, str) else text)


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


def test_the_last_of_duplicate_keys_is_refused_if_it_is_wrong() -> None:
    with pytest.raises(errors.WrongType, match="topic"):
        decode("fanout", b'{"topic": "b", "payload": 1, "topic": 5}')


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
