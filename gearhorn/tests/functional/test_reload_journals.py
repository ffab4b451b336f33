# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""SIGHUP with other limits of journals, under a daemon that appends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.functional.test_journal import append, payloads, read
from gearhorn.tests.functional.test_reload import KEPT, reload
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

QUICK = {"gearhorn.daemon.journal.parts.UPKEEP_S": 0.1}


@pytest.fixture(params=["redis", "sqlite"])
def one(request: pytest.FixtureRequest, daemon: NewDaemon, tmp_path: Path) -> Daemon:
    url: dict[str, Any] = {}
    if request.param == "sqlite":
        url = {"store_url": f"sqlite://{tmp_path}/store.db"}
    options: dict[str, Any] = {"journal.topics": "t*, few.*?max_messages=2"}
    return daemon(**url, constants=QUICK, **options)


@pytest.fixture
def topic(one: Daemon, gearmand: Gearmand, new_topic: NewTopic) -> Topic:
    return new_topic(gearmand)


def test_limits_hold_for_the_next_message(
    one: Daemon, topic: Topic, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    append(topic, "a", "b", "c")
    assert reload(one, **{"journal.max_messages": 2}) == "[journal] max_messages = 2 (was 10000)"
    append(topic, "d")
    assert payloads(read(topic)) == ["c", "d"]
    reload(one, **{"journal.max_messages": 10, "journal.max_bytes": 3})
    append(topic, "e", "f")
    assert payloads(read(topic)) == ["d", "e", "f"]

    reload(one, **{"journal.max_bytes": None, "journal.max_message_bytes": 4})
    refused = topic.publish("larger", background=True)
    assert refused.refusal == "message_too_large"
    assert "takes 4, by" in refused.report["message"]
    reload(one, **{"journal.max_message_bytes": None, "journal.max_topics": 1})
    append(topic, "larger")
    other = new_topic(gearmand)
    assert other.publish("g", background=True).refusal == "too_many_journals"
    reload(one, **{"journal.max_topics": 2})
    append(other, "g")


def test_what_is_too_old_by_a_new_age_ends(one: Daemon, topic: Topic) -> None:
    append(topic, "a")
    # The journal itself ends after ten times that.
    reload(one, **{"journal.max_age": 2})
    assert eventually(lambda: read(topic)["first"] == 2)
    reload(one, **{"journal.max_age": 0})
    append(topic, "b")
    assert payloads(read(topic)) == ["b"]


def test_ids_are_remembered_for_as_long_as_it_says_now(one: Daemon, topic: Topic) -> None:
    def sequence() -> Any:
        return topic.publish("a", background=True, id="memo-1").report["sequence"]

    assert (sequence(), sequence()) == (1, 1)
    reload(one, **{"journal.id_window": 1})
    time.sleep(1.1)
    assert sequence() == 2


def test_messages_are_collected_for_as_long_as_it_says_now(one: Daemon, topic: Topic) -> None:
    assert reload(one, **{"journal.flush_interval": 0.5}) == (
        "[journal] flush_interval = 0.5 (was 0.0)"
    )
    begun = time.monotonic()
    handles = [topic.start(payload, background=False) for payload in ("a", "b")]
    for handle in handles:
        topic.client.finish(handle)
    assert time.monotonic() - begun >= 0.5
    assert payloads(read(topic)) == ["a", "b"]


def test_patterns_and_the_store_need_a_restart(one: Daemon, topic: Topic) -> None:
    fixed = {"journal.topics": "u*", "journal.url": "redis://:pass-word@127.0.0.1:1/0"}
    kept = reload(one, KEPT, **fixed, **{"journal.max_messages": 1})
    assert kept == (
        "[journal] topics = u* (was t*, few.*?max_messages=2), [journal] url = **** (was ****)"
    )
    append(topic, "a", "b")
    assert payloads(read(topic)) == ["b"]
    assert "pass-word" not in one.log


def test_a_daemon_without_journals_takes_their_limits_as_well(daemon: NewDaemon) -> None:
    assert reload(daemon(), **{"journal.max_topics": 2}) == "[journal] max_topics = 2 (was 1000)"
