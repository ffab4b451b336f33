# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Limits beside job servers that restart, hang, have limits of their own, or are all but full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.functional.filling import (
    FEW,
    fill,
    fill_up,
    publish,
    reaches,
    refused,
    sent,
    work_off,
)
from gearhorn.tests.functional.live_reports import until_all_copies_go
from gearhorn.tests.peer import Outcome, Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

SOON: dict[str, Any] = {**FEW, "gearman.reconnect_max": 0.2}
"""A job server that is back is soon found."""
NAMES = [f"c{number}" for number in range(20)]
"""So many that they are not all on one of two servers by chance."""


@pytest.fixture(params=[1, 3])
def daemons(request: pytest.FixtureRequest) -> int:
    """The number of daemons: each knows of what the others send by its looks alone."""
    count: int = request.param
    return count


def fill_for_all(topic: Topic, client_id: str, daemons: int) -> list[Outcome]:
    """Publish until a queue is full for each of so many daemons."""
    outcomes = fill(topic, client_id)
    # Any of them may take all of so few.
    while refused(outcomes[-20 * daemons :], client_id) < 20 * daemons:
        outcomes += publish(topic, 20)
    return outcomes


def test_a_queue_that_an_operator_drops_has_room_again(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic, daemons: int
) -> None:
    for _ in range(daemons):
        daemon(**FEW)
    topic = new_topic(gearmand)
    topic.subscribe("dead")
    fill_for_all(topic, "dead", daemons)
    drop = f"drop function {topic.queue('dead')}"
    with topic.receiver("dead"):
        assert gearmand.admin.command(drop)[0].startswith("ERR")
    assert topic.waiting("dead") >= 60
    # gearmand takes a moment to forget the worker.
    eventually(lambda: gearmand.admin.command(drop)[0].startswith("OK"))
    assert topic.waiting("dead") == 0

    eventually(lambda: reaches(topic, "dead"))
    assert topic.waiting("dead") == 1
    # And it is filled to its limit again, with what reports have called queued.
    outcomes = fill_for_all(topic, "dead", daemons)
    assert topic.waiting("dead") == 1 + sent(outcomes, "dead") <= 100 * daemons


def test_limits_hold_by_the_last_answer_while_a_job_server_hangs(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    process = daemon(constants={"gearhorn.daemon.guard.looks.TIMEOUT_S": 2.0}, **FEW)
    topic = new_topic(gearmand)
    topic.subscribe("dead")
    fill_up(topic, "dead")
    gearmand.pause()
    hangs = f"job server {gearmand.address} does not tell how deep its queues are"
    eventually(lambda: hangs in process.log)
    gearmand.resume()
    # Until it is looked at again the last answer counts.
    assert refused(publish(topic, 50), "dead") == 50
    assert topic.waiting("dead") <= 100
    eventually(lambda: f"{gearmand.address} tells again how deep its queues are" in process.log)
    assert process.log.count(hangs) == 1
    work_off(topic, "dead", 60)
    eventually(lambda: reaches(topic, "dead"))


def test_daemons_together_keep_a_dead_queue_near_its_limit(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic, daemons: int
) -> None:
    for _ in range(daemons):
        daemon(**FEW)
    topic = new_topic(gearmand)
    topic.subscribe("dead")
    outcomes = fill_for_all(topic, "dead", daemons)
    assert topic.waiting("dead") == sent(outcomes, "dead") <= 100 * daemons


def fill_all(topic: Topic, names: list[str], payload: str, is_over: Callable[[], bool]) -> None:
    """Publish until all of these queues are full, because their server is."""

    def all_full() -> bool:
        outcomes = publish(topic, 5, payload)
        return is_over() and all(refused(outcomes, name) == 5 for name in names)

    eventually(all_full, 60)


@pytest.mark.parametrize(
    ("options", "payload"),
    [
        ({"limits.max_total": 2_000}, "m"),
        # As many copies of that size.
        ({"limits.max_total_bytes": 20_000_000}, "x" * 10_000),
    ],
    ids=["jobs", "bytes"],
)
def test_a_hundred_dead_queues_below_their_limits_are_held_by_the_total_of_the_server(
    daemon: NewDaemon,
    gearmand: Gearmand,
    new_topic: NewTopic,
    options: dict[str, Any],
    payload: str,
) -> None:
    process = daemon(**options)
    topic = new_topic(gearmand)
    names = [f"c{number}" for number in range(100)]
    topic.subscribe(*names)
    line = f"WARNING gearhorn.daemon.guard.guard [-] job server {gearmand.address} has "
    fill_all(topic, names, payload, lambda: line in process.log)

    queues = [topic.queue(name) for name in names]
    assert 1_500 < gearmand.admin.total(queues) < 3_000
    assert process.log.count(line) == 1
    assert "more than [limits] max_total or max_total_bytes" in process.log

    # Those that are read again get messages as soon as the server has room.
    with topic.receiver(*names[:50]) as worker:
        while gearmand.admin.total(queues) > 1_300:
            for job in filter(None, [worker.try_grab() for _ in range(50)]):
                worker.complete(job)
        eventually(lambda: reaches(topic, names[0]))
    assert process.log.count(line) == 1


@pytest.fixture
def other(start: Start) -> Gearmand:
    """A second job server."""
    return start(Gearmand())


def depths(topic: Topic, server: Gearmand) -> dict[str, int]:
    """The jobs in each queue on one server."""
    return dict(zip(NAMES, server.admin.totals(map(topic.queue, NAMES)), strict=True))


def test_a_server_that_restarts_has_room_and_the_queues_of_another_stay_full(
    daemon: NewDaemon, gearmand: Gearmand, other: Gearmand, new_topic: NewTopic, daemons: int
) -> None:
    for _ in range(daemons):
        until_all_copies_go(daemon([gearmand, other], **SOON), gearmand, other)
    topic = new_topic(gearmand)
    topic.subscribe(*NAMES)
    for name in NAMES:
        fill_for_all(topic, name, daemons)
    stay = [name for name, depth in depths(topic, gearmand).items() if depth]
    lost = [name for name in NAMES if name not in stay]
    before = depths(topic, gearmand)
    assert stay
    assert lost

    other.kill()
    other.start()
    eventually(lambda: all(reaches(topic, name) for name in lost))
    # Those that were sent to while their server was away may be on the first one now.
    fill_up(topic, *NAMES, servers=[gearmand, other])
    after = depths(topic, gearmand)
    assert {name: after[name] for name in stay} == {name: before[name] for name in stay}
    assert max(depths(topic, other).values()) <= 100 * daemons


def test_each_of_two_servers_has_a_total_of_its_own(
    daemon: NewDaemon, gearmand: Gearmand, other: Gearmand, new_topic: NewTopic
) -> None:
    few: dict[str, Any] = {"limits.max_total": 400}
    process = daemon([gearmand, other], **few)
    until_all_copies_go(process, gearmand, other)
    topic = new_topic(gearmand)
    topic.subscribe(*NAMES)
    lines = [f"job server {server.address} has " for server in (gearmand, other)]
    fill_all(topic, NAMES, "m", lambda: all(line in process.log for line in lines))
    for server in (gearmand, other):
        assert 300 < sum(depths(topic, server).values()) < 800
    # Room on one of them is room for its queues.
    (name, *_) = (name for name, depth in depths(topic, other).items() if depth)
    mine = [name for name, depth in depths(topic, other).items() if depth]
    with Peer(other.port) as worker:
        worker.can_do(*map(topic.queue, mine))
        while sum(depths(topic, other).values()) > 200:
            worker.complete(worker.grab())
        eventually(lambda: reaches(topic, name))
    full = next(name for name, depth in depths(topic, gearmand).items() if depth)
    assert not reaches(topic, full)


def test_a_bound_that_an_operator_set_on_one_of_two_servers_holds_there(
    daemon: NewDaemon, gearmand: Gearmand, other: Gearmand, new_topic: NewTopic
) -> None:
    until_all_copies_go(daemon([gearmand, other]), gearmand, other)
    topic = new_topic(gearmand)
    topic.subscribe(*NAMES)
    publish(topic, 1)
    (name, *_) = (name for name, depth in depths(topic, other).items() if depth)
    other.admin.command(f"maxqueue {topic.queue(name)} 3")
    outcomes = publish(topic, 5)
    assert refused(outcomes, name) == 3
    assert all(refused(outcomes, one) == 0 for one in NAMES if one != name)
    # It is no queue that gearhorn has filled: as soon as a job is taken there is room.
    with Peer(other.port) as worker:
        worker.can_do(topic.queue(name))
        worker.complete(worker.grab())
        eventually(lambda: reaches(topic, name))


def test_a_queue_in_sqlite_that_outlives_its_server_is_still_full(
    daemon: NewDaemon, start: Start, new_topic: NewTopic, tmp_path: Path
) -> None:
    server = start(Gearmand("--queue-type=libsqlite3", f"--libsqlite3-db={tmp_path / 'queue.db'}"))
    daemon([server], **SOON)
    topic = new_topic(server)
    topic.subscribe("dead", "bob")
    outcomes = fill(topic, "dead")
    server.kill()
    server.start()
    topic.client = topic.peer()
    # What was queued is there, and the daemon has looked before much more is.
    outcomes += publish(topic, 40)

    def is_refused() -> int:
        more = publish(topic, 1)
        outcomes.extend(more)
        return refused(more, "dead")

    eventually(is_refused)
    assert topic.waiting("dead") == sent(outcomes, "dead") <= 150
    work_off(topic, "dead", 60)
    eventually(lambda: reaches(topic, "dead"))
