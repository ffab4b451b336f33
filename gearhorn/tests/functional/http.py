# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Requests over HTTP to a daemon, with every header of the answer."""

from __future__ import annotations

import socket
from http.client import HTTPConnection
from typing import NamedTuple

from gearhorn.tests.daemons import Daemon


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def connect(process: Daemon) -> socket.socket:
    """Connect to a daemon's ``http.listen``, a port of this machine or a Unix socket."""
    listen = str(process.options["http.listen"])
    if listen.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(listen.removeprefix("unix:"))
        return client
    host, _, port = listen.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), 10)


def ask(process: Daemon, target: str, method: str = "GET") -> Answer:
    """Ask a daemon, on a connection of its own."""
    connection = HTTPConnection("localhost", timeout=10)
    connection.sock = connect(process)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def metric(process: Daemon, series: str) -> float:
    """Return the value of a series of a daemon, named with its labels but without ``gearhorn_``."""
    start = f"gearhorn_{series} "
    (line,) = (
        line for line in ask(process, "/metrics").text.splitlines() if line.startswith(start)
    )
    return float(line.removeprefix(start))
