# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What each option does that SIGHUP can change, once it is changed.

A daemon begins with a value with which nothing of it would be seen in the time of a test.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearhorn.service.options import GROUPS
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.functional.filling import FEW, fill_up, publish, reaches, refused
from gearhorn.tests.functional.fleet import SHORT
from gearhorn.tests.functional.test_endings import OFTEN
from gearhorn.tests.functional.test_reload import reload, row
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

HOUR_S = 3600
MANY_TRIES = 150
"""More connections than eight that pause or wait for long would make in the time of a test."""

LOOKS_OFTEN = {**OFTEN, "gearhorn.daemon.guard.endings.SELDOM_S": 0.1}
"""It looks every minute where nothing ends, which is too long for a test."""

NewMemos = Callable[..., tuple[Daemon, Topic]]


@pytest.fixture
def memos_of(gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic) -> NewMemos:
    """A daemon with these options, and a topic with a subscriber that does nothing."""

    def start(**options: Any) -> tuple[Daemon, Topic]:
        one = daemon(**options)
        topic = new_topic(gearmand)
        topic.subscribe("bob")
        return one, topic

    return start


def test_each_option_that_can_change_is_changed_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_reload*.py"))
    options = [
        f'"{group.name}.{option.name}"'
        for group, options in GROUPS.items()
        for option in options
        if option.mutable and not option.name.startswith("tls_")
    ]
    assert len(options) > 25
    assert [option for option in options if option not in tests] == []


# Job servers.


def test_a_server_that_falls_silent_is_left_sooner(
    daemon: NewDaemon, proxied_gearmand: Proxy
) -> None:
    options = {
        "gearman.liveness_interval": HOUR_S,
        "gearman.liveness_timeout": HOUR_S,
        "gearman.reconnect_max": 0.2,
    }
    one = daemon([proxied_gearmand], **options)  # type: ignore[arg-type]
    reload(one, **{"gearman.liveness_interval": 0.1, "gearman.liveness_timeout": 0.3})
    # The hour of the connections that are there has begun.
    proxied_gearmand.reset()
    away = f"job server {proxied_gearmand.address}: away"
    eventually(lambda: one.log.count(f"job server {proxied_gearmand.address}: connected") == 2)
    proxied_gearmand.stall()
    eventually(lambda: f"{away} (no answer for 0.3 seconds)" in one.log)


def test_a_server_that_is_away_is_tried_more_often(
    daemon: NewDaemon, gearmand: Gearmand, proxied_gearmand: Proxy
) -> None:
    proxied_gearmand.target_port = free_port()
    options = {"gearman.reconnect_max": HOUR_S}
    one = daemon([gearmand, proxied_gearmand], **options)  # type: ignore[arg-type]
    eventually(lambda: f"job server {proxied_gearmand.address}: away" in one.log)
    tried = proxied_gearmand.connected
    reload(one, **{"gearman.reconnect_max": 0.1})
    eventually(lambda: proxied_gearmand.connected > tried + MANY_TRIES, 60)


def test_a_server_that_takes_connections_and_is_mute_is_given_up_sooner(
    daemon: NewDaemon, gearmand: Gearmand, proxied_gearmand: Proxy
) -> None:
    options = {"gearman.connect_timeout": HOUR_S, "gearman.reconnect_max": 0.1}
    one = daemon([gearmand, proxied_gearmand], **options)  # type: ignore[arg-type]
    reload(one, **{"gearman.connect_timeout": 0.1})
    proxied_gearmand.stall()
    proxied_gearmand.reset()
    tried = proxied_gearmand.connected
    eventually(lambda: proxied_gearmand.connected > tried + MANY_TRIES, 60)


# The store.


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_a_store_that_hangs_is_away_sooner(
    request: pytest.FixtureRequest, memos_of: NewMemos, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "store.db"
    if kind == "redis":
        proxy: Proxy = request.getfixturevalue("proxied_redis")
        one, memos = memos_of(**{"store_url": proxy.url, "store.timeout": HOUR_S})
    else:
        one, memos = memos_of(**{"store_url": f"sqlite://{path}", "store.timeout": HOUR_S})
    reload(one, **{"store.timeout": 0.2})
    with contextlib.ExitStack() as stack:
        if kind == "redis":
            proxy.stall()
            stack.callback(proxy.resume)
        else:
            other = sqlite3.connect(path, isolation_level=None)
            stack.enter_context(contextlib.closing(other))
            other.execute("BEGIN IMMEDIATE")
        handle = memos.start_registration("alice")
        eventually(lambda: "The store is away; jobs wait" in one.log)
    assert memos.client.finish(handle, 30).completed


def test_more_and_fewer_lists_are_kept(
    memos_of: NewMemos, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    one, memos = memos_of()
    topics = [memos, *(new_topic(gearmand) for _ in range(5))]

    def kept() -> int:
        for topic in topics:
            topic.reached()
        return int(row(memos, "status")["cached_topics"])

    assert kept() >= 6
    reload(one, **{"matchmaking.max_cached_topics": 2})
    assert row(memos, "status")["cached_topics"] <= 2
    assert kept() == 2
    reload(one, **{"matchmaking.max_cached_topics": 100})
    assert kept() >= 6


# Fan-outs.


def test_a_bound_of_open_copies_is_set_and_lifted(memos_of: NewMemos) -> None:
    one, memos = memos_of()
    reload(one, **{"fanout.max_open_copies": 4})
    handles = [memos.start(number, timeout=60) for number in range(2)]
    eventually(lambda: memos.waiting("bob") == 2)
    # Half of them are a topic's.
    assert memos.publish("late").refusal == "too_many_open"
    reload(one, **{"fanout.max_open_copies": 1000})
    handles.append(memos.start("in time", timeout=60))
    with memos.receiver("bob") as worker:
        for _ in handles:
            worker.complete(worker.grab())
    assert all(memos.client.finish(handle).completed for handle in handles)


def test_uniques_are_made_or_not(memos_of: NewMemos) -> None:
    one, memos = memos_of()

    def unique() -> bytes:
        memos.publish(background=True)
        with memos.receiver("bob") as worker:
            job = worker.grab()
            worker.complete(job)
        return job.unique

    assert unique()
    reload(one, **{"fanout.generate_unique": False})
    assert not unique()
    reload(one, **{"fanout.generate_unique": True})
    assert unique()


def test_jobs_in_hand_are_handed_back_sooner(memos_of: NewMemos) -> None:
    one, memos = memos_of(**{"service.drain_timeout": HOUR_S})
    memos.start(timeout=60)
    eventually(lambda: memos.waiting("bob") == 1)
    reload(one, **{"service.drain_timeout": 0.2})
    assert one.stop() == 0
    assert "1 jobs were not finished in 0.2 seconds: handing them back" in one.log


# Limits.


def test_bytes_of_a_queue_are_limited_and_not(memos_of: NewMemos) -> None:
    one, memos = memos_of()
    reload(one, **{"limits.max_waiting_bytes": 5 << 20})
    fill_up(memos, "bob", most=52, payload="x" * 100_000)
    assert memos.waiting("bob") <= 60
    reload(one, **{"limits.max_waiting_bytes": 0})
    eventually(lambda: reaches(memos, "bob"))


@pytest.mark.parametrize("total", ["limits.max_total", "limits.max_total_bytes"])
def test_a_server_is_limited_and_not(memos_of: NewMemos, total: str) -> None:
    one, memos = memos_of()
    memos.subscribe("alice", "carol")
    reload(one, **{total: 300 if total == "limits.max_total" else 30_000})
    eventually(lambda: refused(publish(memos, 5, "x" * 100), "bob"))
    assert memos.waiting("bob") < 300
    reload(one, **{total: 0})
    eventually(lambda: reaches(memos, "bob"))


def test_copies_for_a_full_queue_fail_or_are_left_out(memos_of: NewMemos) -> None:
    one, memos = memos_of(**FEW, **{"journal.topics": "t*"})
    fill_up(memos, "bob")
    for overflow, skipped in (("skip", 1), ("refuse", 0)):
        reload(one, **{"limits.overflow": overflow})
        (outcome,) = publish(memos, 1)
        assert outcome.report.get("skipped", 0) == skipped
        assert outcome.completed == bool(skipped)


def test_a_queue_is_named_sooner(memos_of: NewMemos) -> None:
    one, memos = memos_of(constants=LOOKS_OFTEN)
    publish(memos, 30)
    reload(one, **{"limits.warn_waiting": 20})
    line = f"queue {memos.queue('bob')} has "
    eventually(lambda: publish(memos, 1) and line in one.log)


def test_who_reads_nothing_ends_once_that_is_wanted(memos_of: NewMemos) -> None:
    one, memos = memos_of(**SHORT, constants=LOOKS_OFTEN)
    assert memos.reached() == 1
    reload(one, **{"limits.remove_idle": 0.9})
    eventually(lambda: memos.reached() == 0)


def test_what_is_left_is_discarded_once_that_is_wanted(memos_of: NewMemos) -> None:
    one, memos = memos_of(**SHORT, constants=LOOKS_OFTEN)
    assert memos.reached() == 1
    reload(one, **{"limits.discard_after": 0.9})
    request = {"topic": memos.name, "client_id": "bob"}
    assert memos.client.submit("unregister_fanout_subscriber", request).completed
    eventually(lambda: memos.waiting("bob") == 0)
