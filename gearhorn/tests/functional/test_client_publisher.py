# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Publishing from Python, against real servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from gearhorn import AsyncPublisher, Publisher, errors, tls_context
from gearhorn.tests.builders import subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Stunnel


@pytest.fixture
def publisher(topic: Topic) -> Iterator[Publisher]:
    with Publisher(topic.server.address, timeout=10) as publisher:
        yield publisher


def answering(worker: Peer, result: str | bytes) -> threading.Thread:
    """Have ``worker`` answer one job with ``result``."""
    thread = threading.Thread(target=lambda: worker.complete(worker.grab(), result))
    thread.start()
    return thread


def test_a_background_message_is_queued(topic: Topic, publisher: Publisher) -> None:
    topic.subscribe("bob", "alice")
    report = publisher.publish(topic.name, {"memo": "go home"}, background=True)
    assert (report.topic, report.subscribers, report.queued) == (topic.name, 2, 2)
    assert topic.receiver("bob").take(1) == [b'{"memo":"go home"}']


def test_nobody_listening_is_a_success(topic: Topic, publisher: Publisher) -> None:
    assert publisher.publish(topic.name, "?").subscribers == 0


def test_the_publisher_returns_gathered_results(topic: Topic, publisher: Publisher) -> None:
    topic.subscribe("bob")
    thread = answering(topic.receiver("bob"), "done")
    report = publisher.publish(topic.name, b"\xff\0", gather=True)
    thread.join()
    assert report.delivered == 1
    assert report.results == {"bob": "done"}


def test_a_partial_failure_names_who_failed(topic: Topic, publisher: Publisher) -> None:
    topic.subscribe("bob", "mute")
    thread = answering(topic.receiver("bob"), "")
    with pytest.raises(errors.PartialFailure) as raised:
        publisher.publish(topic.name, "?", timeout=2)
    thread.join()
    assert raised.value.report.failed == {"mute": "timeout"}
    assert raised.value.report.delivered == 1


def test_progress_is_told(topic: Topic, publisher: Publisher) -> None:
    topic.subscribe("bob", "mute")
    thread = answering(topic.receiver("bob"), "")
    progress: list[tuple[int, int]] = []

    def on_progress(done: int, total: int) -> None:
        progress.append((done, total))
        raise RuntimeError("harms nothing")

    with pytest.raises(errors.PartialFailure):
        publisher.publish(topic.name, "?", timeout=3, on_progress=on_progress)
    thread.join()
    assert (1, 2) in progress


def test_a_refused_request_says_which(topic: Topic, publisher: Publisher) -> None:
    # The daemon's function for registrations knows no payload.
    with (
        Publisher(topic.server.address, function="subscribe_fanout") as elsewhere,
        pytest.raises(errors.UnknownKey) as raised,
    ):
        elsewhere.publish(topic.name, "?")
    assert raised.value.report.error == "unknown_key"


def test_each_message_has_a_unique_of_its_own_unless_it_is_given_one(
    topic: Topic, publisher: Publisher
) -> None:
    topic.subscribe("bob")
    for unique in (None, None, "mine", "mine"):
        publisher.publish(topic.name, "?", background=True, unique=unique)
    worker = topic.receiver("bob")
    jobs = [worker.grab() for _ in range(3)]
    first, second, third = (job.unique for job in jobs)
    assert first != second
    assert third == b"mine"
    assert worker.try_grab() is None


def test_many_threads_share_one_publisher(topic: Topic, publisher: Publisher) -> None:
    topic.subscribe("bob")
    threads = [
        threading.Thread(target=publisher.publish, args=(topic.name, "?"), kwargs={"background": 1})
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert topic.waiting("bob") == 20


def test_many_are_published_in_order(topic: Topic, publisher: Publisher) -> None:
    topic.subscribe("bob")
    many = ((topic.name, str(number)) for number in range(3000))
    reports = list(publisher.publish_many(many, background=True, window=100))
    assert [report.queued for report in reports] == [1] * 3000
    assert topic.receiver("bob").take(3000, 30) == [b"%d" % number for number in range(3000)]


def test_each_of_many_is_sent_as_it_comes(topic: Topic, publisher: Publisher) -> None:
    topic.subscribe("bob")
    worker = topic.receiver("bob")

    def slow() -> Iterator[tuple[str, str]]:
        yield topic.name, "first"
        # Nobody has asked for the report of the first yet.
        assert worker.take(1) == [b"first"]
        yield topic.name, "second"

    assert len(list(publisher.publish_many(slow(), background=True))) == 2


def test_what_fails_of_many_is_raised_or_yielded_in_its_place(
    topic: Topic, publisher: Publisher
) -> None:
    many = [(topic.name, "1"), ("", "2"), (topic.name, object()), (topic.name, "4")]
    outcomes = list(publisher.publish_many(many, return_exceptions=True))
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "FanOutReport",
        "InvalidTopic",
        "InvalidPayload",
        "FanOutReport",
    ]
    reports = publisher.publish_many(many)
    assert next(reports).subscribers == 0
    with pytest.raises(errors.InvalidTopic):
        next(reports)


async def test_an_asyncio_program_publishes(topic: Topic) -> None:
    topic.subscribe("bob")

    async with AsyncPublisher([topic.server.address]) as publisher:
        report = await publisher.publish(topic.name, "one", background=True)
        assert report.queued == 1
        many = [(topic.name, "two"), (topic.name, "three")]
        reports = [r async for r in publisher.publish_many(many, background=True)]
        assert [r.queued for r in reports] == [1, 1]
    assert topic.receiver("bob").take(3) == [b"one", b"two", b"three"]


def test_without_a_job_server() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    with Publisher(nowhere, connect_timeout=0.3) as publisher:
        with pytest.raises(errors.NoServer):
            publisher.publish("t", "?")
        (outcome,) = publisher.publish_many([("t", "?")], return_exceptions=True)
        assert isinstance(outcome, errors.NoServer)


def test_without_a_daemon(gearmand: Gearmand, peer: NewPeer) -> None:
    with Publisher(gearmand.address, timeout=0.3) as publisher, pytest.raises(errors.NoAnswer):
        publisher.publish("t", "?", background=True)
    # The one that was given up joins nothing: it had a unique of its own.
    worker = peer()
    worker.can_do("fanout")
    with Publisher(gearmand.address) as publisher:
        thread = threading.Thread(
            target=lambda: worker.complete(worker.grab(), '{"topic":"t","subscribers":0}')
        )
        thread.start()
        assert publisher.publish("t", "?", background=True).subscribers == 0
        thread.join()


def test_a_worker_that_is_no_daemon(gearmand: Gearmand, peer: NewPeer) -> None:
    worker = peer()
    worker.can_do("fanout")
    thread = answering(worker, "thank you")
    with Publisher(gearmand.address) as publisher, pytest.raises(errors.BadAnswer):
        publisher.publish("t", "?")
    thread.join()


def test_a_closed_publisher_publishes_no_more(gearmand: Gearmand) -> None:
    publisher = Publisher(gearmand.address)
    publisher.close()
    publisher.close()
    with pytest.raises(errors.Closed):
        publisher.publish("t", "?")
    with pytest.raises(errors.Closed):
        list(publisher.publish_many([("t", "?")]))


def test_closing_ends_what_is_being_published(gearmand: Gearmand) -> None:
    publisher = Publisher(gearmand.address)
    outcomes: list[object] = []

    def publish_many() -> None:
        outcomes.extend(publisher.publish_many([("t", "?")] * 9, return_exceptions=True))

    def publish() -> None:
        try:
            publisher.publish("t", "?")
        except errors.Closed as error:
            outcomes.append(error)

    threads = [threading.Thread(target=target) for target in (publish, publish_many)]
    for thread in threads:
        thread.start()
    eventually(lambda: gearmand.admin.queue("fanout").total == 10)
    publisher.close()
    for thread in threads:
        thread.join(10)
    assert [type(outcome) for outcome in outcomes] == [errors.Closed] * 10


def test_publishing_over_tls(topic: Topic, start: Start) -> None:
    front = start(Stunnel(topic.server.port))
    topic.subscribe("bob")
    tls = tls_context(str(front.ca))
    with Publisher(f"localhost:{front.port}", tls=tls) as publisher:
        assert publisher.publish(topic.name, "?", background=True).queued == 1
    with (
        Publisher(f"localhost:{front.port}", tls=tls_context(None), connect_timeout=0.5) as plain,
        pytest.raises(errors.NoServer),
    ):
        plain.publish(topic.name, "?")


def test_a_full_queue_is_an_error(start: Start, peer: NewPeer) -> None:
    gearmand = start(Gearmand("--job-retries=0"))
    client = peer(gearmand)
    client.start("fanout", "{}", background=True)
    gearmand.admin.command("maxqueue fanout 1")
    with Publisher(gearmand.address) as publisher, pytest.raises(errors.NotQueued):
        publisher.publish("t", "?")


def test_the_loss_of_a_server_is_survived(start: Start, peer: NewPeer, daemon: NewDaemon) -> None:
    """A request to a server that dies goes to the other one, and its copies are queued once."""
    servers = [start(Gearmand()), start(Gearmand())]
    daemon(servers)
    client = peer(servers[0])
    assert client.submit("register_fanout_subscriber", subscription("t", "bob")).completed
    with Publisher([server.address for server in servers], timeout=30) as publisher:
        assert publisher.publish("t", "before", background=True).queued == 1
        used = next(s for s in servers if s.admin.queue("t_bob").total)
        for number in range(20):
            assert publisher.publish(f"u{number}", "?", background=True).subscribers == 0
        used.kill()
        reports = publisher.publish_many([("t", "after")] * 5, background=True)
        assert [report.queued for report in reports] == [1] * 5


def test_a_job_lost_with_its_server_is_asked_for_again(start: Start, peer: NewPeer) -> None:
    servers = [start(Gearmand()), start(Gearmand())]
    workers = [peer(server) for server in servers]
    for worker in workers:
        worker.can_do("fanout")
    with Publisher([server.address for server in servers], timeout=30) as publisher:
        found: list[int] = []
        thread = threading.Thread(
            target=lambda: found.append(publisher.publish("t", "?", background=True).subscribers)
        )
        thread.start()
        eventually(lambda: any(s.admin.queue("fanout").total for s in servers))
        used = 0 if servers[0].admin.queue("fanout").total else 1
        first = workers[used].grab()
        servers[used].kill()
        second = workers[1 - used].grab()
        assert json.loads(second.data) == json.loads(first.data)
        assert json.loads(second.data)["id"]
        assert second.unique != first.unique
        workers[1 - used].complete(second, '{"topic":"t","subscribers":3,"queued":3}')
        thread.join()
        assert found == [3]
