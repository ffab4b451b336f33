# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A subscriber with a position, while daemons die and journals are lost."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

from gearhorn import FilePosition, Message, Publisher, Reader, Subscriber, errors
from gearhorn.client.journal.entries import Entry
from gearhorn.client.journal.following import Missed
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand, Redis

OPTIONS: dict[str, Any] = {
    "journal.topics": "t",
    # Short leases, as a daemon dies.
    "matchmaking.cache_ttl": 2,
    "matchmaking.daemon_ttl": 6,
}


def numbers_read(client: Peer) -> list[str]:
    """What stands in the journal."""
    found: list[str] = []
    after = 0
    while True:
        request = {"topic": "t", "after": after, "limit": 1000}
        answer = client.submit("fanout_read", request).report
        found += [message["payload"] for message in answer["messages"]]
        if not answer["messages"]:
            return found
        after = answer["messages"][-1]["sequence"]


def with_small_queue(server: Gearmand, position: FilePosition, **options: Any) -> Subscriber:
    return Subscriber(
        server.address,
        "bob",
        position=position,
        max_waiting=100,
        overflow="skip",
        check_interval=0.5,
        **options,
    )


class Publishing:
    """Publishes numbered messages in a thread, and notes those that were acknowledged."""

    def __init__(self, server: Gearmand, messages: int) -> None:
        self.acknowledged: list[str] = []
        self._server = server
        self._texts = [str(number) for number in range(messages)]
        self._thread = threading.Thread(target=self._publish)

    def __enter__(self) -> Publishing:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(90)
        assert not self._thread.is_alive()

    def _publish(self) -> None:
        with Publisher(self._server.address, timeout=60) as publisher:
            many = (("t", text) for text in self._texts)
            outcomes = publisher.publish_many(
                many, background=True, window=50, return_exceptions=True
            )
            for text, outcome in zip(self._texts, outcomes, strict=True):
                if not isinstance(outcome, errors.GearhornError):
                    self.acknowledged.append(text)

    def reaches(self, count: int) -> None:
        eventually(lambda: len(self.acknowledged) > count, 60)


def test_it_misses_nothing_while_daemons_are_killed_and_its_queue_is_full(
    gearmand: Gearmand, daemon: NewDaemon, peer: NewPeer, tmp_path: Path
) -> None:
    daemons = [daemon(**OPTIONS), daemon(**OPTIONS)]
    seen: list[str] = []
    with FilePosition(tmp_path) as position:
        subscriber = with_small_queue(gearmand, position)
        slow = threading.Event()

        @subscriber.on("t")
        def handle(message: Message) -> None:
            seen.append(message.text)
            if len(seen) == 50:
                # Meanwhile its queue becomes full.
                assert slow.wait(60)

        with running(subscriber):
            eventually(lambda: position.read("t", "bob") is not None)
            with Publishing(gearmand, 1500) as publishing:
                for count in (200, 600):
                    publishing.reaches(count)
                    daemons.pop(0).kill()
                    daemons.append(daemon(**OPTIONS))
            slow.set()
            there = numbers_read(peer())
            eventually(lambda: len(seen) >= len(there), 60)
    assert len(publishing.acknowledged) > 1000
    assert {*publishing.acknowledged} <= {*there}
    assert seen == there


def missed_while_it_is_killed(
    process: Redis | Daemon, gearmand: Gearmand, peer: NewPeer, place: Path
) -> list[Missed]:
    """Kill a process twice under a subscriber that sees everything; what it is told is missing."""
    seen: list[str] = []
    missed: list[Missed] = []
    with FilePosition(place) as position:
        subscriber = with_small_queue(gearmand, position, on_missed=missed.append)
        subscriber.on("t")(lambda message: seen.append(message.text))
        with running(subscriber):
            eventually(lambda: position.read("t", "bob") is not None)
            with Publishing(gearmand, 1000) as publishing:
                for count in (200, 600):
                    publishing.reaches(count)
                    process.kill()
                    process.start()
            there = numbers_read(peer())
            eventually(lambda: len(seen) >= len(there), 60)
    assert len(publishing.acknowledged) > 900
    assert {*publishing.acknowledged} <= {*there}
    assert seen == there
    return missed


def test_it_misses_nothing_while_redis_is_killed_and_keeps_what_it_has_acknowledged(
    gearmand: Gearmand, redis: Redis, daemon: NewDaemon, peer: NewPeer, tmp_path: Path
) -> None:
    daemon(store_url=redis.url, **OPTIONS)
    missed = missed_while_it_is_killed(redis, gearmand, peer, tmp_path)
    # The numbers jumped, though nothing is missing.
    assert {each.why for each in missed} == {"gap"}


def test_it_misses_nothing_where_the_daemon_of_an_sqlite_store_is_killed(
    gearmand: Gearmand, daemon: NewDaemon, peer: NewPeer, tmp_path: Path
) -> None:
    process = daemon(store_url=f"sqlite://{tmp_path}/store.db", **OPTIONS)
    assert missed_while_it_is_killed(process, gearmand, peer, tmp_path / "positions") == []


@pytest.mark.parametrize("had_a_journal", [True, False], ids=["older", "none"])
def test_what_a_replica_has_lost_that_takes_over_is_told(
    gearmand: Gearmand,
    start: Start,
    redis: Redis,
    proxied_redis: Proxy,
    daemon: NewDaemon,
    peer: NewPeer,
    tmp_path: Path,
    had_a_journal: bool,
) -> None:
    daemon(store_url=proxied_redis.url, key_prefix="p:", **OPTIONS)
    client = peer()
    journals: dict[str, str] = {}

    def publish(*texts: str) -> None:
        for text in texts:
            request = {"topic": "t", "payload": text, "background": True}
            journals[text] = client.submit("fanout", request).report["journal"]

    def fail_over() -> None:
        """The replica has nothing of what is published from now on."""
        replica.ask("REPLICAOF", "NO", "ONE")
        publish("3", "4", "5")
        eventually(lambda: len(seen) == len(read) == len(journals))
        redis.kill()
        proxied_redis.target_port = replica.port
        proxied_redis.reset()
        publish("6", "7")

    seen: list[tuple[str | None, str]] = []
    read: list[Entry] = []
    missed: list[Missed] = []
    reader = Reader(gearmand.address, "t", follow=True)

    def follow() -> None:
        with contextlib.suppress(errors.Closed):
            read.extend(reader)

    with FilePosition(tmp_path) as position:
        subscriber = Subscriber(
            gearmand.address,
            "bob",
            position=position,
            on_missed=missed.append,
            check_interval=0.2,
        )

        @subscriber.on("t", start="first")
        def handle(message: Message) -> None:
            seen.append((message.journal, message.text))

        following = threading.Thread(target=follow)
        following.start()
        try:
            with running(subscriber):
                eventually(lambda: position.read("t", "bob") is not None)
                if had_a_journal:
                    publish("1", "2")
                replica = start(redis.replica())
                eventually(lambda: "p:identity" in replica.ask("KEYS", "p:identity"))
                fail_over()
                eventually(lambda: len(seen) == len(read) == len(journals))
        finally:
            reader.close()
            following.join(20)
    assert seen == [(journal, text) for text, journal in journals.items()]
    assert [(entry.journal, entry.text) for entry in read] == seen
    told = {entry.text: (entry.gap, entry.reset) for entry in read if entry.gap or entry.reset}
    if had_a_journal:
        assert len({*journals.values()}) == 1
        assert told.pop("6") == (True, False)
        assert {each.why for each in missed} == {"gap"}
        before, after = (entry.sequence for entry in read[-3:-1])
        assert (missed[-1].first, missed[-1].last) == (before + 1, after - 1)
    else:
        assert len({*journals.values()}) == 2
        assert told.pop("6") == (False, True)
        assert missed == []
    # Where the first replica attaches, it looks like that, too.
    assert {*told.values()} <= {(True, False)}


def test_it_reads_a_new_journal_where_the_store_has_lost_the_old_one(
    gearmand: Gearmand, redis: Redis, daemon: NewDaemon, peer: NewPeer, tmp_path: Path
) -> None:
    daemon(store_url=redis.url, key_prefix="p:", **OPTIONS)
    client = peer()

    def publish(text: str, **keys: Any) -> Any:
        request = {"topic": "t", "payload": text, "background": True, **keys}
        return client.submit("fanout", request).report

    seen: list[tuple[str | None, str]] = []
    with FilePosition(tmp_path) as position:
        subscriber = Subscriber(gearmand.address, "bob", position=position, check_interval=0.2)

        @subscriber.on("t", start="first")
        def handle(message: Message) -> None:
            seen.append((message.journal, message.text))

        with running(subscriber):
            journals = [publish(text)["journal"] for text in ("1", "2", "3")]
            eventually(lambda: len(seen) == 3)
            lost = [key for key in redis.ask("keys", "p:*").split() if "journal" in key]
            assert lost
            for key in lost:
                redis.ask("del", key)
            journals += [publish(text)["journal"] for text in ("4", "5")]
            eventually(lambda: len(seen) == 5)
    assert len({*journals}) == 2
    assert seen == list(zip(journals, "12345", strict=True))
