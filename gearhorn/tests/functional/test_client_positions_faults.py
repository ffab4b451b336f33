# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A subscriber with a position, while daemons die and journals are lost."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from gearhorn import FilePosition, Message, Publisher, Subscriber, errors
from gearhorn.tests.conftest import NewDaemon, NewPeer
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
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
    while True:
        request = {"topic": "t", "after": len(found), "limit": 1000}
        answer = client.submit("fanout_read", request).report
        found += [message["payload"] for message in answer["messages"]]
        if len(found) >= answer["last"]:
            return found


def test_it_misses_nothing_while_daemons_are_killed_and_its_queue_is_full(
    gearmand: Gearmand, daemon: NewDaemon, peer: NewPeer, tmp_path: Path
) -> None:
    daemons = [daemon(**OPTIONS), daemon(**OPTIONS)]
    seen: list[str] = []
    acknowledged: list[str] = []
    with FilePosition(tmp_path) as position:
        subscriber = Subscriber(
            gearmand.address,
            "bob",
            position=position,
            max_waiting=100,
            overflow="skip",
            check_interval=0.5,
        )
        slow = threading.Event()

        @subscriber.on("t")
        def handle(message: Message) -> None:
            seen.append(message.text)
            if len(seen) == 50:
                # Meanwhile its queue becomes full.
                assert slow.wait(60)

        with running(subscriber), Publisher(gearmand.address, timeout=60) as publisher:
            eventually(lambda: position.read("t", "bob") is not None)

            def publish() -> None:
                texts = [str(number) for number in range(1500)]
                many = (("t", text) for text in texts)
                outcomes = publisher.publish_many(
                    many, background=True, window=50, return_exceptions=True
                )
                for text, outcome in zip(texts, outcomes, strict=True):
                    if not isinstance(outcome, errors.GearhornError):
                        acknowledged.append(text)

            thread = threading.Thread(target=publish)
            thread.start()
            for count in (200, 600):
                eventually(lambda count=count: len(acknowledged) > count, 60)  # type: ignore[misc]
                daemons.pop(0).kill()
                daemons.append(daemon(**OPTIONS))
            thread.join(90)
            assert not thread.is_alive()
            slow.set()
            there = numbers_read(peer())
            eventually(lambda: len(seen) >= len(there), 60)
    assert len(acknowledged) > 1000
    assert {*acknowledged} <= {*there}
    assert seen == there


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
