# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""TLS files that are renewed in place, under daemons and programs that run on."""

from __future__ import annotations

import os
from typing import Any

import pytest
import trustme

from gearhorn import Publisher, tls_context
from gearhorn.tests.conftest import NewDaemon, Start
from gearhorn.tests.functional.conftest import NewTopic, Topic
from gearhorn.tests.functional.programs import end_of, line_of, running_program, tell
from gearhorn.tests.processes import Server, eventually
from gearhorn.tests.servers import Gearmand, Redis, Stunnel

QUICK: dict[str, Any] = {"gearman.reconnect_max": 0.2, "store.timeout": 1}


class Front(Stunnel):
    """TLS before a server, for clients that show a certificate, with files to renew."""

    def __init__(self, target: Server) -> None:
        super().__init__(target.port, verify_client=True)
        # What a client has. The server has others, which are renewed at another time.
        self.files = self.directory / "of-the-client"
        self.files.mkdir()
        self.take()

    def take(self, *names: str) -> None:
        """Give the client the files that the server wants now, as renewal tools do."""
        for source in (self.ca, self.client_certificate, self.client_key):
            if not names or source.name in names:
                fresh = self.files / f"{source.name}.new"
                fresh.write_bytes(source.read_bytes())
                os.replace(fresh, self.files / source.name)

    def renew(self) -> None:
        """Have another authority, which has signed all certificates anew, from now on."""
        if self.exit_code is None:
            self.kill()
        authority = trustme.CA()
        server = authority.issue_cert("localhost")
        client = authority.issue_cert("client.example")
        authority.cert_pem.write_to_path(str(self.ca))
        client.cert_chain_pems[0].write_to_path(str(self.client_certificate))
        client.private_key_pem.write_to_path(str(self.client_key))
        server.private_key_and_cert_chain_pem.write_to_path(str(self.directory / "server.pem"))
        self.start()

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @property
    def paths(self) -> tuple[str, str, str]:
        """The client's: authority, certificate and key."""
        return (
            str(self.files / "ca.pem"),
            str(self.files / "client.pem"),
            str(self.files / "client.key"),
        )

    @property
    def options(self) -> dict[str, Any]:
        names = ("gearman.tls_ca", "gearman.tls_cert", "gearman.tls_key")
        return {**QUICK, **dict(zip(names, self.paths, strict=True))}

    @property
    def url(self) -> str:
        ca, cert, key = self.paths
        return f"rediss://{self.address}/0?ssl_ca_certs={ca}&ssl_certfile={cert}&ssl_keyfile={key}"


@pytest.fixture
def job_server(start: Start, gearmand: Gearmand) -> Front:
    return start(Front(gearmand))


def test_a_daemon_takes_the_renewed_files_for_job_servers(
    job_server: Front, gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    process = daemon([job_server.address], **job_server.options)
    topic = new_topic(gearmand)
    topic.subscribe("bob")

    job_server.renew()
    away = f"job server {job_server.address}: away ("
    eventually(lambda: "certificate verify failed" in process.log)
    assert process.log.count(away) == 1

    job_server.take()
    eventually(lambda: process.log.count(f"{job_server.address}: connected") == 2)
    assert "TLS files have changed and were read again" in process.log
    assert topic.reached() == 1
    assert process.stop() == 0


def test_a_renewal_that_is_half_done_is_waited_for(
    job_server: Front, gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    process = daemon([job_server.address], **job_server.options)
    job_server.renew()
    # The key belongs to another certificate.
    job_server.take("ca.pem", "client.pem")
    eventually(lambda: "TLS files have changed and cannot be used yet" in process.log)
    assert process.log.count("cannot be used yet") == 1
    job_server.take("client.key")
    eventually(lambda: process.log.count(f"{job_server.address}: connected") == 2)
    assert new_topic(gearmand).reached() == 0


def test_each_reason_for_which_a_job_server_is_away_is_logged_once(
    job_server: Front, daemon: NewDaemon
) -> None:
    process = daemon([job_server.address], **job_server.options)
    job_server.kill()
    eventually(lambda: process.log.count(f"{job_server.address}: away (") == 1)
    job_server.renew()
    eventually(
        lambda: f"{job_server.address}: still away ([SSL: CERTIFICATE_VERIFY_FAILED]" in process.log
    )
    tries = job_server.log.count("accepted connection from")
    eventually(lambda: job_server.log.count("accepted connection from") > tries + 8)
    assert process.log.count("certificate verify failed") == 1


def test_a_daemon_takes_the_renewed_files_for_redis(
    start: Start, redis_server: Redis, gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic
) -> None:
    front = start(Front(redis_server))
    process = daemon(store_url=front.url, **QUICK)
    topic = new_topic(gearmand)
    topic.subscribe("bob")

    front.renew()
    handle = topic.start_registration("alice")
    eventually(lambda: "certificate verify failed" in process.log)
    topic.client.expect_silence(0.2)

    front.take()
    assert topic.client.finish(handle, 20).completed
    assert "The store is back after" in process.log
    assert topic.reached() == 2


def test_a_publisher_takes_the_renewed_files(start: Start, topic: Topic) -> None:
    topic.subscribe("bob")
    front = start(Front(topic.server))
    with Publisher(front.address, tls=tls_context(*front.paths), timeout=20) as publisher:
        assert publisher.publish(topic.name, "x", background=True).queued == 1
        front.renew()
        front.take()
        assert publisher.publish(topic.name, "x", background=True).queued == 1


@pytest.mark.parametrize("kind", ["Subscriber", "AsyncSubscriber"])
def test_a_subscriber_takes_the_renewed_files(start: Start, topic: Topic, kind: str) -> None:
    topic.subscribe("bob")
    front = start(Front(topic.server))
    run = "subscriber.run()" if kind == "Subscriber" else "asyncio.run(subscriber.run())"
    program = f"""
        tls = gearhorn.tls_context(*sys.argv[3:6])
        subscriber = {kind}(server, "bob", register=False, tls=tls)

        @subscriber.on(topic)
        def handle(message):
            return message.text

        {run}
    """
    arguments = (front.address, topic.name, *front.paths)
    with running_program(program, *arguments) as running:
        assert topic.publish("before", gather=True).report["results"] == {"bob": "before"}
        front.renew()
        front.take()
        assert topic.publish("after", gather=True).report["results"] == {"bob": "after"}
        running.terminate()
        assert end_of(running) == []


def test_a_program_that_makes_one_publisher_after_the_other(start: Start, topic: Topic) -> None:
    front = start(Front(topic.server))
    program = """
        tls = gearhorn.tls_context(*sys.argv[3:6])

        async def publish():
            async with AsyncPublisher(server, tls=tls) as publisher:
                say((await publisher.publish(topic, "x", background=True)).subscribers)

        asyncio.run(publish())
        sys.stdin.readline()
        asyncio.run(publish())
    """
    with running_program(program, front.address, topic.name, *front.paths) as running:
        assert line_of(running) == "0"
        front.renew()
        front.take()
        tell(running)
        assert end_of(running) == ["0"]
