# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What a daemon counts, as operators are told of it."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from gearhorn.tests.builders import subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.http import ask
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis


def counters(client: Peer) -> dict[str, float]:
    outcome = client.submit("fanout_query", {"query": "status"})
    found: dict[str, float] = outcome.report["rows"][0]["counters"]
    return found


def test_what_became_of_fan_outs_and_of_requests(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    daemon()
    topic = new_topic(gearmand)
    topic.subscribe("alice", "bob")
    worker = topic.receiver("alice", "bob")

    topic.publish("12345", background=True)
    topic.publish("12345", background=True)
    for _ in range(4):
        worker.complete(worker.grab())
    handle = topic.start("678")
    worker.complete(worker.grab())
    worker.fail(worker.grab())
    topic.client.finish(handle)
    topic.client.submit("fanout", {"topic": topic.name})
    topic.client.submit("register_fanout_subscriber", subscription("__matchmaking", "x"))
    found = counters(topic.client)

    server = f'server="{gearmand.address}"'
    shown = {
        'fanouts_total{mode="background",outcome="ok"}': 2,
        'fanouts_total{mode="foreground",outcome="partial"}': 1,
        f'copies_queued_total{{mode="background",{server}}}': 4,
        f'copies_queued_total{{mode="foreground",{server}}}': 2,
        "copies_delivered_total": 1,
        'copies_failed_total{mode="foreground",reason="receiver_failed"}': 1,
        "payload_bytes_total": 13,
        "copied_bytes_total": 26,
        'fanout_copies_sum{mode="background"}': 4,
        'fanout_duration_seconds_count{mode="foreground"}': 1,
        'requests_total{function="fanout",code="ok"}': 3,
        'requests_total{function="fanout",code="missing_key"}': 1,
        'requests_total{function="register",code="ok"}': 2,
        'requests_total{function="register",code="reserved_topic"}': 1,
        "registration_duration_seconds_count": 2,
        "list_hits_total": 2,
        'list_reads_total{kept="yes"}': 1,
        'store_call_duration_seconds_count{operation="add"}': 2,
    }
    assert {name: found.get(name) for name in shown} == shown
    # Sums of what took no time at all may be 0.
    assert all(found.values()), found


def test_copies_that_a_server_refuses_are_no_queued_ones(
    daemon: NewDaemon, start: Start, new_topic: NewTopic
) -> None:
    gearmand = start(Gearmand())
    daemon([gearmand])
    topic = new_topic(gearmand)
    topic.subscribe("alice")
    topic.publish(background=True)
    gearmand.admin.command(f"maxqueue {topic.queue('alice')} 1")

    assert not topic.publish("another", background=True).completed
    found = counters(topic.client)

    server = f'server="{gearmand.address}"'
    assert found[f'copies_queued_total{{mode="background",{server}}}'] == 1
    assert found['copies_failed_total{mode="background",reason="queue_full"}'] == 1
    assert found['fanouts_total{mode="background",outcome="failed"}'] == 1
    assert found[f"job_server_errors_total{{{server}}}"] == 1


def test_notices_that_daemons_send_each_other(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    leases: dict[str, Any] = {"matchmaking.cache_ttl": 2}
    one, two = daemon(**leases), daemon(**leases)
    client = peer()

    def told(worker_id: str) -> dict[str, float]:
        answer = client.submit(f"__matchmaking_{worker_id}", {"query": "status"})
        found: dict[str, float] = answer.report["rows"][0]["counters"]
        return found

    client.submit("register_fanout_subscriber", subscription("t", "bob"))
    both = [told(process.worker_id) for process in (one, two)]

    assert sum(found.get("notices_sent_total", 0) for found in both) == 1
    assert sum(found.get("notices_confirmed_total", 0) for found in both) == 1
    assert sum(found.get("notices_received_total", 0) for found in both) == 1
    assert sum(found.get("copies_queued_total", 0) for found in both) == 0


def test_the_log_is_counted_from_when_http_was_turned_on_and_not_in_the_status(
    daemon: NewDaemon, peer: NewPeer
) -> None:
    options: dict[str, Any] = {"http.listen": f"127.0.0.1:{free_port()}"}
    process = daemon()
    client = peer()
    assert client.submit("fanout", {}).refusal == "missing_key"
    process.configure(**options)
    process.signal(signal.SIGHUP)
    eventually(lambda: "a page over HTTP on" in process.log)

    assert 'gearhorn_log_records_total{level="warning"} 0.0' in ask(process, "/metrics").text
    assert client.submit("fanout", {"topic": 1}).refusal == "wrong_type"
    shown = ask(process, "/metrics").text

    assert 'gearhorn_log_records_total{level="warning"} 1.0' in shown
    told = counters(client)
    assert not any(name.startswith(("log_records", "loop_delay")) for name in told)
    # All else is in both.
    assert 'gearhorn_requests_total{code="missing_key",function="fanout"} 1.0' in shown
    assert told['requests_total{function="fanout",code="missing_key"}'] == 1


def test_calls_of_the_store_of_journals(
    daemon: NewDaemon, gearmand: Gearmand, redis: Redis, new_topic: NewTopic
) -> None:
    journals: dict[str, Any] = {"journal.topics": "t*", "journal.url": redis.url}
    daemon(**journals)
    topic = new_topic(gearmand)
    topic.publish("12345", background=True)
    assert topic.client.submit("fanout_read", {"topic": topic.name}).completed
    found = counters(topic.client)

    def calls(operation: str) -> float | None:
        return found.get(f'journal_call_duration_seconds_count{{operation="{operation}"}}')

    assert (found["journal_messages_total"], found["journal_bytes_total"]) == (1, 5)
    assert found["journal_read_messages_total"] == 1
    assert calls("append") == found["journal_append_seconds_count"] == 1
    assert calls("open") == 1
    assert calls("read_all") == 1
    assert not any(name.startswith("journal_errors_total") for name in found)
    redis.kill()
    topic.start("678", background=True)
    eventually(lambda: counters(topic.client).get('journal_errors_total{code="store_away"}'))
    # The store of the subscriptions is another one.
    assert 'store_errors_total{code="store_away"}' not in counters(topic.client)


@pytest.mark.slow
def test_a_store_and_a_job_server_that_go_away(
    daemon: NewDaemon, gearmand: Gearmand, redis: Redis, peer: NewPeer
) -> None:
    options: dict[str, Any] = {"gearman.reconnect_max": 0.1}
    daemon(store_url=redis.url, **options)
    server = f'server="{gearmand.address}"'
    client = peer()
    redis.kill()
    handle = client.start("register_fanout_subscriber", subscription("t", "bob", ttl=0.2))
    eventually(lambda: counters(client).get('store_errors_total{code="store_away"}'))
    redis.start()
    client.finish(handle)
    eventually(lambda: counters(client).get("subscriptions_expired_total") == 1)
    gearmand.restart()
    again = peer()

    found = counters(again)

    assert found["store_fault_seconds_total"] > 0
    assert found[f"job_server_losses_total{{{server}}}"] == 7
    assert found[f"job_server_connects_total{{{server}}}"] > 6
