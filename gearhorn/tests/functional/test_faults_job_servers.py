# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Job servers that are late, vanish without a word, or are none: the others serve on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.fleet import SHORT, Fleet, fleet
from gearhorn.tests.processes import Process, eventually
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand, Redis, Stunnel

__all__ = ["fleet"]

QUICK: dict[str, Any] = {**SHORT, "gearman.reconnect_max": 0.2, "gearman.connect_timeout": 1}
WATCHFUL: dict[str, Any] = {
    **QUICK,
    "gearman.liveness_interval": 0.3,
    "gearman.liveness_timeout": 0.3,
}


@pytest.fixture
def proxy(gearmand: Gearmand) -> Iterator[Proxy]:
    with Proxy(gearmand.port) as between:
        yield between


def queued(server: Gearmand, queues: list[str]) -> int:
    status = server.admin.status()
    return sum(status[queue].total for queue in queues if queue in status)


# Late.


def test_a_job_server_that_replies_late(
    fleet: Fleet, gearmand: Gearmand, proxy: Proxy, peer: NewPeer
) -> None:
    one = fleet.add("one", servers=[proxy.address], **QUICK)
    one.register(fleet.topic, "bob")
    proxy.delay_s = 0.15
    handles = [
        one.start("fanout", topic=fleet.topic, payload=str(number), background=True)
        for number in range(50)
    ]
    for handle in handles:
        assert one.finish(handle).report["queued"] == 1
    handle = one.start("fanout", topic=fleet.topic, payload="last", gather=True)
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
    fleet: Fleet, gearmand: Gearmand, proxy: Proxy
) -> None:
    one = fleet.add("one", servers=[proxy.address], **WATCHFUL)
    one.register(fleet.topic, "bob")
    proxy.delay_s = 1.5
    handles = [
        one.start("fanout", topic=fleet.topic, payload=str(number), background=True)
        for number in range(20)
    ]
    one.until_it_says(f"job server {proxy.address}: away (no answer")
    proxy.delay_s = 0
    for handle in handles:
        assert one.finish(handle).report["queued"] == 1
    one.until_it_says(f"job server {proxy.address}: connected", 2)
    assert gearmand.admin.queue(f"{fleet.topic}_bob").total >= 20


# Vanished without a word: the network swallows what either side sends.


def test_a_job_server_behind_a_network_that_swallows_everything(
    fleet: Fleet, gearmand: Gearmand, start: Start
) -> None:
    second = start(Gearmand())
    with Proxy(second.port) as proxy:
        one = fleet.add("one", servers=[gearmand, proxy.address], **WATCHFUL)
        names = [f"c{number}" for number in range(40)]
        for name in names:
            one.register(fleet.topic, name)
        one.until_it_says(f"job server {proxy.address}: connected")
        queues = [f"{fleet.topic}_{name}" for name in names]

        # New connections are taken, too, and nothing is ever heard on them.
        proxy.stall()
        for _ in range(3):
            assert one.publish(fleet.topic)["queued"] == 40
        assert queued(gearmand, queues) == 3 * 40
        time.sleep(0.8)
        assert one.daemon.log.count(f"job server {proxy.address}: away") == 1

        proxy.resume()
        one.until_it_says(f"job server {proxy.address}: connected", 2)
        assert one.publish(fleet.topic)["queued"] == 40
        eventually(lambda: queued(second, queues) > 0)


class Island(Process):
    """A network of its own, with one cable to this one."""

    program = "unshare"
    package = "util-linux"

    def __init__(self) -> None:
        super().__init__()
        number = os.getpid() % 16384
        # Of the block that is kept for tests of network devices: nobody else's.
        base = f"198.18.{number >> 6}.{(number & 63) << 2}"
        first = base.rpartition(".")
        self.here, self.there = (f"{first[0]}.{int(first[2]) + n}" for n in (1, 2))
        self._link = f"gh{number}"

    def command(self) -> Sequence[str]:
        return [self.find_program(), "--net", "sleep", "3600"]

    def is_ready(self) -> bool:
        return Path(f"/proc/{self.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()

    def start(self) -> None:
        super().start()
        inner = f"{self._link}i"
        _ip(f"link add {self._link} type veth peer name {inner}")
        _ip(f"link set {inner} netns {self.pid}")
        _ip(f"addr add {self.here}/30 dev {self._link}")
        _ip(f"link set {self._link} up")
        self.inside(f"addr add {self.there}/30 dev {inner}")
        self.inside(f"link set {inner} up")
        self.inside("link set lo up")

    def enter(self) -> list[str]:
        """What a command begins with that is to run there."""
        return ["nsenter", "--net", "--target", str(self.pid), "--"]

    def inside(self, arguments: str) -> None:
        _ip(arguments, self.enter())

    def pull_the_cable(self) -> None:
        self.inside(f"link set {self._link}i down")

    def close(self) -> None:
        if self._process is not None:
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(f"link del {self._link}")
        super().close()


def _ip(arguments: str, prefix: Sequence[str] = ()) -> None:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    subprocess.run(
        [*prefix, "ip", *arguments.split()],
        env={**os.environ, "PATH": path},
        capture_output=True,
        check=True,
    )


@pytest.fixture
def island() -> Iterator[Island]:
    missing = [n for n in ("unshare", "nsenter", "ip") if not shutil.which(n, path=_PROGRAMS)]
    if os.geteuid() != 0 or missing:
        pytest.skip("only root can make a network, with unshare, nsenter and ip")
    with contextlib.ExitStack() as stack:
        island = Island()
        stack.callback(island.close)
        try:
            island.start()
        except (AssertionError, subprocess.CalledProcessError):
            pytest.skip("no network can be made here")
        yield island


_PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class GearmandForAll(Gearmand):
    """One that daemons on an island reach as well."""

    host = "0.0.0.0"


class IslandGearmand(Gearmand):
    """A job server on another host, so to say."""

    def __init__(self, island: Island) -> None:
        self.host = island.there
        super().__init__()
        self._island = island

    def command(self) -> Sequence[str]:
        return [*self._island.enter(), *super().command()]


class IslandDaemon(Daemon):
    """A daemon on another host, so to say."""

    def __init__(self, island: Island, options: dict[str, object]) -> None:
        super().__init__(options)
        self._island = island

    def command(self) -> Sequence[str]:
        return [*self._island.enter(), *super().command()]


def test_a_daemons_host_that_vanishes(
    fleet: Fleet, start: Start, island: Island, tmp_path: Path, peer: NewPeer
) -> None:
    server = start(
        GearmandForAll(
            "--keepalive", "--keepalive-idle=1", "--keepalive-interval=1", "--keepalive-count=2"
        )
    )
    url = f"sqlite://{tmp_path}/store.db"
    options: dict[str, object] = {
        "gearman.servers": f"{island.here}:{server.port}",
        "store.url": url,
        "functions.fanout": "fanout_one",
    }
    away = start(IslandDaemon(island, options))
    client = peer(server, timeout_s=30)
    registration = {"topic": "memos", "client_id": "bob"}
    assert client.submit("register_fanout_subscriber", registration).completed
    request = json.dumps({"topic": "memos", "payload": "?", "timeout": 3600})
    handle = client.start("fanout_one", request)
    eventually(lambda: server.admin.queue("memos_bob").total == 1)

    # What was sent is confirmed by then: until it is, the kernel does not look whether they live.
    time.sleep(0.5)
    island.pull_the_cable()

    # The job server notices by --keepalive, and else would not for a long time.
    def listed() -> str:
        return " ".join(server.admin.command("workers", ends_with_dot=True))

    eventually(lambda: island.there not in listed(), 40)

    fleet.add("one", servers=[f"127.0.0.1:{server.port}"], store_url=url, **QUICK)
    worker = peer(server, timeout_s=30)
    worker.can_do("memos_bob")
    assert worker.take(1) == [b"?"]
    assert client.finish(handle).report["delivered"] == 1
    assert worker.try_grab() is None
    assert away.exit_code is None


def test_a_job_servers_host_that_vanishes(
    fleet: Fleet, gearmand: Gearmand, start: Start, island: Island
) -> None:
    second = start(IslandGearmand(island))
    address = f"{island.there}:{second.port}"
    one = fleet.add("one", servers=[gearmand, address], **WATCHFUL)
    names = [f"c{number}" for number in range(40)]
    for name in names:
        one.register(fleet.topic, name)
    one.until_it_says(f"job server {address}: connected")
    assert one.publish(fleet.topic)["queued"] == 40
    queues = [f"{fleet.topic}_{name}" for name in names]
    before = queued(gearmand, queues)
    assert 0 < before < 40

    island.pull_the_cable()

    assert one.publish(fleet.topic)["queued"] == 40
    assert queued(gearmand, queues) == before + 40
    assert one.said(f"job server {address}: away")
    one.register(fleet.topic, "late")
    assert one.reached(fleet.topic) == 41
    assert one.daemon.stop(10) == 0


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
    options = {**QUICK, "gearman.reconnect_max": 10.0}
    process = daemon([f"127.0.0.1:{there.port}", gearmand], **options)
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    begun = time.monotonic()
    while time.monotonic() - begun < 1:
        assert topic.publish(background=True).report["queued"] == 1
    assert process.log.count(f"job server 127.0.0.1:{there.port}: away") == 1
    # Four connections, each with growing pauses.
    assert there.accepted <= 4 * 6
    assert process.stop(10) == 0


def test_a_job_server_that_never_completes_the_tls_handshake(
    start: Start,
    gearmand: Gearmand,
    daemon: NewDaemon,
    new_topic: NewTopic,
    listener: NewListener,
) -> None:
    tunnel = start(Stunnel(gearmand.port))
    there = listener(keeps_silent)
    options = {**QUICK, "gearman.tls_ca": tunnel.ca}
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
    assert process.stop(10) == 0


def test_a_redis_that_never_completes_the_tls_handshake(
    daemon: NewDaemon, start: Start, gearmand: Gearmand, listener: NewListener
) -> None:
    there = listener(keeps_silent)
    ca = start(Stunnel(gearmand.port)).ca
    url = f"rediss://localhost:{there.port}?ssl_ca_certs={ca}"
    process = daemon(store_url=url, wait_ready=False, **{**QUICK, "store.timeout": 0.3})
    eventually(lambda: "The store is away; jobs wait until it answers" in process.log)
    tries = there.accepted
    eventually(lambda: there.accepted > tries)
    assert process.stop(10) == 0


@pytest.mark.parametrize("what", ["job server", "store"])
def test_a_server_name_that_does_not_resolve(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic, redis_server: Redis, what: str
) -> None:
    name = "nowhere.invalid"
    if what == "store":
        process = daemon(store_url=f"redis://{name}/0", wait_ready=False, **QUICK)
        eventually(lambda: "The store is away; jobs wait until it answers" in process.log, 30)
        assert name in process.log
        assert "READY=1" not in process.notifications
    else:
        process = daemon([f"{name}:4730", gearmand], **QUICK)
        topic = new_topic(gearmand)
        topic.subscribe("bob")
        assert topic.publish(background=True).report["queued"] == 1
        eventually(lambda: f"job server {name}:4730: away" in process.log, 30)
        assert topic.publish(background=True).report["queued"] == 1
        assert process.log.count(f"job server {name}:4730: away") == 1
    assert process.stop(30) == 0
