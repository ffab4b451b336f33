# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Thousands of topics, and one topic with a hundred thousand subscribers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import redis as redis_client

from gearhorn.messages import queue_name
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.functional.fleet import NOBODY_GOES_BY_TIME, Fleet
from gearhorn.tests.servers import Gearmand, Redis

TOPICS = 2000
SUBSCRIBERS = 100_000


@pytest.mark.slow
def test_thousands_of_topics(fleet: Fleet, gearmand: Gearmand) -> None:
    small = {**NOBODY_GOES_BY_TIME, "matchmaking.max_cached_topics": 100}
    one, other = fleet.add("one", **small), fleet.add("other", **small)
    topics = [f"{fleet.topic}-{number}" for number in range(TOPICS)]
    handles = [one.start_registration(topic, "bob") for topic in topics]
    for handle in handles:
        assert one.finish(handle).completed

    handles = [member.start_fanout(topic) for topic in topics for member in (one, other)]

    for handle in handles:
        assert one.finish(handle).report["queued"] == 1
    status = gearmand.admin.status()
    assert {status[f"{topic}_bob"].total for topic in topics} == {2}
    for member in (one, other):
        (row,) = member.ask("query", query="status")["rows"]
        assert row["cached_topics"] == 100


def fill(redis: Redis, key_prefix: str, topic: str, names: Sequence[str]) -> None:
    """Put in place what as many registrations would."""
    with redis_client.Redis(redis.host, redis.port) as client:
        for begin in range(0, len(names), 10_000):
            some = names[begin : begin + 10_000]
            pipe = client.pipeline()
            pipe.sadd(f"{key_prefix}topic:{topic}", *some)
            claims = {queue_name(topic, name): f"{topic}\0{name}" for name in some}
            pipe.hset(f"{key_prefix}claims", mapping=claims)
            pipe.zadd(f"{key_prefix}topics", {topic: 0})
            pipe.execute()


@pytest.mark.slow
def test_one_topic_with_a_hundred_thousand_subscribers(fleet: Fleet, gearmand: Gearmand) -> None:
    one = fleet.add("one", **NOBODY_GOES_BY_TIME)
    names = [f"c{number}" for number in range(SUBSCRIBERS)]
    fill(fleet.fixture("redis_server"), fleet.key_prefix, fleet.topic, names)
    one.register("small", "bob")
    beside = message("small", background=True)
    other = fleet.new_client()

    handle = one.start_fanout(fleet.topic)
    # Others go on beside it, and so do registrations, on the same topic too.
    for number in range(20):
        assert other.submit("fanout_one", beside).report["queued"] == 1
        late = subscription(fleet.topic, f"late{number}")
        assert other.submit("register_one", late).completed
    report = one.finish(handle, 90).report

    assert report["queued"] == report["subscribers"] >= SUBSCRIBERS
    status = gearmand.admin.status()
    assert {status[f"{fleet.topic}_{name}"].total for name in names} == {1}
    rows = one.ask("query", query="topics", after=fleet.topic[:-1], limit=1)["rows"]
    assert rows == [{"topic": fleet.topic, "subscribers": SUBSCRIBERS + 20}]
