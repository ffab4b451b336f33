# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Hostile clients do the daemon no harm."""

from __future__ import annotations

import random

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.conftest import NewTopic, Service, Topic
from gearhorn.tests.functional.harm import (
    MEGABYTE,
    assert_serves,
    limited_to,
    peak_megabytes,
    resident_megabytes,
)
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

FUNCTIONS = [
    "register_fanout_subscriber",
    "subscribe_fanout",
    "unregister_fanout_subscriber",
    "unsubscribe_fanout",
    "fanout",
    "fanout_query",
    "__matchmaking",
]


@pytest.fixture(params=FUNCTIONS)
def function(request: pytest.FixtureRequest, service: Service) -> str:
    """Each of the daemon's functions."""
    name: str = request.param
    if name != "__matchmaking":
        return name
    return f"__matchmaking_{service.daemon.worker_id}"


BYTES: list[bytes] = [
    b"",
    b"\0",
    b"\0" * 1000,
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"a":' * 50_000,
    b"{}",
    b"null",
    b'{"topic": "\0", "client_id": "x", "payload": 1}',
    b'{"topic": "\\u0000", "client_id": "x", "payload": 1}',
    b'{"topic": "\\ud800", "client_id": "x", "payload": 1}',
    b'{"topic": "\xed\xa0\x80", "client_id": "x", "payload": 1}',
    b'{"topic": ' + b"9" * 50_000 + b"}",
    b'{"query": "subscribers", "topic": "\\ud800"}',
    b'{"' + b"k" * 60_000 + b'": 1}',
]


def test_any_bytes_are_refused_in_any_function(
    function: str, topic: Topic, service: Service
) -> None:
    dice = random.Random(function)
    noise = [dice.randbytes(dice.randrange(200)) for _ in range(100)]
    requests = [request for request in BYTES + noise if request != b""]
    handles = [topic.client.start(function, request) for request in [b"", *requests]]
    codes = {topic.client.finish(handle, 30).refusal for handle in handles}
    assert "invalid_json" in codes
    for request in requests:
        topic.client.submit(function, request, background=True)
    eventually(lambda: service.gearmand.admin.queue(function).total == 0)
    assert_serves(topic)


def test_nul_in_names_and_uniques_shifts_arguments_and_nothing_else(topic: Topic) -> None:
    request = topic.request("hello", background=True).encode()
    client = topic.peer()
    topic.subscribe("bob")
    bodies = [
        b"fanout\0un\0ique\0" + request,
        b"fanout\0\0\0" + request,
        b"fanout\0" + b"u" * 63 + b"\0" + request,
        b"fanout\0" + b"u" * 64 + b"\0" + request,
        b"fanout\0\xff\xfe\x01\0" + request,
    ]
    for body in bodies:
        client.send_raw(wire.request(wire.SUBMIT_JOB, body))
        created = client.expect(wire.JOB_CREATED, wire.ERROR)
        if created.type == wire.JOB_CREATED:
            outcome = client.finish(created.body)
            assert outcome.completed or b"invalid_json" in outcome.of(wire.WORK_WARNING)[0]
    assert_serves(topic)


def test_64_megabytes_are_refused_where_a_request_is_small(topic: Topic, service: Service) -> None:
    data = b"x" * (64 * MEGABYTE)
    for function in ("register_fanout_subscriber", "fanout_query"):
        assert topic.client.submit(function, data, timeout_s=30).refusal == "message_too_large"
    topic.client.submit("unregister_fanout_subscriber", data, background=True)
    eventually(lambda: service.gearmand.admin.queue("unregister_fanout_subscriber").total == 0)
    assert_serves(topic)


@pytest.mark.slow
def test_64_megabytes_above_the_limit(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    topic = new_topic(gearmand)
    process = daemon(**limited_to(MEGABYTE))
    topic.subscribe("bob")
    before = resident_megabytes(process)
    request = topic.request("x" * (64 * MEGABYTE), background=True)
    for _ in range(2):
        outcome = topic.client.submit("fanout", request, timeout_s=30)
        assert outcome.refusal == "message_too_large"
        topic.client.submit("fanout", request, background=True)
    eventually(lambda: gearmand.admin.queue("fanout").total == 0)
    assert peak_megabytes(process) < before + 30
    assert topic.waiting("bob") == 0
    assert_serves(topic)


@pytest.mark.slow
def test_64_megabytes_below_the_limit(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    topic = new_topic(gearmand)
    process = daemon(**limited_to(65 * MEGABYTE))
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    before = resident_megabytes(process)
    for size in (64 * MEGABYTE, 0):
        for background in (True, False):
            handle = topic.start("x" * size, background=background)
            assert [len(taken) for taken in worker.take(1, 30)] == [size]
            assert topic.client.finish(handle, 30).completed
    assert peak_megabytes(process) < before + 12 * 64
