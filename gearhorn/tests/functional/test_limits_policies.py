# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What becomes of copies for full queues: each policy, copies that coalesce, and the log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic, Topic, TopicWith
from gearhorn.tests.functional.filling import FEW, fill_up, publish, reaches, refused, sent
from gearhorn.tests.functional.live_reports import until_all_copies_go
from gearhorn.tests.peer import Outcome, Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

JOURNALED: dict[str, Any] = {**FEW, "journal.topics": "t*"}


class Quick:
    """A subscriber that takes what there is, on each of several job servers."""

    def __init__(self, topic: Topic, client_id: str, servers: Sequence[Gearmand]) -> None:
        self._workers = [Peer(server.port) for server in servers]
        for worker in self._workers:
            worker.can_do(topic.queue(client_id))
        self.taken = 0

    def take_all(self) -> None:
        for worker in self._workers:
            while (job := worker.try_grab()) is not None:
                worker.complete(job)
                self.taken += 1

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


def skipped(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.report.get("skipped", 0) for outcome in outcomes)


@pytest.mark.parametrize("daemons", [1, 3])
def test_each_subscriber_has_its_policy_on_two_servers(
    daemon: NewDaemon, gearmand: Gearmand, start: Start, new_topic: NewTopic, daemons: int
) -> None:
    servers = [gearmand, start(Gearmand())]
    processes = [daemon(servers, **JOURNALED) for _ in range(daemons)]
    for process in processes:
        until_all_copies_go(process, *servers)
    topic = new_topic(gearmand)
    topic.subscribe("refuses", overflow="refuse")
    topic.subscribe("skips", overflow="skip")
    topic.subscribe("quick")
    quick = Quick(topic, "quick", servers)
    outcomes: list[Outcome] = []

    def depth(client_id: str) -> int:
        return sum(server.admin.queue(topic.queue(client_id)).total for server in servers)

    def are_known() -> bool:
        """Any of the daemons may have taken all of the last, and another is to take the next."""
        names = [f"queue {topic.queue(one)} is full with" for one in ("refuses", "skips")]
        return all(name in process.log for process in processes for name in names)

    def stay_full() -> bool:
        more = publish(topic, 20)
        outcomes.extend(more)
        quick.take_all()
        return (
            refused(more, "refuses") == skipped(more) == len(more)
            and min(depth("refuses"), depth("skips")) >= 88
            and are_known()
        )

    eventually(stay_full, 60)

    # What was called queued is there, and what was not is not.
    assert depth("refuses") == sent(outcomes, "refuses") <= 100 * daemons
    assert depth("skips") == len(outcomes) - skipped(outcomes) <= 100 * daemons
    assert quick.taken == sent(outcomes, "quick") == len(outcomes)
    for outcome in outcomes:
        report = outcome.report
        left_out = report.get("failed_count", 0) + report.get("skipped", 0)
        assert report["queued"] + left_out == report["subscribers"] == 3
    # All of it is in the journal, where those that skip find it.
    read = topic.client.submit("fanout_read", {"topic": topic.name}).report
    assert read["last"] == len(outcomes)

    handle = topic.start("wait for me")
    eventually(lambda: depth("quick"))
    quick.take_all()
    report = topic.client.finish(handle).report
    assert (report["delivered"], report["skipped"], report["failed_count"]) == (1, 1, 1)
    assert report["failed"] == {"refuses": "queue_full"}
    quick.close()


def test_copies_that_coalesce_take_no_room_and_are_left_out_of_a_full_queue(
    topic_with: TopicWith,
) -> None:
    topic = topic_with(**FEW)
    topic.subscribe("dead")
    # Three times the limit, of which each joins the first.
    for _ in range(15):
        publish(topic, 20, unique="same")
    assert topic.waiting("dead") == 1
    eventually(lambda: reaches(topic, "dead"))

    before = topic.waiting("dead")
    outcomes = fill_up(topic, "dead")
    full = topic.waiting("dead")
    assert full == before + sent(outcomes, "dead") <= 100
    assert refused(publish(topic, 20, unique="same"), "dead") == 20
    assert topic.waiting("dead") == full


def lines(process: Daemon) -> list[str]:
    """The lines of a daemon's log that an operator sees who has not asked for more."""
    return re.findall(r"^.* (?:INFO|WARNING|ERROR) gearhorn\..*$", process.log, re.MULTILINE)


def test_the_log_has_no_line_for_each_message_that_is_left_out(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    options: dict[str, Any] = {**JOURNALED, "fanout.max_open_fanouts": 2}
    process = daemon(**options)
    topic = new_topic(gearmand)
    topic.subscribe("refuses", overflow="refuse")
    topic.subscribe("skips", overflow="skip")
    before = len(lines(process))
    for _ in range(25):
        publish(topic, 20)
    # And so it is with those that are refused themselves.
    topic.name = f"other {topic.name}"
    topic.subscribe("dead")
    waits = topic.start()
    eventually(lambda: topic.waiting("dead"))
    handles = [topic.start() for _ in range(200)]
    assert {topic.client.finish(handle).refusal for handle in handles} == {"too_many_open"}
    topic.receiver("dead").take(1)
    assert topic.client.finish(waits).completed
    assert len(lines(process)) - before < 20, lines(process)[before:]
