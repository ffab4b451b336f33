# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Daemons that die, are stopped or miss a notice in the middle of their work."""

from __future__ import annotations

from collections import Counter

from gearhorn.tests.builders import message
from gearhorn.tests.conftest import NewPeer, Start
from gearhorn.tests.functional.fleet import NOBODY_GOES_BY_TIME, QUICK, SHARED, WATCHFUL, Fleet
from gearhorn.tests.processes import eventually
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand, Redis


def test_a_daemon_killed_between_two_foreground_copies(
    fleet: Fleet, gearmand: Gearmand, proxied_gearmand: Proxy, peer: NewPeer
) -> None:
    one = fleet.add("one", servers=[proxied_gearmand], **QUICK)
    queues = one.register_all(fleet.topic, (f"c{number}" for number in range(200)))
    proxied_gearmand.stall_after(10_000)
    handle = one.start_fanout(fleet.topic, "x" * 100, background=False, timeout=3600)
    eventually(lambda: proxied_gearmand.stalled)
    eventually(lambda: gearmand.admin.total(queues) > 0)
    assert gearmand.admin.total(queues) < 200
    # A receiver has its copy already.
    worker = peer(timeout_s=20)
    worker.can_do(*queues)
    early = worker.grab()

    one.daemon.kill()
    proxied_gearmand.reset()
    proxied_gearmand.resume()
    fleet.add("other", **QUICK, **SHARED)

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
    (queue,) = one.register_all(fleet.topic, ["bob"])
    handle = one.start_fanout(fleet.topic, "?", background=False, unique="news", timeout=3600)
    eventually(lambda: gearmand.admin.queue(queue).total == 1)

    one.daemon.kill()
    fleet.add("other", **QUICK, **SHARED)

    # The second run's copy joins no ghost, from which no answer would come.
    worker = peer(timeout_s=20)
    worker.can_do(queue)
    assert worker.take(1) == [b"?"]
    assert one.finish(handle).report["delivered"] == 1
    assert one.publish(fleet.topic, unique="news")["queued"] == 1
    assert worker.take(1) == [b"hello"]


def test_a_notice_that_is_lost(fleet: Fleet, proxied_gearmand: Proxy) -> None:
    options = {**QUICK, "matchmaking.daemon_ttl": 60}
    one = fleet.add("one", **options)
    other = fleet.add("other", servers=[proxied_gearmand], **options)
    for number in range(3):
        assert other.reached(fleet.topic) == number
        # It goes nowhere, and its daemon keeps renewing its entry.
        proxied_gearmand.stall()
        handle = other.start_fanout(fleet.topic)
        one.register(fleet.topic, f"bob{number}")
        assert one.said(f"no word from {other.worker_id} about a change", number + 1)
        # Nothing of the program's inside is added to what an operator reads.
        assert one.said("too old to be used\n", number + 1)
        late = other.start_fanout(fleet.topic)
        # The notice would come now. It is lost with the connection.
        proxied_gearmand.reset()
        proxied_gearmand.resume()
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
        member.start_registration(topic, client_id)
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
    fast = one.register_all(fleet.topic, (f"c{number}" for number in range(100)))
    one.register("slow", "mute")
    client = fleet.client
    texts = [f"message {number}" for number in range(50)]

    slow = [
        client.start("fanout_one", message("slow", str(number), timeout=3600), unique=f"s{number}")
        for number in range(10)
    ]
    eventually(lambda: gearmand.admin.queue("slow_mute").total == 10)
    other = fleet.add("other", registers_as="one", **QUICK, **SHARED)
    published = []
    registered = []
    for number, text in enumerate(texts):
        published.append(
            client.start(
                "fanout_one", message(fleet.topic, text, background=True), unique=f"b{number}"
            )
        )
        registered.append(one.start_registration("late", text))
        if number == len(texts) // 2:
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
    taken = Counter(worker.take(len(texts) * len(fast), 60))
    assert taken == {text.encode(): len(fast) for text in texts}
    assert worker.try_grab() is None
    assert fleet.entries() == {other.worker_id}


def test_sigterm_while_the_store_and_a_job_server_are_away(
    fleet: Fleet, gearmand: Gearmand, start: Start
) -> None:
    fleet.redis = start(Redis())
    frozen = start(Gearmand())
    options = {**WATCHFUL, "store.timeout": 0.3, "service.drain_timeout": 0.5}
    one = fleet.add("one", servers=[gearmand, frozen], **options)
    one.register(fleet.topic, "bob")
    fleet.redis.pause()
    frozen.pause()
    one.start_fanout("cold")
    one.start_registration(fleet.topic, "alice")
    for function in ("fanout_one", "register_one"):
        eventually(lambda function=function: gearmand.admin.queue(function).running)  # type: ignore[misc]
    one.until_it_says("The store is away")

    assert one.daemon.stop() == 0

    assert one.said("2 jobs were not finished in 0.5 seconds: handing them back\n")
    (line,) = (line for line in one.daemon.log.splitlines() if "could not leave" in line)
    assert line.count("Timeout") == 1
    # What it had taken is queued again.
    eventually(lambda: gearmand.admin.queue("fanout_one") == (1, 0, 0))
    eventually(lambda: gearmand.admin.queue("register_one") == (1, 0, 0))
