# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Hosts that vanish without a word: the network swallows what either side sends."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewPeer, Start
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.fleet import QUICK, WATCHFUL, Fleet
from gearhorn.tests.processes import Process, eventually
from gearhorn.tests.servers import Gearmand


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
        """Return the beginning of a command that is to run there."""
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


_PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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
    registered = client.submit("register_fanout_subscriber", subscription("memos", "bob"))
    assert registered.completed
    handle = client.start("fanout_one", message("memos", "?", timeout=3600))
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
    queues = one.register_all(fleet.topic, (f"c{number}" for number in range(40)))
    one.until_it_says(f"job server {address}: connected")
    assert one.publish(fleet.topic)["queued"] == 40
    before = gearmand.admin.total(queues)
    assert 0 < before < 40

    island.pull_the_cable()

    assert one.publish(fleet.topic)["queued"] == 40
    assert gearmand.admin.total(queues) == before + 40
    assert one.said(f"job server {address}: away")
    one.register(fleet.topic, "late")
    assert one.reached(fleet.topic) == 41
    assert one.daemon.stop() == 0
