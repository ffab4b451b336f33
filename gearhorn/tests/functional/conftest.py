# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""One daemon for all tests of the contract, each with a topic of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from gearhorn.tests.builders import message, subscription
from gearhorn.tests.cli import Run, gearhorn
from gearhorn.tests.conftest import NewDaemon, show_log
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.fleet import Fleet
from gearhorn.tests.peer import Outcome, Peer
from gearhorn.tests.servers import Gearmand, Redis


class Topic:
    """A topic on a job server, with its publisher and its subscribers."""

    def __init__(self, server: Gearmand, stack: contextlib.ExitStack) -> None:
        self.name = f"t{uuid.uuid4().hex[:12]}"
        self.server = server
        self._stack = stack
        self.client = self.peer()
        """The connection that everything is asked for on, unless another is given."""

    def peer(self, **options: Any) -> Peer:
        return self._stack.enter_context(Peer(self.server.port, self.server.host, **options))

    def queue(self, client_id: str) -> str:
        return f"{self.name}_{client_id}"

    def waiting(self, client_id: str) -> int:
        """Return the number of copies in a queue, with those that are running."""
        return self.server.admin.queue(self.queue(client_id)).total

    def start_registration(self, client_id: str, **keys: Any) -> bytes:
        """Begin to register a subscriber and return the handle of the job."""
        request = subscription(self.name, client_id, **keys)
        return self.client.start("register_fanout_subscriber", request)

    def subscribe(self, *client_ids: str, **keys: Any) -> None:
        """Register subscribers, all at once."""
        handles = [self.start_registration(client_id, **keys) for client_id in client_ids]
        for handle in handles:
            outcome = self.client.finish(handle, 30)
            assert outcome.completed, outcome

    def receiver(self, *client_ids: str) -> Peer:
        """A worker for the queues of subscribers."""
        worker = self.peer()
        worker.can_do(*map(self.queue, client_ids))
        return worker

    def request(self, payload: object = "hello", **keys: Any) -> str:
        """Return the request that fans out a message."""
        return json.dumps(message(self.name, payload, **keys))

    def start(self, payload: object = "hello", **keys: Any) -> bytes:
        """Begin a fan-out and return the handle of its job."""
        return self.client.start("fanout", self.request(payload, **keys))

    def publish(self, payload: object = "hello", **keys: Any) -> Outcome:
        """Fan out and wait for the end."""
        return self.client.submit("fanout", self.request(payload, **keys))

    def reached(self) -> int:
        """Fan out in the background and return the number of subscribers."""
        outcome = self.publish("", background=True)
        assert outcome.completed, outcome
        return int(outcome.report["subscribers"])


class NewTopic(Protocol):
    """A topic on any job server: ``new_topic(gearmand)``."""

    def __call__(self, server: Gearmand) -> Topic: ...


@pytest.fixture
def new_topic() -> Iterator[NewTopic]:
    with contextlib.ExitStack() as stack:
        yield lambda server: Topic(server, stack)


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> Fleet:
    """Several daemons, which the test starts; they are the only ones in their store."""
    return Fleet(request.getfixturevalue)


@dataclasses.dataclass(frozen=True)
class Service:
    """A daemon with all options at their defaults, beside its job server."""

    gearmand: Gearmand
    daemon: Daemon


@pytest.fixture(scope="session")
def _service(_shared_redis: Redis) -> Iterator[Service]:
    with Gearmand() as gearmand:
        options = {
            "gearman.servers": gearmand.address,
            "store.url": _shared_redis.url,
            "store.key_prefix": f"test-{uuid.uuid4().hex[:12]}:",
        }
        with Daemon(options) as daemon:
            yield Service(gearmand, daemon)


@pytest.fixture
def service(_service: Service, request: pytest.FixtureRequest) -> Service:
    """The one daemon of the session: leave its processes alone."""
    show_log(request.node, _service.gearmand)
    show_log(request.node, _service.daemon)
    return _service


@pytest.fixture
def topic(service: Service, new_topic: NewTopic) -> Topic:
    """A topic of the test's own on the daemon that all share."""
    return new_topic(service.gearmand)


@pytest.fixture
def run(service: Service) -> Run:
    """Run the command line on the job server of the daemon that all share."""
    address = service.gearmand.address
    return lambda *arguments, **options: gearhorn([address], *arguments, **options)


@pytest.fixture
def background(
    gearmand: Gearmand, redis_server: Redis, key_prefix: str, tmp_path: Path
) -> Iterator[Daemon]:
    """A daemon that detaches, not started yet; its log is in ``tmp_path``."""
    process = Daemon(
        {
            "DEFAULT.log_file": tmp_path / "log",
            "gearman.servers": gearmand.address,
            "store.url": redis_server.url,
            "store.key_prefix": key_prefix,
            "service.daemonize": True,
            "service.pidfile": tmp_path / "pid",
        }
    )
    yield process
    try:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    except (OSError, ValueError):
        pass
    process.close()


@pytest.fixture
def queued(topic: Topic) -> Topic:
    """A topic with a subscriber whose copies wait, so that they can be counted."""
    topic.subscribe("bob")
    return topic


class TopicWith(Protocol):
    """A topic on a daemon of the test's own: ``topic_with(**{"fanout.order": "topic"})``."""

    def __call__(self, **options: Any) -> Topic: ...


@pytest.fixture
def topic_with(gearmand: Gearmand, daemon: NewDaemon, new_topic: NewTopic) -> TopicWith:
    def start(**options: Any) -> Topic:
        daemon(**options)
        return new_topic(gearmand)

    return start


@pytest.fixture(scope="session")
def _journal_service(_shared_redis: Redis) -> Iterator[Service]:
    with Gearmand() as gearmand:
        options = {
            "gearman.servers": gearmand.address,
            "store.url": _shared_redis.url,
            "store.key_prefix": f"test-{uuid.uuid4().hex[:12]}:",
            "journal.topics": "few-*?max_messages=1, t*",
        }
        with Daemon(options) as daemon:
            yield Service(gearmand, daemon)


@pytest.fixture
def journal_service(_journal_service: Service, request: pytest.FixtureRequest) -> Service:
    """The one daemon of the session whose topics have journals: leave its processes alone."""
    show_log(request.node, _journal_service.gearmand)
    show_log(request.node, _journal_service.daemon)
    return _journal_service


@pytest.fixture
def journaled(journal_service: Service, new_topic: NewTopic) -> Topic:
    """A topic with a journal, on the daemon that all share."""
    return new_topic(journal_service.gearmand)


@pytest.fixture
def journal_run(journal_service: Service) -> Run:
    """Run the command line on the job server of that daemon."""
    address = journal_service.gearmand.address
    return lambda *arguments, **options: gearhorn([address], *arguments, **options)
