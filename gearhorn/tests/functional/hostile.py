# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A job server that is none of ours: it shakes hands as others do, and then does what it likes."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable

from gearhorn.tests import packets as wire
from gearhorn.tests.packets import Packet
from gearhorn.tests.processes import free_port


class HostileServer:
    """A job server that shakes hands as others do, and then behaves as it is told to."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.port = free_port()
        self.connected = 0
        self.assigned: set[bytes] = set()
        self.wrong: list[Packet] = []
        """Answers to jobs that it did not assign."""
        self._behaviour: Callable[[HostileConnection], None] = lambda connection: None
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server((self.host, self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def behave(self, behaviour: Callable[[HostileConnection], None]) -> None:
        """Behave like that on new connections, and cut the old ones."""
        self._behaviour = behaviour
        self.connected = 0
        for old in list(self._sockets):
            with contextlib.suppress(OSError):
                old.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.behave(lambda connection: None)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        self._sockets.add(accepted)
        with contextlib.suppress(OSError, ConnectionError), accepted:
            self._behaviour(HostileConnection(self, accepted))
        self._sockets.discard(accepted)


class HostileConnection:
    """One connection of it; each method raises OSError once the daemon has given it up."""

    def __init__(self, server: HostileServer, accepted: socket.socket) -> None:
        self.server = server
        self.socket = accepted
        self.functions: set[bytes] = set()
        self._input = b""

    def read(self) -> Packet:
        _, packet_type, size = wire.HEADER.unpack(self._take(wire.HEADER.size))
        packet = Packet(packet_type, self._take(size))
        if packet.type in (wire.WORK_COMPLETE, wire.WORK_FAIL, wire.WORK_WARNING):
            if packet.handle not in self.server.assigned:
                self.server.wrong.append(packet)
        elif packet.type == wire.CAN_DO:
            self.functions.add(packet.body)
        return packet

    def _take(self, size: int) -> bytes:
        while len(self._input) < size:
            received = self.socket.recv(1 << 16)
            if not received:
                raise ConnectionError
            self._input += received
        taken, self._input = self._input[:size], self._input[size:]
        return taken

    def shake_hands(self) -> HostileConnection:
        while (packet := self.read()).type != wire.ECHO_REQ:
            pass
        self.send(wire.ECHO_RES, packet.body)
        self.server.connected += 1
        return self

    def packet(self, packet_type: int, *arguments: bytes) -> bytes:
        return wire.response(packet_type, *arguments)

    def send(self, packet_type: int, *arguments: bytes) -> None:
        self.socket.sendall(self.packet(packet_type, *arguments))

    def flood(self, data: bytes) -> None:
        """Send it without end and without reading, about as fast as it is taken."""
        block = data * max(1, 20_000 // len(data))
        while True:
            self.socket.sendall(block)
            time.sleep(0.002)

    def job(self, number: int, function: bytes, data: bytes) -> bytes:
        # As the first jobs of the healthy server on the same machine are called.
        handle = b"H:%s:%d" % (socket.gethostname().encode(), number)
        self.server.assigned.add(handle)
        return self.packet(wire.JOB_ASSIGN_UNIQ, handle, function, b"", data)

    def wait(self) -> None:
        """Read what comes, until the end."""
        while True:
            self.read()


def close_at_once(connection: HostileConnection) -> None:
    """Accept and close."""


def never_answer(connection: HostileConnection) -> None:
    connection.wait()


def speak_http(connection: HostileConnection) -> None:
    connection.flood(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def send_noise(connection: HostileConnection) -> None:
    connection.shake_hands().flood(os.urandom(100_000))


def send_requests(connection: HostileConnection) -> None:
    connection.shake_hands()
    connection.flood(wire.request(wire.NOOP))


def send_unknown_types(connection: HostileConnection) -> None:
    connection.shake_hands()
    connection.flood(connection.packet(4242) + connection.packet((1 << 32) - 1, b"x"))


def announce_giants(connection: HostileConnection) -> None:
    connection.shake_hands()
    giant = wire.HEADER.pack(b"\0RES", wire.JOB_ASSIGN_UNIQ, (1 << 32) - 1)
    connection.socket.sendall(giant)
    connection.flood(b"x")


def create_jobs(connection: HostileConnection) -> None:
    connection.shake_hands().flood(connection.packet(wire.JOB_CREATED, b"H:x:1"))


def flood_no_job(connection: HostileConnection) -> None:
    connection.shake_hands().flood(connection.packet(wire.NO_JOB))


def flood_noop(connection: HostileConnection) -> None:
    connection.shake_hands().flood(connection.packet(wire.NOOP))


def flood_errors(connection: HostileConnection) -> None:
    connection.shake_hands().flood(connection.packet(wire.ERROR, b"queue_error", b"x" * 200))


def flood_options(connection: HostileConnection) -> None:
    connection.shake_hands()
    for number in range(1 << 30):
        option = b"%d" % number * 1000
        connection.socket.sendall(connection.packet(wire.OPTION_RES, option))


def flood_results(connection: HostileConnection) -> None:
    connection.shake_hands()
    connection.flood(
        connection.packet(wire.WORK_COMPLETE, b"H:x:1", b"x" * 1000)
        + connection.packet(wire.WORK_STATUS, b"H:x:1")
        + connection.packet(wire.WORK_DATA)
    )


def assign_unknown_functions(connection: HostileConnection) -> None:
    connection.shake_hands()
    while True:
        if connection.read().type == wire.GRAB_JOB_UNIQ:
            connection.socket.sendall(connection.job(1, b"not yours", b"{}"))


def assign_broken_jobs(connection: HostileConnection) -> None:
    connection.shake_hands()
    while True:
        if connection.read().type == wire.GRAB_JOB_UNIQ:
            connection.send(wire.JOB_ASSIGN_UNIQ, b"no other argument")


def assign_jobs_unasked(connection: HostileConnection) -> None:
    connection.shake_hands()
    if b"fanout" not in connection.functions:
        connection.wait()
    connection.flood(connection.job(1, b"fanout", b"junk"))


def assign_junk_as_fast_as_it_is_asked_for(connection: HostileConnection) -> None:
    connection.shake_hands()
    number = 0
    while True:
        if connection.read().type == wire.GRAB_JOB_UNIQ:
            number += 1
            function = min(connection.functions)
            connection.socket.sendall(connection.job(number % 100, function, b'{"x":'))


BEHAVIOURS = [
    close_at_once,
    never_answer,
    speak_http,
    send_noise,
    send_requests,
    send_unknown_types,
    announce_giants,
    create_jobs,
    flood_no_job,
    flood_noop,
    flood_errors,
    flood_options,
    flood_results,
    assign_unknown_functions,
    assign_broken_jobs,
    assign_jobs_unasked,
    assign_junk_as_fast_as_it_is_asked_for,
]
