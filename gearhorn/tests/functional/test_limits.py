# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Queues that are full: what publishers, subscribers and operators see of them."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.cli import gearhorn
from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.functional.conftest import NewTopic, TopicWith
from gearhorn.tests.functional.diagnosis import doctor
from gearhorn.tests.functional.filling import (
    FEW,
    fill,
    fill_up,
    publish,
    reaches,
    refused,
    row,
    sent,
    work_off,
)
from gearhorn.tests.functional.live_reports import until_all_copies_go
from gearhorn.tests.functional.standalone import Standalone
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

RUNBOOK = (Path(__file__).parents[3] / "doc/source/howto/runbook.rst").read_text("utf-8")
WARNS: dict[str, Any] = {"limits.max_waiting": 200, "limits.warn_waiting": 100}


def test_what_nobody_reads_is_filled_to_its_limit_and_others_get_all(
    topic_with: TopicWith, gearmand: Gearmand
) -> None:
    topic = topic_with(**FEW)
    topic.subscribe("dead", "quick")
    quick = topic.receiver("quick")
    first = publish(topic, 60)
    for _ in first:
        quick.complete(quick.grab())
    second = publish(topic, 60)
    for _ in second:
        quick.complete(quick.grab())
    # What counted twice is seen by a look, and there is room again, below seven eighths.
    while topic.waiting("dead") < 88 or not refused(second[-1:], "dead"):
        second += publish(topic, 1)
        quick.complete(quick.grab())

    # What was sent is queued, what was refused is not. A message that was on its way while the
    # daemon looked may count twice.
    queued = sent(first + second, "dead")
    assert topic.waiting("dead") == queued <= 100
    assert refused(first + second, "quick") == 0
    last = second[-1].report
    assert (last["subscribers"], last["queued"], last["failed_count"]) == (2, 1, 1)

    # In the foreground, too, and only the others are waited for.
    handle = topic.start("wait for me")
    quick.complete(quick.grab())
    report = topic.client.finish(handle).report
    assert (report["subscribers"], report["delivered"]) == (2, 1)
    assert report["failed"] == {"dead": "queue_full"}

    # One that would coalesce with a copy that waits is refused as well.
    assert refused(publish(topic, 1, unique="same"), "dead") == 1

    found = eventually(lambda: row(topic, "dead")["full"] and row(topic, "dead"))
    assert found["workers"] == found["running"] == 0
    assert 0 <= found["age"] < 90
    shown = json.loads(
        gearhorn([gearmand.address], "subscribers", topic.name, "--format=json").stdout
    )
    assert [(r["client_id"], r["waiting"], r["full"]) for r in shown] == [
        ("dead", queued, True),
        ("quick", 1, False),
    ]
    diagnosis = doctor([gearmand.address])
    assert diagnosis.findings["queue-full"][0]["subject"] == topic.queue("dead")
    # More receivers are of no use where there is none.
    assert diagnosis.findings["queue-full"][0]["advice"].startswith(
        diagnosis.findings["queue-unread"][0]["advice"]
    )
    assert "function-full" not in diagnosis.findings


def test_a_receiver_that_comes_back_gets_messages_again(topic_with: TopicWith) -> None:
    topic = topic_with(**FEW)
    topic.subscribe("bob")
    fill(topic, "bob")
    # Seven eighths of the limit are the most with which it is open again.
    work_off(topic, "bob", 30)
    eventually(lambda: reaches(topic, "bob"))


def test_the_query_tells_how_many_wait_and_run_and_how_many_work(topic_with: TopicWith) -> None:
    topic = topic_with(**FEW)
    topic.subscribe("bob", "alice")
    fill_up(topic, "bob", "alice")
    with topic.receiver("bob") as worker, topic.receiver("bob"):
        worker.grab()
        # While a queue is full the daemon looks again and again.
        found = eventually(
            lambda: (bob := row(topic, "bob"))["running"] and bob["workers"] == 2 and bob
        )
        assert (found["running"], found["full"]) == (1, True)
        assert found["waiting"] + 1 == topic.waiting("bob")
        assert all(type(found[key]) is int for key in ("waiting", "running", "workers"))
    other = row(topic, "alice")
    assert (other["running"], other["workers"]) == (0, 0)
    assert other["waiting"] == topic.waiting("alice")


@pytest.mark.once
def test_a_limit_of_its_own_and_one_that_is_lifted(topic_with: TopicWith) -> None:
    topic = topic_with(**{"limits.max_waiting": 300, "matchmaking.cache_ttl": 0.5})
    topic.subscribe("few", max_waiting=100, overflow="skip")
    topic.subscribe("many", max_waiting=1000)

    outcomes = fill_up(topic, "few")

    # The smaller limit counts. What is skipped would have to be found in a journal.
    assert topic.waiting("few") == sent(outcomes, "few") <= 100
    outcomes += fill_up(topic, "many", most=300)
    assert topic.waiting("few") == sent(outcomes, "few") <= 100
    assert topic.waiting("many") == sent(outcomes, "many") <= 300
    found = row(topic, "few")
    assert (found["max_waiting"], found["overflow"]) == (100, "skip")

    # Who registers again says its limits again, and lists are read again in a moment.
    topic.subscribe("few")
    eventually(lambda: reaches(topic, "few"))
    assert row(topic, "few")["max_waiting"] is None
    topic.subscribe("few", max_waiting=100)
    eventually(lambda: not reaches(topic, "few"))


@pytest.mark.once
def test_large_messages_fill_a_queue_by_their_bytes(topic_with: TopicWith) -> None:
    topic = topic_with(**{"limits.max_waiting_bytes": 5 << 20})
    topic.subscribe("dead")
    outcomes = fill_up(topic, "dead", most=52, payload="x" * 100_000)
    assert topic.waiting("dead") == sent(outcomes, "dead") <= 60


@pytest.mark.once
def test_names_that_differ_in_case_are_queues_of_their_own(topic_with: TopicWith) -> None:
    topic = topic_with(**FEW)
    topic.subscribe("bob")
    fill_up(topic, "bob")
    topic.subscribe("Bob")
    assert refused(publish(topic, 1), "Bob") == 0
    eventually(lambda: (row(topic, "bob")["full"], row(topic, "Bob")["full"]) == (True, False))


@pytest.mark.once
def test_the_matchmaking_topic_has_no_limits(topic_with: TopicWith) -> None:
    topic = topic_with(**FEW)
    request = {"topic": "__matchmaking", "payload": {"topic": "t"}}
    for _ in range(120):
        assert topic.client.submit("fanout", request).completed


def test_a_job_server_that_lost_its_queues_has_room_again(
    topic_with: TopicWith, gearmand: Gearmand
) -> None:
    topic = topic_with(**{**FEW, "gearman.reconnect_max": 0.2})
    topic.subscribe("bob")
    fill(topic, "bob")
    gearmand.kill()
    gearmand.start()
    topic.client = topic.peer()
    eventually(lambda: reaches(topic, "bob"))


def test_a_queue_that_survives_a_restart_is_full_for_a_daemon_that_has_sent_nothing(
    daemon: NewDaemon, start: Start, new_topic: NewTopic, tmp_path: Path
) -> None:
    file = tmp_path / "queue.db"
    server = start(Gearmand("--queue-type=libsqlite3", f"--libsqlite3-db={file}"))
    first = daemon([server], **FEW)
    topic = new_topic(server)
    topic.subscribe("bob")
    fill_up(topic, "bob")
    first.kill()
    server.kill()
    server.start()
    daemon([server], **FEW)
    topic.client = topic.peer()
    # It waits a second at the most for its first look.
    eventually(lambda: row(topic, "bob")["waiting"] > 80)
    assert refused(publish(topic, 40), "bob") >= 20


@pytest.mark.once
def test_each_of_two_servers_is_looked_at_for_its_own_queues(
    daemon: NewDaemon, gearmand: Gearmand, start: Start, new_topic: NewTopic
) -> None:
    other = start(Gearmand())
    process = daemon([gearmand, other], **{**FEW, "gearman.reconnect_max": 0.2})
    until_all_copies_go(process, gearmand, other)
    topic = new_topic(gearmand)
    # So many that they are not all on one server by chance.
    names = [f"c{number}" for number in range(20)]
    topic.subscribe(*names)
    outcomes = fill_up(topic, *names, servers=[gearmand, other])
    depths = [server.admin.totals(map(topic.queue, names)) for server in (gearmand, other)]
    # Each queue is on one of them.
    assert all(0 in pair for pair in zip(*depths, strict=True))
    assert all(map(sum, depths))
    found = [max(pair) for pair in zip(*depths, strict=True)]
    assert found == [sent(outcomes, name) for name in names]
    assert max(found) <= 100
    # The queues of a server that is lost move, and are empty where they come.
    other.kill()
    moved = [name for name, depth in zip(names, depths[1], strict=True) if depth]
    eventually(lambda: reaches(topic, moved[0]))


@pytest.mark.once
def test_many_small_backlogs_are_kept_to_the_total_of_a_server(topic_with: TopicWith) -> None:
    topic = topic_with(**{"limits.max_total": 1_000})
    names = [f"c{number}" for number in range(50)]
    topic.subscribe(*names)
    eventually(lambda: refused(publish(topic, 5), names[0]))
    assert topic.server.admin.total(map(topic.queue, names)) < 2_000


def test_a_bound_that_an_operator_set_is_named_for_what_it_is(
    topic_with: TopicWith, gearmand: Gearmand
) -> None:
    topic = topic_with()
    topic.subscribe("bob", "alice")
    assert reaches(topic, "bob")
    # gearmand takes a bound only for a function that it knows.
    gearmand.admin.command(f"maxqueue {topic.queue('bob')} 3")
    outcomes = publish(topic, 4)
    assert refused(outcomes, "bob") == 2
    assert refused(outcomes, "alice") == 0
    # In the foreground, too.
    handle = topic.start("wait for me")
    with topic.receiver("alice") as alice:
        alice.take(6)
    report = topic.client.finish(handle).report
    assert (report["delivered"], report["failed"]) == (1, {"bob": "queue_full"})

    gearmand.admin.command("maxqueue fanout 1")
    with topic.peer() as other:
        # Its job is in hand as long as nobody answers.
        other.start("fanout", topic.request(timeout=20))
        findings = eventually(lambda: doctor([gearmand.address]).findings.get("function-full"))
    assert findings is not None
    (finding,) = findings
    command = finding["advice"].rpartition("on each: ")[2]
    host, port = gearmand.address.split(":")
    assert command.replace(f"/{host}/{port}", "/HOST/4730") in RUNBOOK
    lifted = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=30)
    assert lifted.stdout.strip() == "OK", lifted
    assert "function-full" not in doctor([gearmand.address]).findings
    assert findings[0]["subject"] == "fanout"


def test_deep_queues_are_named_in_the_log_and_by_the_commands(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    process = daemon(**WARNS)
    topic = new_topic(gearmand)
    # The terminal of whoever reads the log is not to act on the name.
    topic.name += "\u202e"
    topic.subscribe("dead")
    fill_up(topic, "dead", most=200)
    queue = topic.queue("dead").replace("\u202e", r"\u202e")
    eventually(
        lambda: (
            f"WARNING gearhorn.daemon.guard.deep_log [-] queue {queue} is full with" in process.log
        )
    )
    fill(topic, "dead")
    assert process.log.count(f"queue {queue} is full with") == 1

    shown = gearhorn([gearmand.address], "daemons").stdout
    assert f"Deepest queues: {queue} (" in shown
    assert doctor([gearmand.address]).findings["queue-deep"][0]["subject"] == topic.queue("dead")
    # Its empty requests are refused, which the log need not tell.
    assert "refused a job of" not in process.log
    status = topic.client.submit("fanout_query", {"query": "status"}).report["rows"][0]
    assert status["deepest"][0][0] == topic.queue("dead")
    assert "\u202e" not in process.log
    assert status["limits"]["max_waiting"] == 200


@pytest.mark.once
def test_daemons_with_other_limits_are_named(daemon: NewDaemon, gearmand: Gearmand) -> None:
    often: dict[str, Any] = {"matchmaking.cache_ttl": 0.5, "matchmaking.daemon_ttl": 1.5}
    one = daemon(**often)
    other = daemon(**often, **FEW)
    named = f"daemon {other.worker_id} has [limits] max_waiting"
    line = f"WARNING gearhorn.daemon.trust.agreement [-] {named}"
    eventually(lambda: line in one.log)
    (finding,) = doctor([gearmand.address]).findings["daemon-limits"]
    assert "[limits] max_waiting" in finding["text"]
    assert "reload them" in finding["advice"]
    # A reload is enough.
    other.configure(**dict.fromkeys(FEW))
    other.signal(signal.SIGHUP)
    eventually(lambda: "daemon-limits" not in doctor([gearmand.address]).findings)


@pytest.mark.once
def test_the_standalone_mode_without_gearmand_has_limits_too(start: Start, tmp_path: Path) -> None:
    command = Standalone(tmp_path, gearmand=False)
    config = command._config
    config.write_text(f"{config.read_text()}[limits]\nmax_waiting = 100\n")
    server = start(command)
    with server.peer() as client:
        subscription = {"topic": "t", "client_id": "dead"}
        assert client.submit("register_fanout_subscriber", subscription).completed
        request = {"topic": "t", "payload": "m", "background": True}
        outcomes = [client.submit("fanout", request) for _ in range(120)]
    assert 20 <= refused(outcomes, "dead") < 60


@pytest.mark.once
def test_copies_that_nobody_waits_for_any_more_count_too(topic_with: TopicWith) -> None:
    topic = topic_with(**FEW)
    topic.subscribe("dead")
    handles = [topic.start(timeout=0.1) for _ in range(150)]
    outcomes = [topic.client.finish(handle, 60) for handle in handles]
    reasons = [outcome.report["failed"]["dead"] for outcome in outcomes]
    assert set(reasons) == {"timeout", "queue_full"}
    assert topic.waiting("dead") == reasons.count("timeout") <= 100
    eventually(lambda: not reaches(topic, "dead"))


@pytest.mark.once
@pytest.mark.slow
def test_limits_hold_among_a_hundred_thousand_names(
    topic_with: TopicWith, gearmand: Gearmand
) -> None:
    with Peer(gearmand.port) as many:
        for start in range(0, 100_000, 1_000):
            many.can_do(*(f"{'nN'[n % 2]}ame{n // 2}" for n in range(start, start + 1_000)))
        topic = topic_with(**FEW)
        topic.subscribe("dead", "Dead")
        outcomes = fill_up(topic, "dead", "Dead")
        for client_id in ("dead", "Dead"):
            assert topic.waiting(client_id) == sent(outcomes, client_id) <= 100
        work_off(topic, "dead", 60)
        eventually(lambda: reaches(topic, "dead"), 60)
        assert not reaches(topic, "Dead")
