# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Job servers that go and come back, one or all, in the middle of fan-outs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewPeer, Start
from gearhorn.tests.functional.fleet import QUICK, SHARED, WATCHFUL, Fleet, Member
from gearhorn.tests.functional.live_reports import until_all_copies_go
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand


@pytest.fixture
def second(start: Start) -> Gearmand:
    """A job server beside the fixture ``gearmand``."""
    return start(Gearmand())


def on_both(
    fleet: Fleet, gearmand: Gearmand, second: Gearmand, subscribers: int, **options: Any
) -> tuple[Member, list[str]]:
    """A daemon that is connected to both servers, and the queues of its subscribers."""
    one = fleet.add("one", servers=[gearmand, second], **{**QUICK, **options})
    queues = one.register_all(fleet.topic, (f"c{number}" for number in range(subscribers)))
    until_all_copies_go(one.daemon, gearmand, second)
    return one, queues


def test_all_job_servers_go_and_come_back(
    fleet: Fleet, gearmand: Gearmand, second: Gearmand, peer: NewPeer
) -> None:
    one = fleet.add("one", servers=[gearmand, second], **QUICK)
    one.register(fleet.topic, "bob")
    for time in (1, 2):
        # Once all connections to it are back, and no sooner, a server is no longer away.
        for server in (gearmand, second):
            one.until_it_says(f"job server {server.address}: connected", time)
        gearmand.kill()
        second.kill()
        for server in (gearmand, second):
            one.until_it_says(f"job server {server.address}: away", time)
        gearmand.start()
        second.start()

        # Through either server, whichever is connected first.
        for server in (second, gearmand):
            client = peer(server, timeout_s=20)
            published = client.submit("fanout_one", message(fleet.topic, background=True))
            assert published.report["queued"] == 1
            assert client.submit("register_one", subscription(fleet.topic, "bob")).completed
    for server in (gearmand, second):
        one.until_it_says(f"job server {server.address}: connected", 3)
        assert one.daemon.log.count(f"job server {server.address}: away") == 2


def test_the_copies_of_a_queue_stand_on_one_server_in_order(
    fleet: Fleet, gearmand: Gearmand, second: Gearmand, peer: NewPeer
) -> None:
    _, queues = on_both(fleet, gearmand, second, 40)
    # Through one server or the other.
    clients = [peer(gearmand), peer(second)]
    for number in range(20):
        request = message(fleet.topic, str(number), background=True)
        assert clients[number % 2].submit("fanout_one", request).report["queued"] == 40

    places = [[server.admin.total([queue]) for server in (gearmand, second)] for queue in queues]
    assert {tuple(sorted(place)) for place in places} == {(0, 20)}
    assert {place.index(20) for place in places} == {0, 1}
    for queue, place in zip(queues[:5], places, strict=False):
        worker = peer((gearmand, second)[place.index(20)])
        worker.can_do(queue)
        assert worker.take(20) == [str(number).encode() for number in range(20)]


def test_a_server_lost_in_a_background_fan_out_leaves_its_copies_to_the_other(
    fleet: Fleet, gearmand: Gearmand, second: Gearmand
) -> None:
    one, queues = on_both(fleet, gearmand, second, 500)
    assert one.publish(fleet.topic)["queued"] == 500
    before = gearmand.admin.total(queues)
    assert 0 < before < 500

    # It takes what is sent and answers nothing.
    second.pause()
    handle = one.start_fanout(fleet.topic)
    eventually(lambda: gearmand.admin.total(queues) == 2 * before)
    second.kill()

    assert one.finish(handle).report == {
        "topic": fleet.topic,
        "subscribers": 500,
        "queued": 500,
        "failed": {},
    }
    assert gearmand.admin.total(queues) == before + 500


def test_a_server_lost_in_a_foreground_fan_out_is_named_for_the_copies_it_had(
    fleet: Fleet, gearmand: Gearmand, second: Gearmand, peer: NewPeer
) -> None:
    one, queues = on_both(fleet, gearmand, second, 40)
    handle = one.start_fanout(fleet.topic, "?", background=False, timeout=3600)
    eventually(lambda: gearmand.admin.total(queues) + second.admin.total(queues) == 40)
    lost = [queue for queue in queues if second.admin.total([queue])]
    assert 0 < len(lost) < 40
    kept = [queue for queue in queues if queue not in lost]
    worker = peer(gearmand)
    worker.can_do(*kept)
    worker.take(len(kept) - 1)

    second.kill()

    worker.take(1)
    report = one.finish(handle).report
    assert report["delivered"] == len(kept)
    assert report["failed_count"] == len(lost)
    prefix = f"{fleet.topic}_"
    assert report["failed"] == {queue.removeprefix(prefix): "server_lost" for queue in lost}


def test_copies_that_a_lost_server_had_not_queued_are_delivered_through_the_other(
    fleet: Fleet, gearmand: Gearmand, second: Gearmand, peer: NewPeer
) -> None:
    one, queues = on_both(fleet, gearmand, second, 40)
    worker = peer(gearmand)
    worker.can_do(*queues)
    second.pause()
    handle = one.start_fanout(fleet.topic, "?", background=False, timeout=3600)
    worker.take(1)

    second.kill()

    worker.take(39)
    assert one.finish(handle).report["delivered"] == 40


def test_a_frozen_server_counts_as_lost(fleet: Fleet, gearmand: Gearmand, second: Gearmand) -> None:
    one, queues = on_both(fleet, gearmand, second, 40, **WATCHFUL)
    second.pause()
    assert one.publish(fleet.topic)["queued"] == 40
    assert gearmand.admin.total(queues) == 40
    assert one.said(f"job server {second.address}: away (no answer for 1 seconds)")

    second.resume()
    one.until_it_says(f"job server {second.address}: connected", 2)
    assert one.publish(fleet.topic)["queued"] == 40
    assert second.admin.total(queues) > 0


def numbers(handles: Iterable[bytes]) -> set[bytes]:
    return {handle.rpartition(b":")[2] for handle in handles}


def test_a_server_restarted_in_a_foreground_fan_out_answers_nobody_elses_job(
    fleet: Fleet, gearmand: Gearmand, peer: NewPeer
) -> None:
    one = fleet.add("one", **QUICK)
    one.register(fleet.topic, "bob")
    queue = f"{fleet.topic}_bob"
    brief = message(fleet.topic, "first", timeout=1)
    before = [fleet.client.start("fanout_one", brief) for _ in range(20)]
    eventually(lambda: gearmand.admin.queue(queue).total == 20)

    gearmand.kill()
    gearmand.start()

    # Handles begin anew: this server's jobs are called as the other's were.
    client, worker = peer(timeout_s=20), peer()
    worker.can_do(queue)
    request = message(fleet.topic, "first", timeout=60)
    handles = [client.start("fanout_one", request) for _ in range(20)]
    assert numbers(before) & numbers(handles)
    worker.take(20)
    for handle in handles:
        assert client.finish(handle).report["delivered"] == 1
    # Those before are nobody's: they went with their client's connection.
    client.expect_silence(1.2)


def test_a_job_whose_connection_is_lost_is_run_again(
    fleet: Fleet, gearmand: Gearmand, proxied_gearmand: Proxy, peer: NewPeer
) -> None:
    one = fleet.add("one", servers=[proxied_gearmand], **QUICK)
    one.register(fleet.topic, "bob")
    worker = peer()
    worker.can_do(f"{fleet.topic}_bob")
    handle = one.start_fanout(fleet.topic, "?", background=False, timeout=3600)
    first = worker.grab()

    proxied_gearmand.reset()

    second = worker.grab()
    worker.complete(first)
    worker.complete(second)
    assert one.finish(handle).report["delivered"] == 1
    assert gearmand.admin.queue("fanout_one").total == 0
    fleet.client.expect_silence(0.1)


def test_a_daemon_killed_in_a_background_fan_out_leaves_each_subscriber_one_copy(
    fleet: Fleet, gearmand: Gearmand, proxied_gearmand: Proxy
) -> None:
    # Both under one address, which is a part of what the copies' uniques are made of.
    one = fleet.add("one", servers=[proxied_gearmand], **QUICK)
    queues = one.register_all(fleet.topic, (f"c{number}" for number in range(1000)))
    assert one.reached(fleet.topic) == 1000
    # Empty them, for the sum at the end.
    drain = fleet.new_client()
    drain.can_do(*queues)
    drain.take(1000)
    drain.close()

    proxied_gearmand.stall_after(20_000)
    request = message(fleet.topic, "x" * 100, background=True)
    handle = fleet.client.start("fanout_one", request, unique="outer")
    eventually(lambda: proxied_gearmand.stalled)
    eventually(lambda: gearmand.admin.total(queues) > 0)
    one.daemon.kill()
    proxied_gearmand.reset()
    proxied_gearmand.resume()
    eventually(lambda: gearmand.admin.queue("fanout_one").running == 0)
    copies = gearmand.admin.total(queues)
    assert 0 < copies < 1000

    fleet.add("other", servers=[proxied_gearmand], **QUICK, **SHARED)

    assert fleet.client.finish(handle).report["queued"] == 1000
    status = gearmand.admin.status()
    assert {status[queue].total for queue in queues} == {1}


def test_a_fan_out_waits_while_no_server_takes_copies(
    fleet: Fleet, gearmand: Gearmand, proxied_gearmand: Proxy, peer: NewPeer
) -> None:
    one = fleet.add("one", servers=[proxied_gearmand], **QUICK)
    one.register(fleet.topic, "bob")
    for _ in range(10):
        handle = one.start_fanout(fleet.topic)
        proxied_gearmand.cut()
        proxied_gearmand.mend()
        assert one.finish(handle).report["queued"] == 1
    # At least once each.
    assert gearmand.admin.queue(f"{fleet.topic}_bob").total >= 10


def test_registrations_are_honoured_by_a_daemon_on_other_servers(
    fleet: Fleet, gearmand: Gearmand, second: Gearmand, peer: NewPeer
) -> None:
    one = fleet.add("one", servers=[gearmand], **QUICK)
    fleet.add("other", servers=[second], **QUICK)
    publisher: Peer = peer(second, timeout_s=20)

    def reached() -> int:
        published = publisher.submit("fanout_other", message(fleet.topic, background=True))
        return int(published.report["subscribers"])

    # Neither can tell the other anything: time alone makes it so.
    for number in range(4):
        assert reached() == number
        one.register(fleet.topic, f"bob{number}")
        assert reached() == number + 1
