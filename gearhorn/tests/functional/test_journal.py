# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Topics with a journal: numbers in reports, copies and registrations, reading and catching up."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.builders import subscription
from gearhorn.tests.conftest import show_log
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.peer import Outcome
from gearhorn.tests.servers import Gearmand, Redis

PATTERNS = "t*, few.*?max_messages=2, ?ne"


@pytest.fixture(scope="module", params=["redis", "sqlite"])
def _shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gearmand, Daemon]]:
    path: Path = tmp_path_factory.mktemp("store") / "store.db"
    with Gearmand() as gearmand:
        url = f"sqlite://{path}"
        if request.param == "redis":
            server: Redis = request.getfixturevalue("_shared_redis")
            url = server.url
        options = {
            "gearman.servers": gearmand.address,
            "store.url": url,
            "store.key_prefix": f"test-{uuid.uuid4().hex[:12]}:",
            "journal.topics": PATTERNS,
            "journal.max_message_bytes": 1000,
            "limits.overflow": "skip",
        }
        with Daemon(options) as daemon:
            yield gearmand, daemon


@pytest.fixture
def topic(
    _shop: tuple[Gearmand, Daemon], new_topic: NewTopic, request: pytest.FixtureRequest
) -> Topic:
    """A topic with a journal of its own."""
    gearmand, daemon = _shop
    show_log(request.node, gearmand)
    show_log(request.node, daemon)
    return new_topic(gearmand)


def append(topic: Topic, *payloads: str) -> None:
    """Publish messages in the background."""
    for payload in payloads:
        outcome = topic.publish(payload, background=True)
        assert outcome.completed, outcome


def start_read(topic: Topic, **keys: Any) -> bytes:
    return topic.client.start("fanout_read", {"topic": topic.name, **keys})


def read(topic: Topic, **keys: Any) -> Any:
    """What a reader is answered."""
    outcome = topic.client.finish(start_read(topic, **keys))
    assert outcome.completed, outcome
    return outcome.report


def counted(topic: Topic, *names: str) -> list[int]:
    """What the daemon has counted under these names."""
    report = topic.client.submit("fanout_query", {"query": "status"}).report
    return [report["rows"][0]["counters"].get(name, 0) for name in names]


def payloads(backlog: Any) -> list[str]:
    return [found["payload"] for found in backlog["messages"]]


def register(topic: Topic, client_id: str, **keys: Any) -> Outcome:
    return topic.client.finish(topic.start_registration(client_id, **keys), 30)


def queued(topic: Topic, client_id: str, count: int) -> list[tuple[str, str]]:
    """Payload and unique of copies that wait in a queue, which are taken from it."""
    worker = topic.receiver(client_id)
    found = []
    for _ in range(count):
        job = worker.grab()
        worker.complete(job)
        found.append((job.data.decode(), job.unique.decode()))
    return found


def test_reports_copies_and_registrations_carry_the_number(topic: Topic) -> None:
    before = register(topic, "bob").report
    assert (before["journal"], before["sequence"]) == (None, 0)

    report = topic.publish("one", background=True).report
    journal = report["journal"]
    assert (report["sequence"], report["queued"]) == (1, 1)
    again = topic.publish("two", background=True, unique="mine").report
    assert (again["journal"], again["sequence"]) == (journal, 2)
    after = register(topic, "bob").report
    assert (after["journal"], after["sequence"]) == (journal, 2)
    assert queued(topic, "bob", 2) == [("one", f"j.{journal}.1.0"), ("two", f"j.{journal}.2.0")]


def test_a_foreground_fan_out_is_numbered_as_well(topic: Topic) -> None:
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    handle = topic.start("one")
    job = worker.grab()
    worker.complete(job)
    report = topic.client.finish(handle).report

    assert (report["delivered"], report["sequence"]) == (1, 1)
    assert job.unique.decode().startswith(f"j.{report['journal']}.1.0.")


def test_what_nobody_subscribes_to_is_in_the_journal(topic: Topic) -> None:
    assert read(topic)["journal"] is None
    append(topic, "one", "two", "three")

    backlog = read(topic)
    assert payloads(backlog) == ["one", "two", "three"]
    assert [found["sequence"] for found in backlog["messages"]] == [1, 2, 3]
    assert (backlog["first"], backlog["last"]) == (1, 3)
    assert not {"trimmed", "gap", "reset"} & backlog.keys()
    assert payloads(read(topic, after=1, limit=1)) == ["two"]
    assert payloads(read(topic, max_bytes=1)) == ["one"]
    assert payloads(read(topic, after=7)) == []
    other = read(topic, after=2, journal="other")
    assert (payloads(other), other["reset"]) == (["one", "two", "three"], True)


def test_bytes_come_as_base64(topic: Topic) -> None:
    topic.publish("gA==", encoding="base64", background=True)

    (found,) = read(topic)["messages"]
    assert (found["payload"], found["encoding"]) == ("gA==", "base64")


def test_a_reader_waits_for_what_comes_next(topic: Topic) -> None:
    append(topic, "one")
    handles = [start_read(topic, after=1, wait=60) for _ in range(3)]
    early = start_read(topic, after=0, wait=60)
    # It is answered when the others wait.
    assert payloads(topic.client.finish(early).report) == ["one"]
    append(topic, "two")

    for handle in handles:
        assert payloads(topic.client.finish(handle).report) == ["two"]


def test_a_reader_of_a_journal_that_is_not_there_yet_waits_too(topic: Topic) -> None:
    handle = start_read(topic, wait=60)
    append(topic, "one")

    assert payloads(topic.client.finish(handle).report) == ["one"]


def test_a_reader_is_answered_when_its_time_is_up(topic: Topic) -> None:
    backlog = read(topic, wait=0.05)

    assert (backlog["journal"], backlog["messages"]) == (None, [])


def test_readers_and_publishers_are_told_what_is_wrong(topic: Topic) -> None:
    assert topic.client.finish(start_read(topic, after=-1)).refusal == "invalid_position"
    assert topic.client.finish(start_read(topic, wait=301)).refusal == "invalid_position"
    other = topic.client.submit("fanout_read", {"topic": "other"})
    assert other.refusal == "no_journal"
    assert topic.publish("x", background=True, id="").refusal == "invalid_id"
    assert topic.publish("x", background=True, id="x" * 129).refusal == "invalid_id"
    assert topic.publish("x" * 1001, background=True).refusal == "message_too_large"
    assert register(topic, "bob", start="now").refusal == "invalid_start"
    nowhere = topic.client.submit(
        "register_fanout_subscriber", subscription("other", "bob", start="first")
    )
    assert nowhere.refusal == "no_journal"


def test_a_message_that_is_published_again_is_one_message(topic: Topic) -> None:
    topic.subscribe("bob")
    names = (
        'requests_total{function="fanout",code="ok"}',
        'fanouts_total{mode="background",outcome="ok"}',
        "journal_duplicates_total",
    )
    before = counted(topic, *names)
    first = topic.publish("one", background=True, id="the one").report
    published = 2
    again = topic.publish("one", background=True, id="the one").report
    while "duplicate" not in again:
        # The mark of the first is written beside its answer.
        published += 1
        again = topic.publish("one", background=True, id="the one").report

    assert again == {**first, "duplicate": True}
    assert read(topic)["last"] == 1
    # Each was answered; what was not sent is no fan-out that ended.
    found = [now - then for now, then in zip(counted(topic, *names), before, strict=True)]
    assert found == [published, published - 1, published - 1]


def test_a_late_joiner_gets_what_it_missed(topic: Topic) -> None:
    append(topic, *(f"m{number}" for number in range(250)))
    (before,) = counted(topic, "journal_replayed_total")
    answer = register(topic, "bob", start="first").report

    assert counted(topic, "journal_replayed_total") == [before + 250]
    assert (answer["sequence"], answer["replayed"], answer["after"]) == (250, 250, 250)
    assert not {"stopped", "reset"} & answer.keys()
    append(topic, "live")
    found = queued(topic, "bob", 251)
    assert [payload for payload, _ in found] == [f"m{n}" for n in range(250)] + ["live"]
    assert found[249][1] == f"j.{answer['journal']}.250.0"


def test_a_late_joiner_gets_the_last_message_or_goes_on_after_one(topic: Topic) -> None:
    append(topic, "one", "two", "three")
    journal = read(topic)["journal"]
    assert register(topic, "last", start="last").report["replayed"] == 1
    assert register(topic, "new", start="new").report.get("replayed") is None
    position = {"after": 1, "journal": journal}
    assert register(topic, "after", start=position).report["replayed"] == 2
    other = register(topic, "other", start={"after": 2, "journal": "old"}).report
    assert (other["replayed"], other["reset"]) == (3, True)

    assert [payload for payload, _ in queued(topic, "last", 1)] == ["three"]
    assert [payload for payload, _ in queued(topic, "after", 2)] == ["two", "three"]


def test_a_replay_stops_at_a_full_queue_and_goes_on_from_there(topic: Topic) -> None:
    append(topic, *(f"m{number}" for number in range(230)))
    answer = register(topic, "bob", start="first", max_waiting=100).report

    assert answer["stopped"] == "queue_full"
    assert answer["replayed"] == answer["after"]
    assert 80 <= answer["after"] <= 110
    seen = [payload for payload, _ in queued(topic, "bob", answer["replayed"])]
    assert seen == [f"m{number}" for number in range(answer["after"])]


def test_journals_are_listed(topic: Topic) -> None:
    append(topic, "one", "two!")
    asked = {"query": "journals", "topics": [topic.name, "other", topic.name]}
    page = topic.client.submit("fanout_query", asked).report

    (row,) = page["rows"]
    assert page["next"] is None
    assert (row["topic"], row["journal"]) == (topic.name, read(topic)["journal"])
    assert (row["first"], row["last"], row["messages"], row["bytes"]) == (1, 2, 2, 7)
    assert row["age"] >= 0
    listed: list[str] = []
    after = None
    while True:
        more = {"query": "journals", "limit": 1, "after": after}
        page = topic.client.submit("fanout_query", more).report
        listed += [row["topic"] for row in page["rows"]]
        after = page["next"]
        if after is None:
            break
    assert topic.name in listed
    assert listed == sorted(set(listed))


def test_the_status_tells_of_the_journals(topic: Topic) -> None:
    append(topic, "one")
    (row,) = topic.client.submit("fanout_query", {"query": "status"}).report["rows"]

    assert row["journal_fault"] is None
    assert row["counters"]["journal_messages_total"] >= 1
    assert {"journal_bytes", "store_memory", "store_max_memory"} <= row.keys()


def test_a_backlog_keeps_to_the_limits_of_its_pattern(topic: Topic) -> None:
    name = f"few.{topic.name}"
    for payload in ("one", "two", "three"):
        request = {"topic": name, "payload": payload, "background": True}
        assert topic.client.submit("fanout", request).completed
    backlog = topic.client.submit("fanout_read", {"topic": name}).report

    assert payloads(backlog) == ["two", "three"]
    assert (backlog["first"], backlog["last"], backlog["trimmed"]) == (2, 3, True)


def test_a_topic_that_fits_no_pattern_has_no_numbers(topic: Topic) -> None:
    request = {"topic": "other", "payload": "one", "background": True}
    report = topic.client.submit("fanout", request).report

    assert report == {"topic": "other", "subscribers": 0, "queued": 0, "failed": {}}


def fill(topic: Topic) -> Outcome:
    """Publish until a copy is not sent, as the queue of 100 is full, and return that outcome."""
    for number in range(300):
        outcome = topic.publish(f"m{number}", background=True)
        if outcome.report["queued"] == 0:
            return outcome
    raise AssertionError("the queue never was full")


def test_what_is_skipped_is_found_in_the_journal(topic: Topic) -> None:
    assert register(topic, "bob", max_waiting=100).completed
    outcome = fill(topic)

    assert outcome.completed
    assert (outcome.report["skipped"], outcome.report["failed"]) == (1, {})
    assert "failed_count" not in outcome.report
    assert read(topic)["last"] == outcome.report["sequence"]
    assert payloads(read(topic, after=outcome.report["sequence"] - 1)) == [
        f"m{outcome.report['sequence'] - 1}"
    ]


def test_a_subscriber_may_want_the_publisher_told(topic: Topic) -> None:
    assert register(topic, "bob", max_waiting=100, overflow="refuse").completed
    outcome = fill(topic)

    assert outcome.failed
    assert outcome.report["failed"] == {"bob": "queue_full"}
