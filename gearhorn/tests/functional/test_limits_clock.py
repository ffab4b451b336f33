# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Limits, and what ends by time, where a daemon's wall clock is set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.clocks import DAY_S, Step
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.filling import FEW, fill_up, publish, reaches, refused, work_off
from gearhorn.tests.functional.fleet import SHORT, Fleet, Member
from gearhorn.tests.functional.test_endings import OFTEN, is_subscribed, receiver, waiting
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

STEPS = (DAY_S, -DAY_S, 0.0)
HOUR_S = 3600


@pytest.fixture
def step(tmp_path: Path) -> Step:
    # A store that is asked seldom goes by how long operators may set it to the least.
    return Step(tmp_path / "clock", {"gearhorn.store.sqlite_endings.LEAST_IDLE_S": 60, **OFTEN})


@pytest.fixture(params=["redis", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "redis" else f"sqlite://{tmp_path}/store.db"


def looks(member: Member) -> int:
    """How often a daemon has looked at its job servers."""
    (row,) = member.ask("query", query="status")["rows"]
    # One for each server.
    return int(sum(n for name, n in row["counters"].items() if name.startswith("looks_total")))


def wait_for_looks(member: Member) -> None:
    before = looks(member)
    eventually(lambda: looks(member) > before + 5)


def test_limits_hold_whatever_the_wall_clock_says(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic, step: Step
) -> None:
    daemon(environment=step.environment, **FEW)
    topic = new_topic(gearmand)
    topic.subscribe("dead")
    fill_up(topic, "dead")
    for seconds in STEPS:
        step.to(seconds)
        assert refused(publish(topic, 20), "dead") == 20
        assert topic.waiting("dead") <= 100
        work_off(topic, "dead", 40)
        eventually(lambda: reaches(topic, "dead"))
        fill_up(topic, "dead")


def test_no_subscription_ends_because_the_wall_clock_was_set_and_each_ends_in_its_time(
    fleet: Fleet, step: Step, store_url: str | None
) -> None:
    options: dict[str, Any] = {**SHORT, "limits.remove_idle": HOUR_S, "store_url": store_url}
    one = fleet.add("one", environment=step.environment, **options)
    one.register_all(fleet.topic, ["patient", "other"])
    one.publish(fleet.topic)
    wait_for_looks(one)
    for seconds in STEPS:
        step.to(seconds)
        wait_for_looks(one)
        assert one.reached(fleet.topic) == 2
    step.to(DAY_S)
    one.register(fleet.topic, "dead", remove_idle=0.9)
    one.publish(fleet.topic)
    eventually(lambda: one.reached(fleet.topic) == 2)


def test_nothing_is_discarded_because_the_wall_clock_was_set(fleet: Fleet, step: Step) -> None:
    options: dict[str, Any] = {**SHORT, "limits.discard_after": HOUR_S}
    one = fleet.add("one", environment=step.environment, **options)
    (queue,) = one.register_all(fleet.topic, ["bob"])
    one.publish(fleet.topic)
    one.unregister(fleet.topic, "bob")
    for seconds in STEPS:
        step.to(seconds)
        wait_for_looks(one)
        assert waiting(fleet, queue) == 1


def test_what_ended_is_discarded_in_its_time_whatever_the_wall_clock_says(
    fleet: Fleet, step: Step
) -> None:
    options: dict[str, Any] = {**SHORT, "limits.discard_after": 0.9}
    one = fleet.add("one", environment=step.environment, **options)
    for number, seconds in enumerate(STEPS):
        (queue,) = one.register_all(fleet.topic, [f"bob{number}"])
        one.publish(fleet.topic)
        one.unregister(fleet.topic, f"bob{number}")
        step.to(seconds)
        eventually(lambda: not waiting(fleet, queue))  # noqa: B023 - called at once


# A job server that restarts.


def restart(fleet: Fleet) -> None:
    fleet.gearmand.kill()
    fleet.gearmand.start()
    # The connection to it is gone.
    vars(fleet).pop("client", None)


@pytest.fixture(params=["builtin", "sqlite"])
def server(request: pytest.FixtureRequest, fleet: Fleet, tmp_path: Path) -> Gearmand:
    """The job server of the fleet, with a queue in memory or in a file."""
    gearmand = fleet.gearmand
    if request.param == "sqlite":
        gearmand.arguments = ("--queue-type=libsqlite3", f"--libsqlite3-db={tmp_path / 'queue'}")
        restart(fleet)
    return gearmand


def test_a_subscription_ends_for_what_waits_after_its_server_has_restarted(
    fleet: Fleet, server: Gearmand
) -> None:
    options: dict[str, Any] = {**SHORT, "limits.remove_idle": 5, "gearman.reconnect_max": 0.2}
    one = fleet.add("one", constants=OFTEN, **options)
    one.register_all(fleet.topic, ["dead", "served"])
    one.publish(fleet.topic)
    keeps = bool(server.arguments)
    restart(fleet)
    with receiver(fleet, f"{fleet.topic}_served"):
        if not keeps:
            # Nothing waits any more, so that nobody is missed.
            wait_for_looks(one)
            assert is_subscribed(one, "dead")
            one.publish(fleet.topic)
        eventually(lambda: not is_subscribed(one, "dead"), 30)
        assert is_subscribed(one, "served")


def test_what_an_ended_subscription_left_is_discarded_after_a_restart_and_stays_so(
    fleet: Fleet, server: Gearmand
) -> None:
    options: dict[str, Any] = {**SHORT, "limits.discard_after": 2, "gearman.reconnect_max": 0.2}
    one = fleet.add("one", constants=OFTEN, **options)
    queue, other = one.register_all(fleet.topic, ["bob", "alice"])
    for number in range(20):
        one.publish(fleet.topic, str(number), unique=f"u{number}")
    one.unregister(fleet.topic, "bob")
    kept = 20 if server.arguments else 0
    restart(fleet)
    assert waiting(fleet, other) == kept
    eventually(lambda: not waiting(fleet, queue), 30)
    restart(fleet)
    assert waiting(fleet, queue) == 0
    assert waiting(fleet, other) == kept
    # Whoever registers again gets what comes then.
    one.register(fleet.topic, "bob")
    one.publish(fleet.topic, "new")
    with receiver(fleet, queue) as worker:
        job = worker.grab(20)
        worker.complete(job)
        assert job.data == b"new"
