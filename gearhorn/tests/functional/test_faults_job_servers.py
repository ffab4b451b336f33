# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Job servers that are late, vanish without a word, or are none: the others serve on."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon, NewPeer, NewProxy, Start
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.fleet import QUICK, WATCHFUL, Fleet
from gearhorn.tests.processes import eventually
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand, Redis, Stunnel

IMPATIENT: dict[str, Any] = {**QUICK, "gearman.connect_timeout": 1}


def test_a_job_server_that_replies_late(
    fleet: Fleet, gearmand: Gearmand, proxied_gearmand: Proxy, peer: NewPeer
) -> None:
    one = fleet.add("one", servers=[proxied_gearmand], **QUICK)
    one.register(fleet.topic, "bob")
    proxied_gearmand.delay_s = 0.15
    handles = [one.start_fanout(fleet.topic, str(number)) for number in range(50)]
    for handle in handles:
        assert one.finish(handle).report["queued"] == 1
    handle = one.start_fanout(fleet.topic, "last", background=False, gather=True)
    worker = peer()
    worker.can_do(f"{fleet.topic}_bob")
    # Each once, and in order.
    assert worker.take(50) == [str(number).encode() for number in range(50)]
    job = worker.grab()
    worker.complete(job, "late")
    assert one.finish(handle).report["results"] == {"bob": "late"}
    assert worker.try_grab() is None
    assert not one.said(": away")


def test_a_job_server_that_replies_later_than_it_may(
    fleet: Fleet, gearmand: Gearmand, proxied_gearmand: Proxy
) -> None:
    one = fleet.add("one", servers=[proxied_gearmand], **WATCHFUL)
    one.register(fleet.topic, "bob")
    proxied_gearmand.delay_s = 1.5
    handles = [one.start_fanout(fleet.topic, str(number)) for number in range(20)]
    one.until_it_says(f"job server {proxied_gearmand.address}: away (no answer")
    proxied_gearmand.delay_s = 0
    for handle in handles:
        assert one.finish(handle).report["queued"] == 1
    one.until_it_says(f"job server {proxied_gearmand.address}: connected", 2)
    assert gearmand.admin.queue(f"{fleet.topic}_bob").total >= 20


def test_a_job_server_behind_a_network_that_swallows_everything(
    fleet: Fleet, gearmand: Gearmand, start: Start, between: NewProxy
) -> None:
    second = start(Gearmand())
    proxy = between(second)
    one = fleet.add("one", servers=[gearmand, proxy.address], **WATCHFUL)
    queues = one.register_all(fleet.topic, (f"c{number}" for number in range(40)))
    one.until_it_says(f"job server {proxy.address}: connected")

    # New connections are taken, too, and nothing is ever heard on them.
    proxy.stall()
    for _ in range(3):
        assert one.publish(fleet.topic)["queued"] == 40
    assert gearmand.admin.total(queues) == 3 * 40
    tries = proxy.connected
    eventually(lambda: proxy.connected >= tries + 4)
    assert one.daemon.log.count(f"job server {proxy.address}: away") == 1

    proxy.resume()
    one.until_it_says(f"job server {proxy.address}: connected", 2)
    assert one.publish(fleet.topic)["queued"] == 40
    eventually(lambda: second.admin.total(queues) > 0)


# Servers that are none.


class Listener:
    """Something that takes connections, and does with them what it is told."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self._act = act
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._kept: list[socket.socket] = []
        self.port: int = self._socket.getsockname()[1]
        self.accepted = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.accepted += 1
                self._act(connection)
                self._kept.append(connection)

    def close(self) -> None:
        # Closing alone would not wake who waits in accept().
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for connection in self._kept:
            connection.close()


@pytest.fixture
def listener() -> Iterator[Callable[[Callable[[socket.socket], None]], Listener]]:
    with contextlib.ExitStack() as stack:

        def listen(act: Callable[[socket.socket], None]) -> Listener:
            made = Listener(act)
            stack.callback(made.close)
            return made

        yield listen


NewListener = Callable[[Callable[[socket.socket], None]], Listener]


def closes(connection: socket.socket) -> None:
    connection.close()


def keeps_silent(connection: socket.socket) -> None:
    pass


@pytest.mark.parametrize("act", [closes, keeps_silent])
def test_a_job_server_that_accepts_and_closes_or_never_answers(
    gearmand: Gearmand,
    daemon: NewDaemon,
    new_topic: NewTopic,
    listener: NewListener,
    act: Callable[[socket.socket], None],
) -> None:
    there = listener(act)
    options = {**IMPATIENT, "gearman.reconnect_max": 10.0}
    started = time.monotonic()
    process = daemon([f"127.0.0.1:{there.port}", gearmand], **options)
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    begun = time.monotonic()
    while time.monotonic() - begun < 1:
        assert topic.publish(background=True).report["queued"] == 1
    away = f"job server 127.0.0.1:{there.port}: away"
    eventually(lambda: away in process.log)
    assert process.log.count(away) == 1
    # Eight connections, with those for the mark, for publishers and for depths, each with pauses
    # that double from 0.05 seconds on, and a look for marks at the start.
    most = 1 + math.log2(1 + (time.monotonic() - started) / 0.05)
    assert there.accepted <= 8 * most + 1
    assert process.stop() == 0


def test_a_job_server_that_never_completes_the_tls_handshake(
    start: Start,
    gearmand: Gearmand,
    daemon: NewDaemon,
    new_topic: NewTopic,
    listener: NewListener,
) -> None:
    tunnel = start(Stunnel(gearmand.port))
    there = listener(keeps_silent)
    options = {**IMPATIENT, "gearman.tls_ca": tunnel.ca}
    process = daemon([f"localhost:{there.port}", f"localhost:{tunnel.port}"], **options)
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    assert topic.publish(background=True).report["queued"] == 1
    eventually(
        lambda: f"job server localhost:{there.port}: away (no answer in time)" in process.log
    )
    tries = there.accepted
    eventually(lambda: there.accepted > tries)
    assert topic.publish(background=True).report["queued"] == 1
    assert process.log.count(f"job server localhost:{there.port}: away") == 1
    assert process.stop() == 0


def test_a_redis_that_never_completes_the_tls_handshake(
    daemon: NewDaemon, start: Start, gearmand: Gearmand, listener: NewListener
) -> None:
    there = listener(keeps_silent)
    ca = start(Stunnel(gearmand.port)).ca
    url = f"rediss://localhost:{there.port}?ssl_ca_certs={ca}"
    process = daemon(store_url=url, wait_ready=False, **{**IMPATIENT, "store.timeout": 0.3})
    eventually(lambda: "The store is away; jobs wait until it answers" in process.log)
    tries = there.accepted
    eventually(lambda: there.accepted > tries)
    assert process.stop() == 0


@pytest.mark.parametrize("what", ["job server", "store"])
def test_a_server_name_that_does_not_resolve(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic, redis_server: Redis, what: str
) -> None:
    name = "nowhere.invalid"
    if what == "store":
        process = daemon(store_url=f"redis://{name}/0", wait_ready=False, **IMPATIENT)
        eventually(lambda: "The store is away; jobs wait until it answers" in process.log, 30)
        assert name in process.log
        assert "READY=1" not in process.notifications
    else:
        process = daemon([f"{name}:4730", gearmand], **IMPATIENT)
        topic = new_topic(gearmand)
        topic.subscribe("bob")
        assert topic.publish(background=True).report["queued"] == 1
        eventually(lambda: f"job server {name}:4730: away" in process.log, 30)
        assert topic.publish(background=True).report["queued"] == 1
        assert process.log.count(f"job server {name}:4730: away") == 1
    assert process.stop(30) == 0
