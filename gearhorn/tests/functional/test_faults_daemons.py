# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Daemons that die, are stopped or miss a notice in the middle of their work."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from gearhorn.tests.conftest import NewPeer, Start
from gearhorn.tests.functional.fleet import NOBODY_GOES_BY_TIME, SHORT, Fleet, Member, fleet
from gearhorn.tests.processes import eventually
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand, Redis

__all__ = ["fleet"]

QUICK: dict[str, Any] = {**SHORT, "gearman.reconnect_max": 0.2}
SHARED: dict[str, Any] = {"functions.fanout": "fanout_one"}
"""What makes a second daemon serve the fan-outs of the first, under that one's name."""


@pytest.fixture
def proxy(gearmand: Gearmand) -> Iterator[Proxy]:
    with Proxy(gearmand.port) as between:
        yield between


def subscribe(fleet: Fleet, member: Member, names: list[str], **keys: Any) -> list[str]:
    """Register subscribers all at once; the names of their queues."""
    handles = [
        member.start("register", topic=fleet.topic, client_id=name, **keys) for name in names
    ]
    for handle in handles:
        assert member.finish(handle).completed
    return [f"{fleet.topic}_{name}" for name in names]


def total(gearmand: Gearmand, queues: list[str]) -> int:
    status = gearmand.admin.status()
    return sum(status[queue].total for queue in queues if queue in status)


def test_a_daemon_killed_between_two_foreground_copies(
    fleet: Fleet, gearmand: Gearmand, proxy: Proxy, peer: NewPeer
) -> None:
    one = fleet.add("one", servers=[proxy.address], **QUICK)
    queues = subscribe(fleet, one, [f"c{number}" for number in range(200)])
    proxy.stall_after(10_000)
    request = json.dumps({"topic": fleet.topic, "payload": "x" * 100, "timeout": 3600})
    handle = fleet.client.start("fanout_one", request)
    eventually(lambda: proxy.stalled)
    eventually(lambda: total(gearmand, queues) > 0)
    assert total(gearmand, queues) < 200
    # A receiver has its copy already.
    worker = peer(timeout_s=20)
    worker.can_do(*queues)
    early = worker.grab()

    one.daemon.kill()
    proxy.reset()
    proxy.resume()
    fleet.add("other", **{**QUICK, **SHARED})

    # What nobody has taken goes with the daemon; the second run sends each a copy.
    worker.complete(early)
    receipts: Counter[bytes] = Counter()
    for _ in queues:
        job = worker.grab()
        receipts[job.function] += 1
        worker.complete(job)
    assert set(receipts.values()) == {1}
    assert fleet.client.finish(handle).report["delivered"] == 200
    assert worker.try_grab() is None
    fleet.client.expect_silence(0.1)


def test_a_foreground_copy_left_by_a_dead_daemon_under_a_publishers_unique(
    fleet: Fleet, gearmand: Gearmand, peer: NewPeer
) -> None:
    one = fleet.add("one", **QUICK)
    (queue,) = subscribe(fleet, one, ["bob"])
    handle = one.start("fanout", topic=fleet.topic, payload="?", unique="news", timeout=3600)
    eventually(lambda: gearmand.admin.queue(queue).total == 1)

    one.daemon.kill()
    fleet.add("other", **{**QUICK, **SHARED})

    # The second run's copy joins no ghost, from which no answer would come.
    worker = peer(timeout_s=20)
    worker.can_do(queue)
    assert worker.take(1) == [b"?"]
    assert one.finish(handle).report["delivered"] == 1
    assert one.publish(fleet.topic, unique="news")["queued"] == 1
    assert worker.take(1) == [b"hello"]


def test_a_notice_that_is_lost(fleet: Fleet, proxy: Proxy) -> None:
    one = fleet.add("one", **{**QUICK, "matchmaking.daemon_ttl": 60})
    other = fleet.add("other", servers=[proxy.address], **{**QUICK, "matchmaking.daemon_ttl": 60})
    for number in range(3):
        assert other.reached(fleet.topic) == number
        # It goes nowhere, and its daemon keeps renewing its entry.
        proxy.stall()
        handle = other.start("fanout", topic=fleet.topic, payload="?", background=True)
        one.register(fleet.topic, f"bob{number}")
        assert one.said(f"no word from {other.worker_id} about a change", number + 1)
        # Nothing of the program's inside is added to what an operator reads.
        assert one.said("too old to be used\n", number + 1)
        late = other.start("fanout", topic=fleet.topic, payload="?", background=True)
        # The notice would come now. It is lost with the connection.
        proxy.reset()
        proxy.resume()
        assert other.finish(handle).report["subscribers"] == number + 1
        assert other.finish(late).report["subscribers"] == number + 1
    assert not other.said("joining again")


def test_two_daemons_with_full_windows_register_the_same_and_different_subscribers(
    fleet: Fleet,
) -> None:
    fleet.store(lambda store: store.vouch())
    # Only the word of the other can answer, whose window is as full.
    members = [fleet.add(name, **NOBODY_GOES_BY_TIME) for name in ("one", "other")]
    for member in members:
        member.daemon.pause()
    topics = [f"{fleet.topic}-{number}" for number in range(10)]
    handles = [
        member.start("register", topic=topic, client_id=client_id)
        for topic in topics
        for number in range(60)
        for member in members
        for client_id in (f"same{number}", f"{member.name}{number}")
    ]
    # More than the 1,000 that a daemon has in hand.
    assert len(handles) == 2 * 1200
    for member in members:
        member.daemon.resume()

    for handle in handles:
        assert fleet.client.finish(handle, 30).completed

    for topic in topics:
        assert [member.reached(topic) for member in members] == [180, 180]
    assert not [member for member in members if member.said("no word from")]


def test_two_daemons_that_are_given_the_same_worker_id(fleet: Fleet) -> None:
    fleet.store(lambda store: store.vouch())
    same = {**NOBODY_GOES_BY_TIME, "gearman.worker_id": "same"}
    one, other = fleet.add("one", **same), fleet.add("other", **same)
    assert one.worker_id != other.worker_id
    assert fleet.entries() == {one.worker_id, other.worker_id}
    for number in range(5):
        one.register(fleet.topic, f"bob{number}")
        assert other.reached(fleet.topic) == 2 * number + 1
        other.register(fleet.topic, f"alice{number}")
        assert one.reached(fleet.topic) == 2 * number + 2
    gone = other.worker_id
    assert other.daemon.stop() == 0
    assert fleet.entries() == {one.worker_id} != {gone}


def test_sigterm_in_the_middle_of_everything(
    fleet: Fleet, gearmand: Gearmand, peer: NewPeer
) -> None:
    one = fleet.add("one", **{**QUICK, "service.drain_timeout": 0.5})
    fast = subscribe(fleet, one, [f"c{number}" for number in range(100)])
    one.register("slow", "mute")
    client = fleet.client
    messages = [f"message {number}" for number in range(50)]

    def request(topic: str, payload: str, **keys: Any) -> str:
        return json.dumps({"topic": topic, "payload": payload, **keys})

    slow = [
        client.start("fanout_one", request("slow", str(number), timeout=3600), unique=f"s{number}")
        for number in range(10)
    ]
    eventually(lambda: gearmand.admin.queue("slow_mute").total == 10)
    other = fleet.add("other", registers_as="one", **{**QUICK, **SHARED})
    published = []
    registered = []
    for number, message in enumerate(messages):
        published.append(
            client.start(
                "fanout_one", request(fleet.topic, message, background=True), unique=f"b{number}"
            )
        )
        registered.append(one.start("register", topic="late", client_id=message))
        if number == len(messages) // 2:
            one.daemon.terminate()

    assert one.daemon.wait() == 0
    assert one.said("were not finished in 0.5 seconds: handing them back\n")

    # Everything that was asked for is answered, by one or the other.
    for handle in published:
        assert client.finish(handle, 20).report["queued"] == 100
    for handle in registered:
        assert client.finish(handle, 20).completed
    assert one.reached("late") == 50
    receiver = peer(timeout_s=20)
    receiver.can_do("slow_mute")
    # Copies that the first had sent went with it, as nobody had taken them.
    assert sorted(receiver.take(10)) == sorted(str(n).encode() for n in range(10))
    for handle in slow:
        assert client.finish(handle, 20).report["delivered"] == 1
    worker = peer(timeout_s=20)
    worker.can_do(*fast)
    # Each copy once, although a fan-out may have been begun twice.
    taken = Counter(worker.take(len(messages) * len(fast)))
    assert taken == {message.encode(): len(fast) for message in messages}
    assert worker.try_grab() is None
    assert fleet.entries() == {other.worker_id}


def test_sigterm_while_the_store_and_a_job_server_are_away(
    fleet: Fleet, gearmand: Gearmand, start: Start
) -> None:
    fleet.redis = start(Redis())
    frozen = start(Gearmand())
    options = {
        **QUICK,
        "store.timeout": 0.3,
        "service.drain_timeout": 0.5,
        "gearman.connect_timeout": 0.5,
        "gearman.liveness_interval": 0.3,
        "gearman.liveness_timeout": 0.3,
    }
    one = fleet.add("one", servers=[gearmand, frozen], **options)
    one.register(fleet.topic, "bob")
    fleet.redis.pause()
    frozen.pause()
    one.start("fanout", topic="cold", payload="?", background=True)
    one.start("register", topic=fleet.topic, client_id="alice")
    one.until_it_says("The store is away")

    assert one.daemon.stop(10) == 0

    assert one.said("2 jobs were not finished in 0.5 seconds: handing them back\n")
    (line,) = (line for line in one.daemon.log.splitlines() if "could not leave" in line)
    assert line.count("Timeout") == 1
    # What it had taken is queued again.
    eventually(lambda: gearmand.admin.queue("fanout_one") == (1, 0, 0))
    eventually(lambda: gearmand.admin.queue("register_one") == (1, 0, 0))
