# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Hostile job servers harm neither the daemon nor the healthy job servers beside them."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearhorn.daemon.placement import Share, divide
from gearhorn.tests.conftest import NewDaemon, NewPeer, show_log
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.functional.harm import resident_megabytes
from gearhorn.tests.functional.hostile import (
    BEHAVIOURS,
    HostileConnection,
    HostileServer,
    close_at_once,
    flood_noop,
    never_answer,
    speak_http,
)
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, Redis
from gearhorn.wire.address import Address


class Besieged:
    """A daemon beside a healthy job server and a hostile one."""

    def __init__(self, redis: Redis, stack: contextlib.ExitStack) -> None:
        self.gearmand = stack.enter_context(Gearmand())
        self.hostile = HostileServer()
        stack.callback(self.hostile.close)
        self.hostile.behave(never_answer)
        options: dict[str, Any] = {
            "gearman.servers": [self.hostile.address, self.gearmand.address],
            "gearman.reconnect_max": 0.2,
            "gearman.connect_timeout": 1,
            "service.drain_timeout": 1,
            "store.url": redis.url,
            "store.key_prefix": f"test-{uuid.uuid4().hex[:12]}:",
        }
        self.daemon = stack.enter_context(Daemon(options))
        self.memory = resident_megabytes(self.daemon)

    def own_client_id(self, topic: Topic) -> str:
        """A subscriber whose queue is on the healthy server while both are there."""
        servers = [Address.parse(self.hostile.address), Address.parse(self.gearmand.address)]
        for number in range(1000):
            queue = topic.queue(f"c{number}").encode()
            if servers[1] in divide(Share([queue], [""], None), sorted(servers, key=str)):
                return f"c{number}"
        raise AssertionError


@pytest.fixture(scope="module")
def _besieged(_shared_redis: Redis) -> Iterator[Besieged]:
    with contextlib.ExitStack() as stack:
        yield Besieged(_shared_redis, stack)


@pytest.fixture
def besieged(_besieged: Besieged, request: pytest.FixtureRequest) -> Besieged:
    show_log(request.node, _besieged.daemon)
    return _besieged


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.slow
def test_a_hostile_job_server_harms_no_other(
    besieged: Besieged,
    new_topic: NewTopic,
    behaviour: Callable[[HostileConnection], None],
) -> None:
    hostile = besieged.hostile
    logged = len(besieged.daemon.log)
    hostile.behave(behaviour)
    if behaviour not in (close_at_once, never_answer, speak_http):
        eventually(lambda: hostile.connected > 0)

    deadline = time.monotonic() + 0.7
    rounds = 0
    while rounds < 3 or time.monotonic() < deadline:
        rounds += 1
        topic = new_topic(besieged.gearmand)
        client_id = besieged.own_client_id(topic)
        topic.subscribe(client_id)
        worker = topic.receiver(client_id)
        handle = topic.start(f"{rounds}")
        assert worker.take(1) == [b"%d" % rounds]
        report = topic.client.finish(handle).report
        assert (report["topic"], report["delivered"]) == (topic.name, 1)
        assert topic.publish("later", background=True).report["queued"] == 1
        assert worker.take(1) == [b"later"]

    assert besieged.daemon.exit_code is None
    assert hostile.wrong == []
    assert "Traceback" not in besieged.daemon.log[logged:]
    assert len(besieged.daemon.log) - logged < 200_000
    assert resident_megabytes(besieged.daemon) < besieged.memory + 150


def test_a_server_that_reads_nothing_is_not_answered_without_end(
    gearmand: Gearmand, daemon: NewDaemon, peer: NewPeer
) -> None:
    # It knows how many jobs are asked for though it reads no request: one for each answer.
    hostile = HostileServer()
    sent = threading.Event()

    def assign_without_reading(connection: HostileConnection) -> None:
        connection.shake_hands()
        if b"fanout" not in connection.functions:
            connection.wait()
        try:
            while True:
                connection.socket.sendall(connection.job(1, b"fanout", b"junk"))
                time.sleep(0)
        finally:
            sent.set()

    hostile.behave(assign_without_reading)
    process = daemon(servers=[hostile.address, gearmand])
    before = resident_megabytes(process)
    sent.wait(3)
    assert resident_megabytes(process) < before + 50
    hostile.close()


def test_a_hostile_server_does_not_keep_the_daemon_from_ending(besieged: Besieged) -> None:
    besieged.hostile.behave(flood_noop)
    eventually(lambda: besieged.hostile.connected > 0)
    assert besieged.daemon.stop(30) == 0
    besieged.daemon.start()
