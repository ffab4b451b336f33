# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The library beside a daemon of the release before, which knows no ``id``."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from gearhorn import Publisher, Subscriber
from gearhorn.tests import packets
from gearhorn.tests.conftest import NewPeer
from gearhorn.tests.functional.failing import Failing
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

REFUSAL = json.dumps({"error": "unknown_key", "message": "unknown key 'id'"})


class OldDaemon:
    """It fans out to one receiver, and refuses what it does not know."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.taken: list[dict[str, Any]] = []
        peer.can_do("fanout")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                job = self._peer.grab(60)
            except (OSError, ValueError):
                return
            request = json.loads(job.data)
            if "id" in request:
                self._peer.send(packets.WORK_WARNING, job.handle, REFUSAL)
                self._peer.fail(job)
                continue
            self.taken.append(request)
            report = {"topic": request["topic"], "subscribers": 1, "queued": 1}
            self._peer.complete(job, json.dumps(report))


@pytest.fixture
def old_daemon(gearmand: Gearmand, peer: NewPeer) -> OldDaemon:
    return OldDaemon(peer())


def test_it_is_sent_a_unique_instead(gearmand: Gearmand, old_daemon: OldDaemon) -> None:
    with Publisher(gearmand.address) as publisher:
        for _ in range(2):
            publisher.publish("t", "one", background=True, id="memo-1")
        publisher.publish("t", "two", background=True, unique="u")
        publisher.publish("t", "three", background=True)
        many: list[Any] = [("t", "four"), ("t", "five", "v")]
        assert len([*publisher.publish_many(many, background=True)]) == 2
    uniques = [request["unique"] for request in old_daemon.taken]
    assert uniques[0] == uniques[1]
    assert (uniques[2], uniques[5]) == ("u", "v")
    assert len({*uniques}) == 5


def test_so_it_is_with_dead_letters(gearmand: Gearmand, old_daemon: OldDaemon) -> None:
    subscriber = Subscriber(gearmand.address, "bob", register=False)
    subscriber.on("t", dead_letter="dead")(Failing())
    with Peer(gearmand.port) as client, running(subscriber):
        assert client.submit("t_bob", "hello").failed
        eventually(lambda: len(old_daemon.taken) == 1)
    assert old_daemon.taken[0]["topic"] == "dead"
    assert old_daemon.taken[0]["unique"]
