# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The queries of operators, and the answers that a daemon gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.packets import SUBMIT_JOB_HIGH_BG
from gearhorn.tests.peer import Outcome, Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, Redis


def ask(client: Peer, query: str, **keys: Any) -> Outcome:
    return client.submit("fanout_query", {"query": query, **keys})


def pages(client: Peer, query: str, **keys: Any) -> Iterator[list[dict[str, Any]]]:
    """The rows of each page, from the first to the last."""
    while True:
        outcome = ask(client, query, **keys)
        assert outcome.completed, outcome
        assert outcome.report["query"] == query
        yield outcome.report["rows"]
        keys["after"] = outcome.report["next"]
        if keys["after"] is None:
            return


def rows(client: Peer, query: str, **keys: Any) -> list[dict[str, Any]]:
    return [row for page in pages(client, query, **keys) for row in page]


def test_topics_and_how_many_subscribe(daemon: NewDaemon, peer: NewPeer) -> None:
    daemon()
    client = peer()
    daemons = {"topic": "__matchmaking", "subscribers": 1}
    assert rows(client, "topics") == [daemons]

    for topic, client_id in (("b", "1"), ("b", "2"), ("ä", "1"), ("a", "1")):
        client.submit("register_fanout_subscriber", subscription(topic, client_id))

    assert rows(client, "topics") == [
        daemons,
        {"topic": "a", "subscribers": 1},
        {"topic": "b", "subscribers": 2},
        {"topic": "ä", "subscribers": 1},
    ]
    assert [len(page) for page in pages(client, "topics", limit=3)] == [3, 1]
    # The last page is known to be the last, also where it is full.
    assert [len(page) for page in pages(client, "topics", limit=2)] == [2, 2]
    assert [row["topic"] for row in rows(client, "topics", after="aa", limit=1)] == ["b", "ä"]


def test_subscribers_and_when_they_expire(topic: Topic) -> None:
    topic.subscribe("for-ever", "ä")
    topic.subscribe("visitor", ttl=3600)

    found = rows(topic.client, "subscribers", topic=topic.name)

    expires_in = found[1].pop("expires_in")
    assert 3590 < expires_in <= 3600
    assert [{key: row[key] for key in ("client_id", "queue")} for row in found] == [
        {"client_id": client_id, "queue": topic.queue(client_id)}
        for client_id in ("for-ever", "visitor", "ä")
    ]
    assert [row.get("expires_in") for row in found] == [None] * 3
    in_pages = list(pages(topic.client, "subscribers", topic=topic.name, limit=1))
    assert [row["client_id"] for (row,) in in_pages] == ["for-ever", "visitor", "ä"]


def test_a_topic_without_subscribers_has_one_empty_page(topic: Topic) -> None:
    outcome = ask(topic.client, "subscribers", topic=topic.name)

    assert outcome.report == {"query": "subscribers", "rows": [], "next": None}


def test_a_page_holds_a_thousand_rows_unless_asked_for_fewer(topic: Topic) -> None:
    topic.subscribe(*(f"{number:04}" for number in range(1001)))

    first, second = pages(topic.client, "subscribers", topic=topic.name)

    assert [row["client_id"] for row in first] == [f"{number:04}" for number in range(1000)]
    assert [row["client_id"] for row in second] == ["1000"]


def test_daemons_and_when_they_were_last_seen(daemon: NewDaemon, peer: NewPeer) -> None:
    one, two = daemon(), daemon()
    client = peer()

    found = rows(client, "daemons")

    assert [row["worker_id"] for row in found] == sorted([one.worker_id, two.worker_id])
    assert all(0 <= row["age"] < 30 and row["barred"] is False for row in found)
    in_pages = [page[0]["worker_id"] for page in pages(client, "daemons", limit=1)]
    assert in_pages == [row["worker_id"] for row in found] == sorted(in_pages)


def test_a_daemon_that_is_being_removed_by_hand_is_barred(
    daemon: NewDaemon, peer: NewPeer, gearmand: Gearmand
) -> None:
    options: dict[str, Any] = {"matchmaking.cache_ttl": 1.5}
    gone = daemon(**options)
    daemon(**options)
    client = peer()
    worker_id = gone.worker_id
    gone.kill()

    removal = subscription("__matchmaking", worker_id)
    handle = client.start("unregister_fanout_subscriber", removal)

    def row() -> dict[str, Any] | None:
        return next((r for r in rows(client, "daemons") if r["worker_id"] == worker_id), None)

    assert eventually(lambda: (found := row()) is not None and found["barred"])
    assert client.finish(handle).completed
    assert row() is None


def test_urgent_queries_hold_up_no_registration(
    daemon: NewDaemon, peer: NewPeer, gearmand: Gearmand
) -> None:
    """From 2.0.0 on gearmand gives them before all other jobs of their connection."""
    daemon()
    impatient, client = peer(), peer()
    for _ in range(5_000):
        impatient.send(SUBMIT_JOB_HIGH_BG, "fanout_query", "", '{"query": "status"}')
    impatient.echo()

    handle = client.start("register_fanout_subscriber", subscription("memos", "bob"))
    assert client.finish(handle, 60).completed

    assert gearmand.admin.queue("fanout_query").total > 0


def test_how_the_daemon_is_that_answers(
    daemon: NewDaemon, peer: NewPeer, gearmand: Gearmand, start: Start
) -> None:
    away = Gearmand()
    options: dict[str, Any] = {"functions.fanout": "spread", "matchmaking.topic": "mm"}
    process = daemon([gearmand, away], **options)
    client = peer()
    for client_id in ("bob", "alice"):
        client.submit("register_fanout_subscriber", subscription("memos", client_id))
    # In hand until its receivers answer, which there are none of.
    client.start("spread", message("memos"))

    def status() -> dict[str, Any]:
        (row,) = rows(client, "status")
        return dict(row)

    # Its topic is read once it is in hand.
    assert eventually(lambda: status()["cached_topics"] == 1)

    row = status()
    assert row.pop("worker_id") == process.worker_id
    assert row.pop("version")
    assert 0 <= row.pop("uptime") < 30
    # The copies wait, perhaps unseen.
    assert len(row.pop("deepest")) <= 2
    assert row.pop("counters")
    assert row == {
        "store_fault": None,
        "servers": {gearmand.address: True, away.address: False},
        "fanouts": 1,
        "fanouts_open": 1,
        "requests": 1,
        "cached_topics": 1,
        "functions": {
            "register": "register_fanout_subscriber",
            "subscribe": "subscribe_fanout",
            "unregister": "unregister_fanout_subscriber",
            "unsubscribe": "unsubscribe_fanout",
            "fanout": "spread",
            "query": "fanout_query",
            "read": "fanout_read",
        },
        "matchmaking_topic": "mm",
        "cache_ttl": 10.0,
        "daemon_ttl": 60.0,
        "store_evicts": None,
        "limits": vars(LimitSettings()),
        "journal_fault": None,
        "journal_bytes": None,
        "store_memory": None,
        "store_max_memory": None,
    }
    start(away)
    assert eventually(lambda: status()["servers"][away.address])


@pytest.mark.parametrize("query", ["topics", "subscribers", "daemons"])
@pytest.mark.parametrize("how", ["frozen", "gone"])
def test_a_store_that_is_away_is_told_of_and_not_waited_for(
    daemon: NewDaemon, peer: NewPeer, start: Start, query: str, how: str
) -> None:
    redis = start(Redis())
    options: dict[str, Any] = {"store.timeout": 0.5}
    daemon(store_url=redis.url, **options)
    client = peer()
    topic = {"topic": "memos"} if query == "subscribers" else {}
    if how == "frozen":
        redis.pause()
    else:
        redis.kill()
    # Registrations wait, and the query does not wait behind them.
    for number in range(100):
        client.start("register_fanout_subscriber", subscription("memos", str(number)))

    outcome = ask(client, query, **topic)

    assert outcome.refusal == "store_away"
    (row,) = rows(client, "status")
    assert row["store_fault"] == "store_away"


def test_a_store_that_takes_no_changes_is_told_of(
    daemon: NewDaemon, peer: NewPeer, start: Start
) -> None:
    redis = start(Redis())
    daemon(store_url=redis.url)
    client = peer()
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    client.start("register_fanout_subscriber", subscription("memos", "bob"))

    assert eventually(lambda: rows(client, "status")[0]["store_fault"]) == "store_full"
    assert rows(client, "topics")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({}, "missing_key"),
        ({"query": 1}, "wrong_type"),
        ({"query": "topic"}, "invalid_query"),
        ({"query": ""}, "invalid_query"),
        ({"query": "topics", "colour": "red"}, "unknown_key"),
        ({"query": "topics", "topic": "memos"}, "invalid_query"),
        ({"query": "subscribers"}, "invalid_query"),
        ({"query": "subscribers", "topic": None}, "invalid_query"),
        ({"query": "subscribers", "topic": ""}, "invalid_topic"),
        ({"query": "subscribers", "topic": "a\tb"}, "invalid_topic"),
        ({"query": "subscribers", "topic": "x" * 511}, "name_too_long"),
        ({"query": "topics", "after": 5}, "wrong_type"),
        ({"query": "status", "after": "a"}, "invalid_query"),
        ({"query": "topics", "limit": 0}, "invalid_query"),
        ({"query": "topics", "limit": 1001}, "invalid_query"),
        ({"query": "topics", "limit": 1.5}, "wrong_type"),
        ({"query": "topics", "limit": "5"}, "wrong_type"),
        ({"query": "topics", "limit": True}, "wrong_type"),
        ({"query": "topics", "after": "x" * 65536}, "message_too_large"),
    ],
)
def test_a_query_that_breaks_the_rules_is_refused(
    topic: Topic, request_: dict[str, Any], code: str
) -> None:
    outcome = topic.client.submit("fanout_query", request_)

    assert outcome.refusal == code
    assert outcome.report["message"]


def test_null_is_the_same_as_leaving_a_key_out(topic: Topic) -> None:
    outcome = topic.client.submit(
        "fanout_query", {"query": "daemons", "topic": None, "after": None, "limit": None}
    )

    assert outcome.completed
