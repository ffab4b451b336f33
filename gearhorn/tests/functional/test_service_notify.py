# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Service managers that do not read what they are told, or not yet."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.builders import message
from gearhorn.tests.closing import Closing
from gearhorn.tests.conftest import NewDaemon, NewPeer
from gearhorn.tests.processes import eventually

COMPLAINT = "could not tell the service manager"


class Manager(Closing):
    """The socket of a service manager, and all that it has read."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(0.05)
        self.heard: list[str] = []

    def fill(self) -> None:
        """Have no room for another word, as it reads nothing."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self._socket.getsockname())
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.send(b"FILLER=1")

    def hears(self, word: str) -> bool:
        """Read what there is; say whether this was ever among it."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.heard += self._socket.recv(65536).decode().splitlines()
        return word in self.heard

    def environment(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, **more}

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = f"gearhorn-test-{uuid.uuid4().hex}"
    # Not by the whole path, which can be too long for a socket.
    directory = os.open(tmp_path, os.O_RDONLY)
    path = f"/proc/{os.getpid()}/fd/{directory}/n"
    try:
        with Manager(path if request.param == "a path" else f"@{name}") as manager:
            yield manager
    finally:
        os.close(directory)


def test_a_manager_that_reads_nothing_holds_up_nothing(
    manager: Manager, daemon: NewDaemon, peer: NewPeer
) -> None:
    manager.fill()
    environment = manager.environment(WATCHDOG_USEC="200000")
    process = daemon(environment=environment, wait_ready=False)
    eventually(lambda: "is ready" in process.log)
    client = peer()
    for _ in range(20):
        assert client.submit("fanout", message("t", background=True)).completed
    assert process.log.count(COMPLAINT) == 1
    assert process.stop(10) == 0


def test_what_it_could_not_be_told_it_is_told_once_it_reads(
    manager: Manager, daemon: NewDaemon
) -> None:
    manager.fill()
    environment = manager.environment(WATCHDOG_USEC="200000")
    process = daemon(environment=environment, wait_ready=False)
    eventually(lambda: COMPLAINT in process.log and "is ready" in process.log)
    eventually(lambda: manager.hears("READY=1"))
    assert any(line.startswith("STATUS=serving as ") for line in manager.heard)
    eventually(lambda: manager.hears("WATCHDOG=1"))
    process.terminate()
    eventually(lambda: manager.hears("STOPPING=1"))
    assert process.wait() == 0


def test_the_watchdog_is_told_though_the_manager_pauses(
    manager: Manager, daemon: NewDaemon
) -> None:
    environment = manager.environment(WATCHDOG_USEC="200000")
    process = daemon(environment=environment, wait_ready=False)
    eventually(lambda: manager.hears("WATCHDOG=1"))
    manager.fill()
    eventually(lambda: COMPLAINT in process.log)
    manager.hears("nothing")
    manager.heard.clear()
    eventually(lambda: manager.hears("WATCHDOG=1"))


def test_a_socket_that_comes_late_or_never(daemon: NewDaemon, peer: NewPeer) -> None:
    address = f"@gearhorn-test-{uuid.uuid4().hex}"
    options: dict[str, Any] = {"environment": {"NOTIFY_SOCKET": address}, "wait_ready": False}
    process = daemon(**options)
    eventually(lambda: COMPLAINT in process.log)
    assert peer().submit("fanout", message("t", background=True)).completed
    with Manager(address) as manager:
        eventually(lambda: manager.hears("READY=1"))
    assert process.stop(10) == 0
