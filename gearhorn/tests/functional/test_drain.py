# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A daemon that stops finishes the jobs in hand, and hands the rest back."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from gearhorn.tests.builders import message, subscription
from gearhorn.tests.functional.fleet import (
    MATCHMAKING,
    NOBODY_GOES_BY_TIME,
    SHARED,
    SHORT,
    Fleet,
    Member,
)
from gearhorn.tests.peer import Job, Peer
from gearhorn.tests.processes import eventually


def begin(fleet: Fleet, one: Member, function: str = "fanout_one") -> tuple[Peer, Job, bytes]:
    """Start a foreground fan-out; its receiver holds its copy."""
    one.register(fleet.topic, "bob")
    receiver = fleet.new_client()
    receiver.can_do(f"{fleet.topic}_bob")
    handle = fleet.client.start(function, message(fleet.topic, "?", timeout=3600))
    return receiver, receiver.grab(), handle


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_it_finish_what_is_in_flight(fleet: Fleet, number: int) -> None:
    one = fleet.add("one", **SHORT)
    receiver, copy, handle = begin(fleet, one)
    worker_id = one.worker_id

    one.daemon.signal(number)
    one.daemon.wait_notification("STOPPING=1")
    late = fleet.new_client()
    late.start("fanout_one", message(fleet.topic, "late"))
    late.start("register_one", subscription(fleet.topic, "late"))
    # Not grabbed, though the daemon still serves its fan-out.
    assert fleet.client.submit(f"{MATCHMAKING}_{worker_id}", {"topic": "x"}).completed
    status = fleet.gearmand.admin.status()
    assert (status["fanout_one"].total, status["fanout_one"].running) == (2, 1)
    assert (status["register_one"].total, status["register_one"].running) == (1, 0)
    assert one.daemon.exit_code is None

    receiver.complete(copy)

    assert one.finish(handle).report == {
        "topic": fleet.topic,
        "subscribers": 1,
        "delivered": 1,
        "failed": {},
    }
    assert one.daemon.wait() == 0
    # It leaves nothing: no entry, no function, and what it did not take is still queued.
    assert fleet.entries() == set()
    assert not fleet.functions(worker_id)
    assert fleet.gearmand.admin.queue("fanout_one").total == 1
    assert fleet.gearmand.admin.queue("register_one").total == 1


def test_what_is_not_finished_in_time_is_another_daemons(fleet: Fleet) -> None:
    one = fleet.add("one", **{**SHORT, "service.drain_timeout": 0.3})
    _, _, handle = begin(fleet, one)
    other = fleet.add("other", **SHORT, **SHARED)
    receiver = fleet.new_client()
    receiver.can_do(f"{fleet.topic}_bob")

    assert one.daemon.stop() == 0

    assert one.said("1 jobs were not finished in 0.3 seconds: handing them back")
    copy = receiver.grab()
    assert copy.data == b"?"
    receiver.complete(copy)
    assert other.finish(handle).report["delivered"] == 1
    assert fleet.entries() == {other.worker_id}


def test_a_registration_in_hand_is_answered_before_it_stops(fleet: Fleet) -> None:
    # For as long as the other may use its list, the registration waits.
    leases: dict[str, Any] = {"matchmaking.cache_ttl": 2, "matchmaking.daemon_ttl": 60}
    one, other = fleet.add("one", **leases), fleet.add("other", **leases)
    other.daemon.pause()
    handle = one.start_registration(fleet.topic, "bob")
    eventually(lambda: fleet.topic in fleet.unconfirmed())

    one.daemon.terminate()

    assert one.finish(handle).completed
    assert one.daemon.wait() == 0
    other.daemon.resume()
    assert other.reached(fleet.topic) == 1


def test_a_second_signal_stops_it_at_once(fleet: Fleet) -> None:
    one = fleet.add("one", **NOBODY_GOES_BY_TIME)
    begin(fleet, one)
    one.daemon.terminate()
    one.daemon.wait_notification("STOPPING=1")

    # One that comes at once after the first is taken for the same.
    def ended() -> bool:
        one.daemon.terminate()
        return one.daemon.exit_code is not None

    eventually(ended, interval_s=0.05)
    assert one.daemon.wait() == 128 + signal.SIGTERM
    assert one.said("second signal: exiting at once")


def test_fan_outs_in_the_background_are_finished(fleet: Fleet) -> None:
    one = fleet.add("one", **SHORT)
    queues = one.register_all(fleet.topic, (f"c{number}" for number in range(200)))
    handles = [one.start_fanout(fleet.topic, str(number)) for number in range(50)]

    one.daemon.terminate()

    assert one.daemon.wait() == 0
    left = fleet.gearmand.admin.queue("fanout_one").total
    for handle in handles[: len(handles) - left]:
        assert one.finish(handle).report["queued"] == 200
    assert set(fleet.gearmand.admin.totals(queues)) == {50 - left}
