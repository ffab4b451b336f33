# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The servers and the peer that the other tests stand on do what they say."""

from __future__ import annotations

import ssl

import pytest

from gearhorn.tests import packets as wire
from gearhorn.tests.conftest import NewPeer, Start
from gearhorn.tests.peer import Peer, ServerError
from gearhorn.tests.processes import MissingProgramError, Process, eventually
from gearhorn.tests.servers import Gearmand, Redis, Sentinel, Stunnel


def test_a_foreground_job_brings_its_client_all_that_the_worker_sends(peer: NewPeer) -> None:
    client, worker = peer(), peer()
    worker.can_do("reverse")
    handle = client.start("reverse", "abc", unique="once", priority="high")

    job = worker.grab()
    assert job == (handle, b"reverse", b"once", b"abc")
    worker.data(job, "c\0")
    worker.warning(job, "slow")
    worker.status(job, 1, 3)
    worker.complete(job, "ba")

    outcome = client.finish(handle)
    assert outcome.completed
    assert outcome.data == b"c\0ba"
    assert outcome.of(wire.WORK_WARNING) == [b"slow"]
    assert outcome.progress == [(1, 3)]


def test_jobs_of_one_client_may_end_in_any_order(peer: NewPeer) -> None:
    client, worker = peer(), peer()
    worker.can_do("work")
    first, second = client.start("work", "1"), client.start("work", "2")
    jobs = [worker.grab(), worker.grab()]

    worker.fail(jobs[1])
    worker.complete(jobs[0], "done")

    assert client.finish(first).data == b"done"
    assert client.finish(second).failed


def test_exceptions_reach_a_client_that_asked_for_them(peer: NewPeer) -> None:
    client, worker = peer(), peer()
    worker.can_do("work")
    assert client.option("exceptions") == b"exceptions"
    handle = client.start("work", "")

    worker.exception(worker.grab(), "no good")

    assert client.about(handle) == (wire.WORK_EXCEPTION, handle + b"\0no good")


def test_a_sleeping_worker_is_woken_for_a_background_job(peer: NewPeer) -> None:
    client, worker = peer(), peer()
    worker.can_do("work")
    worker.send(wire.PRE_SLEEP)
    assert client.submit("work", {"key": 1}, background=True).packets == []
    worker.expect(wire.NOOP)
    assert worker.take(1) == [b'{"key": 1}']


def test_waiting_ends(peer: NewPeer) -> None:
    client = peer()
    client.expect_silence(0.05)
    with pytest.raises(TimeoutError):
        client.receive(0.05)
    worker = peer()
    worker.can_do("work")
    with pytest.raises(TimeoutError):
        worker.grab(0.05)


def test_the_text_commands_tell_what_the_server_holds(gearmand: Gearmand, peer: NewPeer) -> None:
    client, worker = peer(), peer()
    worker.can_do("one", "two")
    worker.send(wire.SET_CLIENT_ID, "somebody")
    worker.echo()
    client.submit("one", "", background=True)

    assert gearmand.admin.queue("one") == (1, 0, 1)
    assert gearmand.admin.queue("unheard of") == (0, 0, 0)
    assert ("somebody", {"one", "two"}) in gearmand.admin.workers()

    worker.close()
    eventually(lambda: gearmand.admin.queue("two").workers == 0)
    assert gearmand.admin.drop("two") == "OK"
    assert "two" not in gearmand.admin.status()


def test_a_refused_submission_is_an_error(gearmand: Gearmand, peer: NewPeer) -> None:
    client = peer()
    client.submit("small", "", background=True)
    # The limit is set on a function that the server knows already.
    gearmand.admin.command("maxqueue small 1")
    with pytest.raises(ServerError):
        client.submit("small", "", background=True)


def test_gearmand_can_be_killed_frozen_and_restarted_on_its_port(
    gearmand: Gearmand, peer: NewPeer
) -> None:
    client = peer()
    gearmand.pause()
    client.send(wire.ECHO_REQ, "still there?")
    client.expect_silence(0.1)
    gearmand.resume()
    assert client.receive() == (wire.ECHO_RES, b"still there?")

    gearmand.kill()
    assert gearmand.exit_code == -9
    client.expect_closed()
    with pytest.raises(ConnectionRefusedError):
        peer()

    gearmand.restart()
    assert peer().echo("again") == b"again"
    gearmand.restart()
    assert peer().echo("and again") == b"and again"
    assert gearmand.stop() == 0


def test_redis_is_started_with_its_directives(start: Start) -> None:
    server = start(Redis(requirepass="secret", maxmemory="3mb", save="60 1"))
    assert server.ask("PING").startswith("-NOAUTH")
    server.restart()
    server.kill()
    with pytest.raises(ConnectionRefusedError):
        server.ask("PING")


@pytest.mark.slow
def test_sentinel_fails_over_to_a_replica(redis: Redis, start: Start) -> None:
    replica = start(redis.replica())
    sentinel = start(Sentinel(redis))
    assert sentinel.master_port() == redis.port
    eventually(lambda: sentinel.replicas() == 1, 30)

    redis.kill()

    eventually(lambda: sentinel.master_port() == replica.port, 30)


def test_stunnel_serves_gearmand_over_tls(gearmand: Gearmand, start: Start) -> None:
    tunnel = start(Stunnel(gearmand.port, verify_client=True))
    with Peer(tunnel.port, ssl_context=tunnel.client_context()) as client:
        assert client.echo("hidden") == b"hidden"


def test_stunnel_serves_another_name(gearmand: Gearmand, start: Start) -> None:
    tunnel = start(Stunnel(gearmand.port, names=["elsewhere.example"]))
    with pytest.raises(ssl.SSLCertVerificationError):
        Peer(tunnel.port, ssl_context=tunnel.client_context())


def test_a_missing_program_is_named_with_its_package() -> None:
    class Absent(Process):
        program = "no-such-program"
        package = "no-such-package"

    with pytest.raises(MissingProgramError, match=r"no-such-program .* no-such-package"):
        Absent.find_program()
