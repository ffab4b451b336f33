# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Publishers that wait for receivers, by the thousand: nobody else waits with them."""

from __future__ import annotations

import re
import statistics
import time
import uuid
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.functional.filling import FEW, fill_up, sent
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, GearServer

QUICK = {"gearhorn.daemon.attendance.AGAIN_S": 0.5}
"""Publishers that leave are found sooner than after six seconds."""
HOUR_S = 3600


def status(client: Peer) -> dict[str, Any]:
    (row,) = client.submit("fanout_query", {"query": "status"}).report["rows"]
    return dict(row)


def wait_for_open(client: Peer, fanouts: int) -> None:
    eventually(lambda: status(client)["fanouts_open"] == fanouts)


class Shop:
    """A daemon, and topics on its job server."""

    def __init__(
        self, gearmand: Gearmand | GearServer, daemon: Daemon, new_topic: NewTopic, client: Peer
    ) -> None:
        self.gearmand = gearmand
        self.daemon = daemon
        self.client = client
        self._new_topic: Any = new_topic

    def topic(self, *client_ids: str) -> Topic:
        topic: Topic = self._new_topic(self.gearmand)
        topic.subscribe(*client_ids)
        return topic

    def publishers(self, count: int, *topics: Topic) -> Peer:
        """Connect publishers that wait for an hour, as many as are given, by one connection."""
        topics = topics or (self.topic("nobody"),)
        peer = topics[0].peer()
        for number in range(count):
            topic = topics[number % len(topics)]
            request = topic.request(number, timeout=HOUR_S, progress=False)
            peer.start("fanout", request, unique=uuid.uuid4().hex)
        return peer

    def wait_until_asked(self, fanouts: int) -> None:
        """Wait until so many fan-outs are open, and the job server was asked for each publisher."""
        wait_for_open(self.client, fanouts)

        def unasked() -> list[str]:
            return re.findall(r"told of \d+ publishers; (\d+) are new", self.daemon.log)[-1:]

        before = len(self.daemon.log)
        eventually(lambda: len(self.daemon.log) > before and unasked() == ["0"])


class NewShop:
    def __init__(
        self, gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic, peer: NewPeer
    ) -> None:
        self._parts = (gearmand, daemon, new_topic, peer)

    def __call__(self, **options: Any) -> Shop:
        gearmand, daemon, new_topic, peer = self._parts
        process = daemon(constants=QUICK, **options)
        return Shop(gearmand, process, new_topic, peer())


@pytest.fixture
def new_shop(gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic, peer: NewPeer) -> NewShop:
    return NewShop(gearmand, daemon, new_topic, peer)


def test_more_long_fan_outs_than_the_window_holds_stop_no_others(new_shop: NewShop) -> None:
    shop = new_shop()
    nobody, other = shop.topic("nobody"), shop.topic("bob")
    publishers = shop.publishers(1100, nobody)
    shop.wait_until_asked(1100)
    # No more of one topic have copies out at a time than the window holds.
    eventually(lambda: nobody.waiting("nobody") == 1000)

    handle = other.start("hello")
    assert other.receiver("bob").take(1) == [b"hello"]
    assert other.client.finish(handle).completed
    assert other.reached() == 1
    # Even to the topic itself, in the background.
    assert nobody.reached() == 1
    nobody.subscribe("alice")

    publishers.close()
    wait_for_open(shop.client, 0)
    assert status(shop.client)["fanouts"] == 0
    assert "publisher_left: ended a fan-out for topic" in shop.daemon.log


@pytest.mark.once
def test_a_thousand_publishers_that_wait_make_a_background_fan_out_no_slower(
    new_shop: NewShop,
) -> None:
    shop = new_shop()
    topics = [shop.topic("nobody") for _ in range(10)]
    other = shop.topic("bob")

    def quickest_s() -> float:
        times = []
        for _ in range(100):
            start = time.perf_counter()
            other.reached()
            times.append(time.perf_counter() - start)
        return statistics.quantiles(times, n=10)[0]

    alone = quickest_s()
    publishers = shop.publishers(1000, *topics)
    shop.wait_until_asked(1000)
    # Of the quickest tenth, and more than once, since the machine may have other work.
    eventually(lambda: quickest_s() <= 2 * alone, 60)

    publishers.close()
    eventually(lambda: status(shop.client)["fanouts"] == 0)


@pytest.mark.slow
def test_a_burst_to_a_slow_receiver_does_not_time_out_in_hand(new_shop: NewShop) -> None:
    shop = new_shop(**{"fanout.max_in_flight": 5})
    slow = shop.topic("bob")
    worker = slow.receiver("bob")
    messages = [str(number) for number in range(300)]
    handles = [slow.start(message, timeout=8) for message in messages]
    wait_for_open(shop.client, len(handles))
    assert slow.waiting("bob") == 5

    start = time.monotonic()
    for message in messages:
        assert worker.take(1) == [message.encode()]
        time.sleep(0.03)

    # All have ended, and in their order, although together they took longer than each may.
    assert time.monotonic() - start > 8
    assert all(slow.client.finish(handle).completed for handle in handles)


def test_a_fan_out_that_waits_for_its_turn_reaches_who_is_subscribed_then(
    new_shop: NewShop,
) -> None:
    shop = new_shop(**{"fanout.max_in_flight": 1})
    topic = shop.topic("bob")
    first, second = topic.start("first"), topic.start("second")
    wait_for_open(shop.client, 2)
    topic.subscribe("alice")

    assert topic.receiver("bob").take(2) == [b"first", b"second"]
    assert topic.receiver("alice").take(1) == [b"second"]
    assert topic.client.finish(first).report["subscribers"] == 1
    assert topic.client.finish(second).report["subscribers"] == 2


def test_a_topic_may_have_half_of_all_that_may_be_open(new_shop: NewShop) -> None:
    shop = new_shop(**{"fanout.max_open_fanouts": 6, "fanout.max_in_flight": 2})
    one, other = shop.topic("bob"), shop.topic("bob")
    third = shop.topic("bob")
    handles = [one.start(str(number)) for number in range(3)]
    wait_for_open(shop.client, 3)
    refused = one.publish("too many")
    assert refused.refusal == "too_many_open"
    assert "publish in the background" in refused.report["message"]
    # Those in the background are never refused.
    assert one.reached() == 1

    for number in range(3):
        other.start(str(number))
    wait_for_open(shop.client, 6)
    assert third.publish().refusal == "too_many_open"
    assert "too_many_open: refused a job of fanout for topic" in shop.daemon.log

    # An answer makes room, and those that waited have their turns.
    worker = one.receiver("bob")
    assert sorted(worker.take(4)) == [b"", b"0", b"1", b"2"]
    assert all(one.client.finish(handle).completed for handle in handles)
    wait_for_open(shop.client, 3)
    third.start("enough room")
    wait_for_open(shop.client, 4)


def test_what_is_refused_is_not_in_the_journal(new_shop: NewShop) -> None:
    shop = new_shop(**{"fanout.max_open_fanouts": 6, "journal.topics": "*"})
    topic = shop.topic("bob")
    handles = [topic.start(str(number)) for number in range(3)]
    wait_for_open(shop.client, 3)
    assert topic.publish("too many").refusal == "too_many_open"
    assert topic.receiver("bob").take(3) == [b"0", b"1", b"2"]
    for handle in handles:
        topic.client.finish(handle)
    topic.reached()

    (row,) = shop.client.submit("fanout_query", {"query": "journals"}).report["rows"]
    assert (row["topic"], row["last"]) == (topic.name, 4)


def test_copies_that_nobody_answers_have_a_bound_and_whoever_is_alone_is_within(
    new_shop: NewShop,
) -> None:
    shop = new_shop(**{"fanout.max_open_copies": 4})
    topic = shop.topic("bob", "alice", "carol", "dave", "erin")
    handle = topic.start("one")
    wait_for_open(shop.client, 1)
    assert topic.publish("two").refusal == "too_many_open"
    for client_id in ("bob", "alice", "carol", "dave"):
        topic.receiver(client_id).take(1)
    # One copy is left, and half of four are a topic's.
    assert topic.publish("three").refusal == "too_many_open"
    topic.receiver("erin").take(1)
    assert topic.client.finish(handle).completed
    topic.start("four")
    wait_for_open(shop.client, 1)


def test_requests_that_wait_for_their_turn_have_a_bound_of_bytes(new_shop: NewShop) -> None:
    # Four of the largest, of which a topic may have two.
    shop = new_shop(**{"fanout.max_message_bytes": 10_000, "fanout.max_in_flight": 1})
    one, other = shop.topic("bob"), shop.topic("bob")
    handles = [one.start("x" * 6_000) for _ in range(4)]
    wait_for_open(shop.client, 4)
    assert one.publish("y" * 6_000).refusal == "too_many_open"
    # A small one has room, and so has another topic.
    handles.append(one.start("small"))
    handles_of_other = [other.start("x" * 6_000) for _ in range(4)]
    wait_for_open(shop.client, 9)
    # Those in the background are never refused.
    assert one.publish("z" * 6_000, background=True).completed

    for topic, its in ((one, handles), (other, handles_of_other)):
        topic.receiver("bob").take(len(its) + (topic is one))
        assert all(topic.client.finish(handle).completed for handle in its)
    wait_for_open(shop.client, 0)
    # What was sent, or has ended, gives its bytes back.
    again = [one.start("x" * 6_000) for _ in range(4)]
    wait_for_open(shop.client, 4)
    one.receiver("bob").take(4)
    assert all(one.client.finish(handle).completed for handle in again)


@pytest.mark.once
def test_copies_of_publishers_that_left_fill_a_queue_like_any(new_shop: NewShop) -> None:
    shop = new_shop(**FEW)
    topic = shop.topic("dead")
    publishers = shop.publishers(60, topic)
    shop.wait_until_asked(60)
    publishers.close()
    wait_for_open(shop.client, 0)
    assert topic.waiting("dead") == 60

    outcomes = fill_up(topic, "dead")
    assert topic.waiting("dead") == 60 + sent(outcomes, "dead") <= 100
    # In the foreground, too.
    assert topic.publish().report["failed"] == {"dead": "queue_full"}


@pytest.mark.once
def test_a_publisher_that_leaves_a_tenth_of_a_second_after_is_found(new_shop: NewShop) -> None:
    shop = new_shop()
    topic = shop.topic("nobody")

    def leaves_and_is_found() -> bool:
        copies = topic.waiting("nobody") + 1
        publisher = shop.publishers(1, topic)
        eventually(lambda: topic.waiting("nobody") == copies)
        time.sleep(0.1)
        publisher.close()
        try:
            eventually(lambda: status(shop.client)["fanouts"] == 0, 4)
        except AssertionError:
            return False
        return True

    # A daemon that does not get the processor for so long may not have asked in time.
    assert any(leaves_and_is_found() for _ in range(5))


def test_a_timeout_beyond_what_the_configuration_allows_is_refused(new_shop: NewShop) -> None:
    shop = new_shop(**{"fanout.max_timeout": 100, "fanout.timeout": 100})
    topic = shop.topic()
    refused = topic.publish(timeout=100.5)
    assert refused.refusal == "invalid_seconds"
    assert "[fanout] max_timeout" in refused.report["message"]
    assert topic.publish(timeout=100).completed


def test_publishers_that_leave_make_room_for_those_that_stay(new_shop: NewShop) -> None:
    shop = new_shop(**{"fanout.max_in_flight": 10})
    topic = shop.topic("nobody")
    leaving = shop.publishers(10, topic)
    wait_for_open(shop.client, 10)
    staying = shop.publishers(5, topic)
    wait_for_open(shop.client, 15)
    # Those that stay wait for their turn, behind some that leave.
    also_leaving = shop.publishers(5, topic)
    shop.wait_until_asked(20)
    for peer in (leaving, also_leaving):
        peer.close()

    wait_for_open(shop.client, 5)
    # Of those that left before their turn no copy was sent.
    eventually(lambda: topic.waiting("nobody") == 15)
    (row,) = shop.client.submit("fanout_query", {"query": "status"}).report["rows"]
    assert row["counters"]["publishers_left_total"] == 15
    assert staying.echo()
    assert topic.waiting("nobody") == 15


def test_who_submits_in_the_background_or_without_a_unique_is_not_taken_for_gone(
    new_shop: NewShop,
) -> None:
    shop = new_shop()
    topic = shop.topic("bob")
    with topic.peer() as leaving:
        leaving.start("fanout", topic.request("background"), background=True, unique="one")
        leaving.start("fanout", topic.request("no unique"))
        leaving.start("fanout", topic.request("gone"), unique="two")
        shop.wait_until_asked(3)
    wait_for_open(shop.client, 2)
    # Their copies are answered, as nobody has given them up.
    topic.receiver("bob").take(3)
    wait_for_open(shop.client, 0)


def test_a_publisher_that_shares_its_unique_with_another_function_is_not_left_hanging(
    new_shop: NewShop, peer: NewPeer
) -> None:
    shop = new_shop()
    topic = shop.topic("bob")
    handle = topic.client.start("fanout", topic.request("hello", timeout=60), unique="same")
    shop.wait_until_asked(1)
    worker, leaving = peer(), peer()
    worker.can_do("elsewhere")
    leaving.start("elsewhere", "x", unique="same")
    worker.grab()
    # The job server tells of the newer job, whose client is gone.
    leaving.close()
    eventually(lambda: not status(shop.client)["fanouts_open"])
    report = topic.client.finish(handle).report
    assert report["failed"] == {"bob": "timeout"}


def test_a_publisher_that_leaves_the_job_server_of_the_standalone_mode_is_found(
    start: Start, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    server = start(GearServer("JobServer"))
    process = daemon([server.address], constants=QUICK)
    with Peer(server.port) as client:
        shop = Shop(server, process, new_topic, client)
        publishers = shop.publishers(3)
        shop.wait_until_asked(3)
        publishers.close()
        wait_for_open(client, 0)


def test_a_window_that_stays_full_is_logged_once_with_who_fills_it(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    # With the order of the topic those in the background wait in the window.
    options: dict[str, Any] = {"fanout.order": "topic", "fanout.max_in_flight": 3}
    process = daemon(**options)
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    first = topic.start("first", timeout=60)
    eventually(lambda: topic.waiting("bob"))
    handles = [topic.start(str(number), background=True) for number in range(5)]
    eventually(lambda: "no further fan-outs are taken" in process.log)
    assert f"by topic: {topic.name!r} 3; they wait for: the end of another 3" in process.log

    topic.receiver("bob").take(1)
    assert all(topic.client.finish(handle).completed for handle in (first, *handles))
    eventually(lambda: "fan-outs are taken again" in process.log)
    assert process.log.count("no further fan-outs are taken") == 1
