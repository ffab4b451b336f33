# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What hostile clients, receivers and job servers can do to the daemon: nothing."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearhorn.daemon.placement import Share, divide
from gearhorn.tests import packets as wire
from gearhorn.tests.conftest import NewDaemon, NewPeer, show_log
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic, Service, Topic
from gearhorn.tests.packets import Packet
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis
from gearhorn.wire.address import Address

MEGABYTE = 1 << 20
FUNCTIONS = [
    "register_fanout_subscriber",
    "subscribe_fanout",
    "unregister_fanout_subscriber",
    "unsubscribe_fanout",
    "fanout",
    "fanout_query",
    "__matchmaking",
]


def limited_to(max_message_bytes: int) -> dict[str, Any]:
    return {"fanout.max_message_bytes": max_message_bytes}


def resident_megabytes(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def peak_megabytes(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def assert_serves(topic: Topic) -> None:
    """A message of another topic comes through."""
    other = f"{topic.name}-other"
    subscription = {"topic": other, "client_id": "bob"}
    assert topic.client.submit("subscribe_fanout", subscription).completed
    worker = topic.peer()
    worker.can_do(f"{other}_bob")
    handle = topic.client.start("fanout", {"topic": other, "payload": "hello"})
    assert worker.take(1) == [b"hello"]
    assert topic.client.finish(handle).report["delivered"] == 1


def refusal_of(client: Peer, handle: bytes) -> str:
    outcome = client.finish(handle, 30)
    assert outcome.failed, outcome
    (warning,) = outcome.of(wire.WORK_WARNING)
    error: str = json.loads(warning)["error"]
    return error


# Clients.


@pytest.fixture(params=FUNCTIONS)
def function(request: pytest.FixtureRequest, service: Service) -> str:
    """Each of the daemon's functions."""
    name: str = request.param
    if name != "__matchmaking":
        return name
    return f"__matchmaking_{service.daemon.worker_id}"


BYTES: list[bytes] = [
    b"",
    b"\0",
    b"\0" * 1000,
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"a":' * 50_000,
    b"{}",
    b"null",
    b'{"topic": "\0", "client_id": "x", "payload": 1}',
    b'{"topic": "\\u0000", "client_id": "x", "payload": 1}',
    b'{"topic": "\\ud800", "client_id": "x", "payload": 1}',
    b'{"topic": "\xed\xa0\x80", "client_id": "x", "payload": 1}',
    b'{"topic": ' + b"9" * 50_000 + b"}",
    b'{"query": "subscribers", "topic": "\\ud800"}',
    b'{"' + b"k" * 60_000 + b'": 1}',
]


def test_any_bytes_are_refused_in_any_function(
    function: str, topic: Topic, service: Service
) -> None:
    dice = random.Random(function)
    noise = [dice.randbytes(dice.randrange(200)) for _ in range(100)]
    requests = [request for request in BYTES + noise if request != b""]
    handles = [topic.client.start(function, request) for request in [b"", *requests]]
    codes = {refusal_of(topic.client, handle) for handle in handles}
    assert "invalid_json" in codes
    for request in requests:
        topic.client.submit(function, request, background=True)
    eventually(lambda: service.gearmand.admin.queue(function).total == 0)
    assert_serves(topic)


def test_nul_in_names_and_uniques_shifts_arguments_and_nothing_else(topic: Topic) -> None:
    request = topic.request("hello", background=True).encode()
    client = topic.peer()
    topic.subscribe("bob")
    bodies = [
        b"fanout\0un\0ique\0" + request,
        b"fanout\0\0\0" + request,
        b"fanout\0" + b"u" * 63 + b"\0" + request,
        b"fanout\0" + b"u" * 64 + b"\0" + request,
        b"fanout\0\xff\xfe\x01\0" + request,
    ]
    for body in bodies:
        client.send_raw(struct.pack(">4sII", b"\0REQ", wire.SUBMIT_JOB, len(body)) + body)
        created = client.expect(wire.JOB_CREATED, wire.ERROR)
        if created.type == wire.JOB_CREATED:
            outcome = client.finish(created.body)
            assert outcome.completed or b"invalid_json" in outcome.of(wire.WORK_WARNING)[0]
    assert_serves(topic)


def test_64_megabytes_are_refused_where_a_request_is_small(topic: Topic, service: Service) -> None:
    data = b"x" * (64 * MEGABYTE)
    for function in ("register_fanout_subscriber", "fanout_query"):
        assert refusal_of(topic.client, topic.client.start(function, data)) == "message_too_large"
    topic.client.submit("unregister_fanout_subscriber", data, background=True)
    eventually(lambda: service.gearmand.admin.queue("unregister_fanout_subscriber").total == 0)
    assert_serves(topic)


@pytest.mark.slow
def test_64_megabytes_above_the_limit(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    topic = new_topic(gearmand)
    process = daemon(**limited_to(MEGABYTE))
    topic.subscribe("bob")
    before = resident_megabytes(process)
    request = topic.request("x" * (64 * MEGABYTE), background=True)
    for _ in range(2):
        handle = topic.client.start("fanout", request)
        assert refusal_of(topic.client, handle) == "message_too_large"
        topic.client.submit("fanout", request, background=True)
    eventually(lambda: gearmand.admin.queue("fanout").total == 0)
    assert peak_megabytes(process) < before + 30
    assert topic.waiting("bob") == 0
    assert_serves(topic)


@pytest.mark.slow
def test_64_megabytes_below_the_limit(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    topic = new_topic(gearmand)
    process = daemon(**limited_to(65 * MEGABYTE))
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    before = resident_megabytes(process)
    for size in (64 * MEGABYTE, 0):
        for background in (True, False):
            handle = topic.start("x" * size, background=background)
            assert [len(taken) for taken in worker.take(1, 30)] == [size]
            assert topic.client.finish(handle, 30).completed
    assert peak_megabytes(process) < before + 12 * 64


# Receivers.


def test_receivers_may_send_anything_about_their_copies(topic: Topic) -> None:
    topic.subscribe("bob", "alice")
    worker = topic.receiver("bob", "alice")
    handle = topic.start("hello", gather=True, timeout=30)
    jobs = [worker.grab(), worker.grab()]
    bob, alice = sorted(jobs, key=lambda job: job.function, reverse=True)
    for done, total in (("", ""), ("x", "y"), ("-1", "0"), ("9" * 500, "1"), ("5", "3")):
        worker.send(wire.WORK_STATUS, bob.handle, done, total)
    for data in (b"", b"\0", b"\0\0", b"\xff", b"\xed\xa0\x80", b"a\0b"):
        worker.warning(bob, data)
        worker.data(bob, data)
    # About a copy that is not this worker's, and about none: gearmand answers with an ERROR.
    worker.send(wire.WORK_COMPLETE, b"H:nobody:12345", b"")
    worker.send(wire.WORK_DATA, b"", b"")
    worker.complete(alice, b"\0\x01\x7f")
    worker.complete(bob, b"\xff\0end")
    report = topic.client.finish(handle).report
    assert report["delivered"] == 2
    assert report["results"]["alice"] == "\0\x01\x7f"
    assert set(report["results"]["bob"]) == {"base64"}
    assert_serves(topic)


def test_parts_of_nothing_without_end_take_no_memory(topic: Topic, service: Service) -> None:
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    handle = topic.start("hello", gather=True)
    job = worker.grab()
    before = resident_megabytes(service.daemon)
    body = job.handle + b"\0"
    part = struct.pack(">4sII", b"\0REQ", wire.WORK_DATA, len(body)) + body
    for _ in range(100):
        worker.send_raw(part * 5000)
    worker.complete(job, "end")
    outcome = topic.client.finish(handle, 60)
    assert outcome.report["results"] == {"bob": "end"}
    assert resident_megabytes(service.daemon) < before + 30


@pytest.mark.parametrize("byte", [b"x", b"\xff"])
@pytest.mark.slow
def test_a_result_of_64_megabytes_is_gathered_or_refused(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic, byte: bytes
) -> None:
    topic = new_topic(gearmand)
    process = daemon(**limited_to(64 * MEGABYTE))
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    before = resident_megabytes(process)
    for size, sound in ((64 * MEGABYTE, True), (64 * MEGABYTE + 1, False)):
        handle = topic.start("hello", gather=True)
        job = worker.grab()
        half = size // 2
        worker.data(job, byte * half)
        worker.complete(job, byte * (size - half))
        report = topic.client.finish(handle, 60).report
        assert report.get("failed") == ({} if sound else {"bob": "result_too_large"})
        if sound:
            result = report["results"]["bob"]
            assert len(result if byte == b"x" else result["base64"]) >= size
    assert peak_megabytes(process) < before + 12 * 64
    assert_serves(topic)


def test_many_results_take_no_more_memory_than_a_few(
    gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    topic = new_topic(gearmand)
    process = daemon(**limited_to(8 * MEGABYTE))
    topic.subscribe("bob")
    worker = topic.receiver("bob")
    before = resident_megabytes(process)
    handles = [topic.start("hello", gather=True) for _ in range(30)]
    jobs = [worker.grab() for _ in handles]
    for job in jobs:
        worker.data(job, b"x" * (7 * MEGABYTE))
    # The daemon has read them when it has read what comes after them.
    worker.complete(jobs[0])
    first = topic.client.finish(handles[0]).report
    assert len(first["results"]["bob"]) == 7 * MEGABYTE
    assert peak_megabytes(process) < before + 150
    for job in jobs[1:]:
        worker.complete(job)
    refused = sum("failed_count" in topic.client.finish(h).report for h in handles[1:])
    assert refused == 26
    # What was held is free again.
    handle = topic.start("hello", gather=True)
    worker.complete(worker.grab(), b"x" * (8 * MEGABYTE))
    assert topic.client.finish(handle).completed


# Job servers.


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
        while len(self._input) < 12 or len(self._input) < 12 + self._size():
            received = self.socket.recv(1 << 16)
            if not received:
                raise ConnectionError
            self._input += received
        packet = Packet(
            int.from_bytes(self._input[4:8], "big"), self._input[12 : 12 + self._size()]
        )
        self._input = self._input[12 + self._size() :]
        if packet.type in (wire.WORK_COMPLETE, wire.WORK_FAIL, wire.WORK_WARNING):
            if packet.handle not in self.server.assigned:
                self.server.wrong.append(packet)
        elif packet.type == wire.CAN_DO:
            self.functions.add(packet.body)
        return packet

    def _size(self) -> int:
        return int.from_bytes(self._input[8:12], "big")

    def shake_hands(self) -> HostileConnection:
        while (packet := self.read()).type != wire.ECHO_REQ:
            pass
        self.send(wire.ECHO_RES, packet.body)
        self.server.connected += 1
        return self

    def packet(self, packet_type: int, *arguments: bytes) -> bytes:
        body = b"\0".join(arguments)
        return struct.pack(">4sII", b"\0RES", packet_type, len(body)) + body

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
    connection.flood(struct.pack(">4sII", b"\0REQ", wire.NOOP, 0))


def send_unknown_types(connection: HostileConnection) -> None:
    connection.shake_hands()
    connection.flood(connection.packet(4242) + connection.packet((1 << 32) - 1, b"x"))


def announce_giants(connection: HostileConnection) -> None:
    connection.shake_hands()
    giant = struct.pack(">4sII", b"\0RES", wire.JOB_ASSIGN_UNIQ, (1 << 32) - 1)
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
