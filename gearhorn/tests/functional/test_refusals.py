# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Every refusal as a client sees it, and that the daemon goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gearhorn import errors
from gearhorn.tests import packets as wire
from gearhorn.tests.functional.conftest import Topic

REGISTER = "register_fanout_subscriber"

Request = dict[str, Any] | bytes

# The function, the request without its topic, the code, and what the message names.
REFUSED: list[tuple[str, Request, str, str]] = [
    ("fanout", b"", "invalid_json", "JSON"),
    ("fanout", b'{"topic": "t", "payload": "\xff"}', "invalid_json", "UTF-8"),
    ("fanout", b"[" * 100_000, "not_an_object", "object"),
    (
        "fanout",
        b'{"topic": "t", "payload": %s}' % (b"[" * 50_000 + b"]" * 50_000),
        "invalid_json",
        "",
    ),
    (REGISTER, b"nonsense", "invalid_json", "JSON"),
    ("fanout", b'"topic"', "not_an_object", "object"),
    ("unsubscribe_fanout", b"[]", "not_an_object", "object"),
    ("fanout", {"payload": 1, "colour": 1}, "unknown_key", "colour"),
    (REGISTER, {"client_id": "c", "payload": 1}, "unknown_key", "payload"),
    ("fanout", {}, "missing_key", "payload"),
    (REGISTER, {}, "missing_key", "client_id"),
    ("unregister_fanout_subscriber", {}, "missing_key", "client_id"),
    ("fanout", {"payload": 1, "timeout": "1"}, "wrong_type", "timeout"),
    (REGISTER, {"client_id": 1}, "wrong_type", "client_id"),
    ("fanout", {"topic": "a\tb\t1", "payload": 1}, "invalid_topic", "topic"),
    (REGISTER, {"topic": "", "client_id": "c"}, "invalid_topic", "topic"),
    (REGISTER, {"client_id": "a\n.\n"}, "invalid_client_id", "client_id"),
    (REGISTER, {"client_id": "c" * 511}, "name_too_long", "client_id"),
    ("fanout", {"topic": "t" * 511, "payload": 1}, "name_too_long", "topic"),
    ("fanout", {"payload": 1, "unique": "-"}, "invalid_unique", "unique"),
    ("fanout", {"payload": 1, "unique": "u" * 49}, "invalid_unique", "unique"),
    ("fanout", {"payload": 1, "timeout": 0}, "invalid_seconds", "timeout"),
    (REGISTER, {"client_id": "c", "ttl": -1}, "invalid_seconds", "ttl"),
    (REGISTER, {"client_id": "c", "max_waiting": 99}, "invalid_limits", "max_waiting"),
    (REGISTER, {"client_id": "c", "overflow": "drop"}, "invalid_limits", "overflow"),
    (REGISTER, {"client_id": "c", "remove_idle": 5}, "invalid_limits", "remove_idle"),
    ("fanout", {"payload": 1, "priority": "urgent"}, "invalid_priority", "priority"),
    ("fanout", {"payload": "x", "encoding": "hex"}, "invalid_encoding", "encoding"),
    ("fanout", {"payload": "*", "encoding": "base64"}, "invalid_payload", "payload"),
    ("fanout", {"payload": 1, "background": 1, "timeout": 1}, "background_conflict", "timeout"),
    ("fanout", {"payload": 1, "background": 1, "gather": 1}, "background_conflict", "gather"),
    ("fanout", {"payloads": [1], "background": 1, "unique": "u"}, "batch_conflict", "unique"),
    (REGISTER, {"topic": "__matchmaking", "client_id": "c"}, "reserved_topic", "__matchmaking"),
    (REGISTER, {"topic": "subscribe", "client_id": "fanout"}, "reserved_queue", "subscribe_fanout"),
    (REGISTER, b'{"topic": "%s"}' % (b"t" * 70_000), "message_too_large", "larger"),
    ("fanout_query", {"topic": None, "query": "everything"}, "invalid_query", "query"),
    ("fanout", {"payload": 1, "id": ""}, "invalid_id", "id"),
    ("fanout_read", {"after": -1}, "invalid_position", "after"),
    ("fanout_read", {}, "no_journal", "journal"),
    (REGISTER, {"client_id": "c", "start": "middle"}, "invalid_start", "start"),
]


def data_of(request: Request, topic: Topic) -> bytes:
    if isinstance(request, bytes):
        return request
    return json.dumps({"topic": topic.name, **request}).encode()


@pytest.mark.parametrize(("function", "request_", "code", "named"), REFUSED)
def test_a_refusal_says_why_and_sends_nothing(
    topic: Topic, function: str, request_: Request, code: str, named: str
) -> None:
    topic.subscribe("bob")
    handle = topic.client.start(function, data_of(request_, topic))
    outcome = topic.client.finish(handle)

    assert [packet.type for packet in outcome.packets] == [wire.WORK_WARNING, wire.WORK_FAIL]
    # The handle of the failure ends where it ends, for libgearman.
    assert outcome.packets[-1].body == handle
    assert outcome.report.keys() == {"error", "message"}
    assert outcome.report["error"] == code
    assert named in outcome.report["message"]
    assert topic.waiting("bob") == 0
    assert topic.publish(background=True).report["queued"] == 1


@pytest.mark.parametrize(
    ("function", "request_", "code", "named"),
    [row for row in REFUSED if isinstance(row[1], dict)],
)
def test_a_refusal_may_end_in_success_for_clients_that_see_nothing_else(
    topic: Topic, function: str, request_: dict[str, Any], code: str, named: str
) -> None:
    outcome = topic.client.submit(function, data_of({**request_, "always_report": 1}, topic))
    assert [packet.type for packet in outcome.packets] == [wire.WORK_COMPLETE]
    assert outcome.report["error"] == code


def codes_below(root: type[errors.GearhornError]) -> set[str]:
    return {root.code}.union(*map(codes_below, root.__subclasses__()))


def test_every_code_of_a_refusal_is_tested() -> None:
    elsewhere = {
        errors.RequestError.code,  # never raised itself
        errors.QueueTaken.code,  # test_registration
        errors.TooManyOpen.code,  # test_publishers_wait
        errors.TooManyJournals.code,  # unit/test_journal_fanout
    }
    assert codes_below(errors.RequestError) - elsewhere == {code for _, _, code, _ in REFUSED}
