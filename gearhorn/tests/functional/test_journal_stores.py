# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Journals in a store of their own, and a store of journals that is away, full or emptied."""

from __future__ import annotations

from typing import Any

from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.functional.test_journal import append, payloads, read
from gearhorn.tests.functional.test_journal_patterns import QUICK, adopt
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, Redis


def status(topic: Topic) -> Any:
    (row,) = topic.client.submit("fanout_query", {"query": "status"}).report["rows"]
    return row


def publish_elsewhere(topic: Topic) -> Any:
    """Publish to a topic without a journal, and return the report."""
    request = {"topic": "other", "payload": "one", "background": True}
    return topic.client.submit("fanout", request).report


def test_topics_without_a_journal_go_on_while_its_store_is_away(
    daemon: NewDaemon, gearmand: Gearmand, redis: Redis, new_topic: NewTopic
) -> None:
    options: dict[str, Any] = {"journal.topics": "t*", "journal.url": redis.url}
    options |= {"fanout.max_in_flight": 2, "store.timeout": 1}
    daemon(**options)
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    append(topic, "one")
    redis.kill()
    handles = [topic.start(f"m{number}", background=True) for number in range(5)]
    eventually(lambda: status(topic)["journal_fault"] == "store_away")

    assert publish_elsewhere(topic)["subscribers"] == 0
    redis.start()
    reports = [topic.client.finish(handle, 30).report for handle in handles]
    assert [report["sequence"] for report in reports] == sorted(
        report["sequence"] for report in reports
    )
    backlog = read(topic)
    assert payloads(backlog) == ["one", *(f"m{number}" for number in range(5))]
    assert status(topic)["journal_fault"] is None


def test_journals_whose_store_was_emptied_wait_for_a_word(
    daemon: NewDaemon, gearmand: Gearmand, start: Start, new_topic: NewTopic
) -> None:
    apart = start(Redis())
    options: dict[str, Any] = {"journal.topics": "t*", "journal.url": apart.url}
    process = daemon(constants=QUICK, **options)
    topic = new_topic(gearmand)
    append(topic, "one")
    apart.kill()
    apart.start()
    # What waits is given back when the patterns change, and taken again: once by its id.
    handle = topic.start("two", background=True, id="two")
    eventually(lambda: status(topic)["journal_fault"] == "store_replaced")
    eventually(lambda: "gearhorn-fanout --adopt-journals" in process.log)

    assert adopt(process).returncode == 0
    assert topic.client.finish(handle, 30).report["sequence"] >= 1
    assert payloads(read(topic)) == ["two"]


def test_a_store_of_journals_that_refuses_is_named_by_its_option(
    daemon: NewDaemon, gearmand: Gearmand, start: Start
) -> None:
    apart = start(Redis(requirepass="right"))
    wrong = f"redis://:wrong-one@{apart.address}/0"
    options: dict[str, Any] = {"journal.topics": "t*"}
    one = daemon(**options)
    other = Daemon({**one.options, "gearman.worker_id": None, "journal.url": wrong})
    other.start(wait_ready=False)
    try:
        eventually(lambda: "[journal] url: Redis: " in other.log)
        said = adopt(other)
    finally:
        other.close()

    assert (said.returncode, said.stdout) == (78, "")
    assert said.stderr.startswith("gearhorn-fanout: [journal] url: Redis: ")
    assert "wrong-one" not in other.log + said.stderr


def test_the_store_of_the_subscriptions_that_refuses_is_named_by_its_group(
    daemon: NewDaemon, start: Start
) -> None:
    locked = start(Redis(requirepass="right"))
    options: dict[str, Any] = {"journal.topics": "t*"}
    one = daemon(**options)
    one.config_file.write_text(
        one.config_file.read_text() + f"\n[store]\nurl = redis://:wrong-one@{locked.address}/0\n"
    )
    said = adopt(one)
    assert (said.returncode, said.stdout) == (78, "")
    assert said.stderr.startswith("gearhorn-fanout: [store] Redis: ")


def test_a_daemon_that_drains_lets_readers_go(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    options: dict[str, Any] = {"journal.topics": "t*"}
    process = daemon(**options)
    topic = new_topic(gearmand)
    handle = topic.client.start("fanout_read", {"topic": topic.name, "wait": 300})
    eventually(lambda: status(topic)["requests"] == 2)
    eventually(lambda: gearmand.admin.queue("fanout_read").running == 1)
    assert process.stop() == 0

    assert topic.client.finish(handle).report["messages"] == []
