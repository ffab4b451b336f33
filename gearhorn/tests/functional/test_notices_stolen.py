# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Strangers on the function in which a daemon takes its notices."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from gearhorn.daemon.notices import answer_to
from gearhorn.tests.functional.fleet import MATCHMAKING, SHORT, Fleet
from gearhorn.tests.peer import Job, Peer

STRANGERS = 20

Answer = Callable[[Peer, Job], None]


class Strangers:
    """Connections that take notices of a daemon and answer in its place."""

    def __init__(self, fleet: Fleet, worker_id: str, answer: Answer) -> None:
        self.stolen: list[Job] = []
        self._function = f"{MATCHMAKING}_{worker_id}"
        self._answer = answer
        self._ends = threading.Event()
        peers = [fleet.new_client() for _ in range(STRANGERS)]
        for peer in peers:
            peer.can_do(self._function)
        self._threads = [threading.Thread(target=self._steal, args=(peer,)) for peer in peers]
        for thread in self._threads:
            thread.start()

    def _steal(self, peer: Peer) -> None:
        while not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                job = peer.grab(0.2)
                self.stolen.append(job)
                self._answer(peer, job)
        peer.cant_do(self._function)

    def close(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(20)


def done(peer: Peer, job: Job) -> None:
    peer.complete(job, job.data)


def forged(peer: Peer, job: Job) -> None:
    peer.complete(job, answer_to("topic", job.unique, "guess").encode())


@pytest.fixture(params=[done, forged])
def answer(request: pytest.FixtureRequest) -> Iterator[Answer]:
    return request.param  # type: ignore[no-any-return]


def test_no_fan_out_misses_a_subscriber_though_strangers_answer(
    fleet: Fleet, answer: Answer
) -> None:
    one, other = fleet.add("one", **SHORT), fleet.add("other", **SHORT)
    with contextlib.closing(Strangers(fleet, one.worker_id, answer)) as strangers:
        number = 0
        # The daemon itself may be the quickest many times.
        while number < 15 or not strangers.stolen:
            assert one.reached(fleet.topic) == number
            other.register(fleet.topic, f"bob{number}")
            number += 1
        assert one.reached(fleet.topic) == number
        other.until_it_says(f"what answers in the function of {one.worker_id} is not that daemon")


def test_no_query_shows_a_secret(fleet: Fleet) -> None:
    one = fleet.add("one", **SHORT)
    secrets = [entry.secret for entry in fleet.store(lambda store: store.daemons()).values()]
    (secret,) = secrets
    assert secret
    for query in ("daemons", "status", "topics"):
        assert secret.encode() not in fleet.client.submit("query_one", {"query": query}).data
    one.daemon.stop()
    assert secret not in one.daemon.log
