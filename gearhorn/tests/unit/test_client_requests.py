# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The client library refuses requests before anything is sent, and reads answers."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import subprocess
import sys
from typing import Any

import msgspec
import pytest

import gearhorn
from gearhorn import AsyncPublisher, AsyncSubscriber, Publisher, Subscriber, errors, messages
from gearhorn.client.answers import fan_out_report, subscription
from gearhorn.wire.answer import Answer

decode = messages.RequestDecoder(messages.FanOut)

# Nothing listens there, and nothing is to be sent.
NOWHERE = "127.0.0.1:1"


def carried(payload: Any) -> bytes:
    """Return the bytes that a receiver gets: the client makes the request, a daemon reads it."""
    request: messages.FanOut = decode(messages.FanOut.of("t", payload).encode())
    return request.payload_bytes()


@pytest.mark.parametrize(
    ("payload", "received"),
    [
        ("żółw \0 \x1f", "żółw \0 \x1f".encode()),
        ("", b""),
        (b"plain", b"plain"),
        (b"\xff\0\xfe", b"\xff\0\xfe"),
        (bytearray(b"\xff"), b"\xff"),
        (memoryview(b"abc"), b"abc"),
        ({"a": [1, None, "ż"]}, '{"a":[1,null,"ż"]}'.encode()),
        ([], b"[]"),
        (None, b"null"),
        ([None, 1.5, {"null": "nan"}], b'[null,1.5,{"null":"nan"}]'),
        ({"a": msgspec.Raw(b"null")}, b'{"a":null}'),
        (False, b"false"),
        (2**70, b"%d" % 2**70),
        (datetime.date(2026, 1, 2), b'"2026-01-02"'),
    ],
)
def test_payloads_arrive_as_they_are(payload: Any, received: bytes) -> None:
    assert carried(payload) == received


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@dataclasses.dataclass
class Reading:
    value: float


NON_FINITE = [
    math.nan,
    math.inf,
    -math.inf,
    [1.0, math.nan],
    {"a": [{"b": (None, math.inf)}]},
    Reading(math.nan),
    [msgspec.Raw(b"1"), math.inf],
]


@pytest.mark.parametrize("payload", [object(), "\ud800", endless(), {1j: 2}, *NON_FINITE])
def test_a_payload_that_cannot_be_sent_is_refused(payload: Any) -> None:
    with pytest.raises(errors.InvalidPayload):
        messages.FanOut.of("t", payload)


# As the daemon gets them in JSON, where they can be written in it.
BAD_REQUESTS: list[dict[str, Any]] = [
    {"topic": ""},
    {"topic": "a\nb"},
    {"topic": "t" * 511},
    {"topic": 7},
    {"unique": ""},
    {"unique": "-"},
    {"unique": "u" * 49},
    {"unique": "a\x7f"},
    {"unique": 7},
    {"timeout": 0},
    {"timeout": -1},
    {"timeout": 1e12},
    {"timeout": "1"},
    {"timeout": True},
    {"priority": "urgent"},
    {"priority": 1},
    {"background": True, "gather": True},
    {"background": True, "timeout": 1},
]


@pytest.mark.parametrize("bad", BAD_REQUESTS)
async def test_publishers_refuse_what_the_daemon_refuses(bad: dict[str, Any]) -> None:
    request = {"topic": "t", "payload": "p", **bad}
    with pytest.raises(errors.RequestError) as by_daemon:
        decode(json.dumps(request).encode())
    code = by_daemon.value.code
    with Publisher(NOWHERE) as publisher:
        with pytest.raises(errors.RequestError) as refused:
            publisher.publish(**request)
        assert refused.value.code == code
        topic, payload, unique = (request.pop(key, None) for key in ("topic", "payload", "unique"))
        with pytest.raises(errors.RequestError) as refused:
            list(publisher.publish_many([(topic, payload, unique)], **request))
        assert refused.value.code == code
    async with AsyncPublisher(NOWHERE) as async_publisher:
        with pytest.raises(errors.RequestError) as refused:
            await async_publisher.publish(topic, payload, unique=unique, **request)
        assert refused.value.code == code


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_no_number_is_no_timeout(seconds: float) -> None:
    with pytest.raises(errors.InvalidSeconds):
        Publisher(NOWHERE, timeout=seconds)


def test_a_message_that_is_too_large_is_refused() -> None:
    with (
        Publisher(NOWHERE, max_message_bytes=1000) as publisher,
        pytest.raises(errors.MessageTooLarge),
    ):
        publisher.publish("t", "x" * 1000)


BAD_SERVERS = [
    *("", [], "host:", "host:0", "host:x", "host:" + "9" * 5000, "::1", [":4730"]),
    *(None, 7, [1], [None], [b"host:1"], b"host:1", "a b:1", "a\tb:1", "a\0b", "[: :1]:1"),
]


@pytest.mark.parametrize("kind", [Publisher, AsyncPublisher, Subscriber, AsyncSubscriber])
@pytest.mark.parametrize("servers", BAD_SERVERS)
def test_bad_server_addresses_are_refused(kind: Any, servers: Any) -> None:
    with pytest.raises(errors.InvalidServer):
        kind(servers)


@pytest.mark.parametrize("kind", [Subscriber, AsyncSubscriber])
@pytest.mark.parametrize(
    ("topic", "client_id", "error"),
    [
        ("", "bob", errors.InvalidTopic),
        ("a\tb", "bob", errors.InvalidTopic),
        (b"t", "bob", errors.WrongType),
        ("t", "", errors.InvalidClientId),
        ("t", "b\nb", errors.InvalidClientId),
        ("t", "\ud800", errors.InvalidClientId),
        ("t", 7, errors.WrongType),
        ("t" * 256, "b" * 256, errors.NameTooLong),
        ("t", None, errors.InvalidClientId),
    ],
)
def test_subscribers_refuse_bad_names(
    kind: Any, topic: Any, client_id: Any, error: type[errors.GearhornError]
) -> None:
    with pytest.raises(error):
        kind(NOWHERE).on(topic, client_id=client_id)
    with pytest.raises(error):
        kind(NOWHERE).off(topic, client_id=client_id)


@pytest.mark.parametrize("kind", [Subscriber, AsyncSubscriber])
def test_two_subscriptions_of_one_queue_are_refused(kind: Any) -> None:
    subscriber = kind(NOWHERE)
    subscriber.on("a_b", client_id="c")
    with pytest.raises(errors.QueueTaken):
        subscriber.on("a", client_id="b_c")


@pytest.mark.parametrize("kind", [Subscriber, AsyncSubscriber])
def test_the_queues_of_the_daemons_are_not_served(kind: Any) -> None:
    subscriber = kind(NOWHERE, register=False)
    with pytest.raises(errors.ReservedQueue):
        subscriber.on("__matchmaking", client_id="host-1")


PUBLISHERS = (Publisher, AsyncPublisher)
SUBSCRIBERS = (Subscriber, AsyncSubscriber)
BOTH = PUBLISHERS + SUBSCRIBERS

BAD_SECONDS = [
    *(("1", errors.WrongType), (True, errors.WrongType), ([], errors.WrongType)),
    *((-1, errors.InvalidSeconds), (10**400, errors.InvalidSeconds)),
    *((math.nan, errors.InvalidSeconds), (math.inf, errors.InvalidSeconds)),
]
BAD_COUNTS = [
    *(("1", errors.WrongType), (True, errors.WrongType), (1.5, errors.WrongType)),
    *((None, errors.WrongType), (0, errors.ConfigurationError), (-1, errors.ConfigurationError)),
]
BAD_LIMITS = [
    *(("100", errors.WrongType), (True, errors.WrongType), (100.5, errors.WrongType)),
    *((99, errors.InvalidLimits), (0, errors.InvalidLimits), (2**63, errors.InvalidLimits)),
]
BAD_FUNCTIONS = [
    *((None, errors.WrongType), (b"fanout", errors.WrongType)),
    *((name, errors.ConfigurationError) for name in ("", "a\0b", "a\n", "\ud800", "f" * 600)),
]
BAD_OPTIONS = [
    (kind, option, value, error)
    for kinds, options, bad in (
        (PUBLISHERS, ["timeout"], [*BAD_SECONDS, (0, errors.InvalidSeconds)]),
        (BOTH, ["connect_timeout"], [*BAD_SECONDS, (0, errors.InvalidSeconds)]),
        (SUBSCRIBERS, ["ttl", "renew"], [*BAD_SECONDS, (0, errors.InvalidSeconds)]),
        (SUBSCRIBERS, ["drain_timeout"], [*BAD_SECONDS, (None, errors.WrongType)]),
        (SUBSCRIBERS, ["max_waiting"], BAD_LIMITS),
        (SUBSCRIBERS, ["remove_idle"], [("60", errors.WrongType), (59, errors.InvalidLimits)]),
        (SUBSCRIBERS, ["overflow"], [(1, errors.WrongType), ("drop", errors.InvalidLimits)]),
        (BOTH, ["max_message_bytes"], BAD_COUNTS),
        (SUBSCRIBERS, ["concurrency"], BAD_COUNTS),
        (PUBLISHERS, ["function"], BAD_FUNCTIONS),
        (SUBSCRIBERS, ["register_function", "unregister_function"], BAD_FUNCTIONS),
        (SUBSCRIBERS, ["client_id"], [("", errors.InvalidClientId)]),
    )
    for kind in kinds
    for option in options
    for value, error in bad
]


@pytest.mark.parametrize(("kind", "option", "value", "error"), BAD_OPTIONS)
def test_bad_options_are_refused(
    kind: Any, option: str, value: Any, error: type[errors.GearhornError]
) -> None:
    with pytest.raises(error):
        kind(NOWHERE, **{option: value})


@pytest.mark.parametrize(("window", "error"), BAD_COUNTS)
async def test_bad_windows_are_refused(window: Any, error: type[errors.GearhornError]) -> None:
    many = [("t", "?")]
    with Publisher(NOWHERE) as publisher, pytest.raises(error):
        next(iter(publisher.publish_many(many, window=window)))
    async with AsyncPublisher(NOWHERE) as async_publisher:
        with pytest.raises(error):
            await anext(async_publisher.publish_many(many, window=window))


def test_handlers_that_cannot_be_called_are_refused() -> None:
    async def handler(message: gearhorn.Message) -> None:
        """Needs a loop."""

    with pytest.raises(TypeError):
        Subscriber(NOWHERE, "bob").on("t")(handler)
    for kind in (Subscriber, AsyncSubscriber):
        not_callable: Any = "no handler"
        with pytest.raises(TypeError):
            kind(NOWHERE, "bob").on("t")(not_callable)


async def test_a_topic_without_handler_cannot_be_run() -> None:
    subscriber = Subscriber(NOWHERE, "bob")
    subscriber.on("t")
    with pytest.raises(errors.ConfigurationError):
        subscriber.run()
    async_subscriber = AsyncSubscriber(NOWHERE, "bob")
    async_subscriber.on("t")
    with pytest.raises(errors.ConfigurationError):
        await async_subscriber.run()


def test_a_topic_with_handler_cannot_be_iterated() -> None:
    subscriber = Subscriber(NOWHERE, "bob")
    subscriber.on("t")(print)
    with pytest.raises(errors.ConfigurationError):
        next(iter(subscriber))


def test_a_partial_failure_carries_the_report() -> None:
    report = {"topic": "t", "subscribers": 9, "delivered": 7}
    failed = {"failed": {"bob": "timeout", "al": "receiver_failed"}, "failed_count": 2}
    with pytest.raises(errors.PartialFailure) as raised:
        fan_out_report(Answer(False, json.dumps({**report, **failed}).encode()))
    assert raised.value.report.delivered == 7
    assert raised.value.report.failed == {"bob": "timeout", "al": "receiver_failed"}
    assert "2 of 9" in str(raised.value)
    assert "bob (timeout)" in str(raised.value)


@pytest.mark.parametrize("read", [fan_out_report, subscription])
def test_a_refusal_is_raised_as_the_error_of_its_code(read: Any) -> None:
    with pytest.raises(errors.QueueTaken, match="al has it") as raised:
        read(Answer(False, b'{"error": "queue_taken", "message": "al has it"}'))
    assert raised.value.report.error == "queue_taken"


@pytest.mark.parametrize("read", [fan_out_report, subscription])
def test_a_code_of_a_later_daemon_is_kept(read: Any) -> None:
    with pytest.raises(errors.RequestError) as raised:
        read(Answer(False, b'{"error": "too_blue", "message": "no"}'))
    assert raised.value.code == "too_blue"
    assert errors.RequestError.code != "too_blue"


@pytest.mark.parametrize("read", [fan_out_report, subscription])
@pytest.mark.parametrize("data", [b"", b"ok", b"{}", b"[1]", b"\xff"])
def test_an_answer_that_no_daemon_gives_is_an_error(read: Any, data: bytes) -> None:
    for completed in (False, True):
        with pytest.raises(errors.BadAnswer):
            read(Answer(completed, data))


def test_public_names_are_there() -> None:
    assert set(gearhorn.__all__) <= set(dir(gearhorn))
    for name in gearhorn.__all__:
        assert getattr(gearhorn, name).__name__ == name
    with pytest.raises(AttributeError):
        gearhorn.Nothing  # noqa: B018


def test_importing_loads_neither_the_store_nor_the_options() -> None:
    program = """
import sys
import gearhorn
assert not {"gear", "msgspec", "asyncio"} & set(sys.modules), "not even asked for"
from gearhorn import AsyncPublisher, AsyncSubscriber, Publisher, Subscriber
assert not {"redis", "oslo_config", "oslo_log", "sqlite3", "daemon"} & set(sys.modules)
"""
    # Without what measures coverage, which loads much by itself.
    subprocess.run([sys.executable, "-c", program], check=True, env={})
