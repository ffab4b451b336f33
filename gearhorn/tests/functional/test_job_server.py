# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The job server of the standalone mode: it refuses what gearmand refuses."""

from __future__ import annotations

import socket
import struct

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.conftest import NewPeer, Start
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, GearServer

CANT_DO, CAN_DO_TIMEOUT, ALL_YOURS, OPTION_REQ, SUBMIT_JOB_SCHED = 2, 23, 24, 26, 35

Server = Gearmand | GearServer


@pytest.fixture(params=["gearmand", "JobServer"])
def server(request: pytest.FixtureRequest, start: Start) -> Server:
    return start(Gearmand()) if request.param == "gearmand" else start(GearServer(request.param))


def exchange(server: Server, packet_type: int, *arguments: bytes) -> bytes | None:
    """Send a packet and an echo; what comes before the echo, or None if it hangs up."""
    body = b"\0".join(arguments)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            struct.pack(">4sII", b"\0REQ", packet_type, len(body))
            + body
            + struct.pack(">4sII4s", b"\0REQ", wire.ECHO_REQ, 4, b"mark")
        )
        received = b""
        while not received.endswith(b"mark"):
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                return None
            if not part:
                return None
            received += part
    return received[: -12 - len(b"mark")]


@pytest.mark.parametrize("name_bytes", [9_000, 100_000])
@pytest.mark.parametrize("packet_type", [wire.SUBMIT_JOB_BG, wire.CAN_DO])
def test_a_name_over_8_kb_closes_the_connection(
    server: Server, packet_type: int, name_bytes: int
) -> None:
    rest = (b"", b"payload") if packet_type == wire.SUBMIT_JOB_BG else ()
    assert exchange(server, packet_type, b"f" * name_bytes, *rest) is None
    assert exchange(server, packet_type, b"f" * 500, *rest) is not None


def test_a_unique_over_64_bytes_is_refused(server: Server) -> None:
    answer = exchange(server, wire.SUBMIT_JOB_BG, b"memos_bob", b"u" * 65, b"payload")
    assert answer is not None
    assert b"ARGUMENT_TOO_LARGE\0Unique value too large" in answer


@pytest.mark.parametrize(
    ("packet_type", "arguments", "error"),
    [
        (wire.WORK_COMPLETE, [b"H:nowhere:1", b"result"], b"JOB_NOT_FOUND"),
        (wire.WORK_STATUS, [b"H:nowhere:1", b"1", b"2"], b"JOB_NOT_FOUND"),
        (ALL_YOURS, [], b"INVALID_COMMAND"),
        (SUBMIT_JOB_SCHED, [b"f", b"", *[b"1"] * 5, b"payload"], b"INVALID_COMMAND"),
        (OPTION_REQ, [b"nonsense"], b"UNKNOWN_OPTION"),
    ],
)
def test_the_job_server_refuses_what_it_does_not_know(
    server: Server, packet_type: int, arguments: list[bytes], error: bytes
) -> None:
    answer = exchange(server, packet_type, *arguments)
    assert answer is not None
    assert answer[4:8] == struct.pack(">I", wire.ERROR)
    assert error in answer


def test_an_unknown_packet_closes_the_connection(server: Server) -> None:
    assert exchange(server, 77) is None


def test_taking_back_what_was_never_offered_does_no_harm(server: Server) -> None:
    assert exchange(server, CANT_DO, b"memos_bob") == b""


def test_a_worker_that_registers_with_a_timeout_gets_jobs(server: Server, peer: NewPeer) -> None:
    with Peer(server.port) as worker, Peer(server.port) as client:
        worker.send(CAN_DO_TIMEOUT, b"memos_bob", b"60")
        client.send(wire.SUBMIT_JOB_BG, b"memos_bob", b"", b"hello")
        assert eventually(worker.grab).data == b"hello"


def test_who_asks_for_a_unique_is_told_how_many_clients_its_job_has(server: Server) -> None:
    def clients(unique: bytes) -> tuple[bytes, ...]:
        answer = exchange(server, wire.GET_STATUS_UNIQUE, unique)
        assert answer is not None
        assert answer[4:8] == struct.pack(">I", wire.STATUS_RES_UNIQUE)
        name, known, running, _, _, count = answer[12:].split(b"\0")
        assert name == unique
        return known, running, count

    with Peer(server.port) as worker, Peer(server.port) as client:
        worker.can_do("memos_bob")
        assert clients(b"one") == (b"0", b"0", b"0")
        client.start("memos_bob", "hello", unique="one")
        assert clients(b"one") == (b"1", b"0", b"1")
        job = worker.grab()
        assert clients(b"one") == (b"1", b"1", b"1")
        client.close()
        eventually(lambda: clients(b"one") == (b"1", b"1", b"0"))
        worker.complete(job)
        worker.echo()
        assert clients(b"one") == (b"0", b"0", b"0")
        with Peer(server.port) as other:
            other.start("memos_bob", "hello", background=True, unique="two")
            worker.grab()
            assert clients(b"two") == (b"1", b"1", b"0")
