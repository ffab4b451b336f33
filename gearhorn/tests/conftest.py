# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures: real servers, daemons and peers, all ended with the test.

The logs of the processes are attached to the report of a test that fails.
"""

from __future__ import annotations

import contextlib
import signal
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import pytest

from gearhorn.tests.clusters import Cluster
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import Process, Server, eventually
from gearhorn.tests.proxy import Proxy
from gearhorn.tests.servers import Gearmand, Redis

# A shell has its background jobs ignore it, and what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

_LOG_LIMIT = 20_000

SomeProcess = TypeVar("SomeProcess", bound=Process)

_processes = pytest.StashKey[list[Process]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for process in item.stash.get(_processes, []):
            title = f"{type(process).__name__} {getattr(process, 'address', '')}".rstrip()
            report.sections.append((f"log of {title}", process.log[-_LOG_LIMIT:]))
    return report


class Start(Protocol):
    """Starts a process that lasts as long as the test: ``start(Redis(maxmemory="1mb"))``."""

    def __call__(self, process: SomeProcess, /) -> SomeProcess: ...


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def start_process(process: SomeProcess, /) -> SomeProcess:
            # Before it is started, as its log may tell why it failed to.
            show_log(request.node, process)
            stack.callback(process.close)
            process.start()
            return process

        yield start_process


def show_log(item: pytest.Item, process: Process) -> None:
    """Attach its log to the report of a test that fails."""
    item.stash.setdefault(_processes, []).append(process)


@pytest.fixture
def gearmand(start: Start) -> Gearmand:
    """A job server of the test's own, since its queues are everybody's."""
    return start(Gearmand())


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def redis_server(_shared_redis: Redis, request: pytest.FixtureRequest) -> Redis:
    """The one Redis of the session: use ``key_prefix``, and leave the process alone."""
    show_log(request.node, _shared_redis)
    return _shared_redis


@pytest.fixture(scope="session")
def _shared_cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(_shared_cluster: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """The one Redis Cluster of the session: use ``key_prefix``, and leave its slots alone."""
    for node in _shared_cluster.nodes:
        show_log(request.node, node)
    return _shared_cluster


@pytest.fixture(scope="session")
def _shared_moving() -> Iterator[Cluster]:
    with Cluster(
        replica=True,
        appendonly="yes",
        appendfsync="always",
        cluster_node_timeout="1500",
        cluster_replica_validity_factor="0",
    ) as cluster:
        yield cluster


@pytest.fixture
def moving(_shared_moving: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """A cluster with a replica, to move its slots and end its masters; leave it whole."""
    for node in _shared_moving.nodes:
        show_log(request.node, node)
    # Whatever the test before has done to it.
    eventually(_shared_moving.is_whole, 30)
    return _shared_moving


@pytest.fixture
def redis(start: Start) -> Redis:
    """A Redis of the test's own, which has all that it answered after it was killed."""
    # A replica would else wait 5 seconds for others that might want the same.
    return start(Redis(appendonly="yes", appendfsync="always", repl_diskless_sync_delay="0"))


@pytest.fixture
def key_prefix() -> str:
    return f"test-{uuid.uuid4().hex[:12]}:"


class NewPeer(Protocol):
    """Connects a peer: ``peer()`` to the fixture ``gearmand``, ``peer(server)`` elsewhere."""

    def __call__(self, server: Gearmand | None = None, **options: Any) -> Peer: ...


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[NewPeer]:
    with contextlib.ExitStack() as stack:

        def connect(server: Gearmand | None = None, **options: Any) -> Peer:
            if server is None:
                server = request.getfixturevalue("gearmand")
            return stack.enter_context(Peer(server.port, server.host, **options))

        yield connect


class NewProxy(Protocol):
    """Puts a proxy before a server: ``between(gearmand)``."""

    def __call__(self, server: Server, /) -> Proxy: ...


@pytest.fixture
def between() -> Iterator[NewProxy]:
    with contextlib.ExitStack() as stack:
        yield lambda server: stack.enter_context(Proxy(server.port))


@pytest.fixture
def proxied_gearmand(gearmand: Gearmand, between: NewProxy) -> Proxy:
    """The network between the daemon that is given its address and the fixture ``gearmand``."""
    return between(gearmand)


@pytest.fixture
def proxied_redis(redis: Redis, between: NewProxy) -> Proxy:
    """The network between the daemon that is given its URL and the fixture ``redis``."""
    return between(redis)


class NewDaemon:
    """Starts a daemon; the fixtures supply what is not given.

    ``daemon(servers=[one, two], **{"fanout.timeout": 2})``. A server is a Gearmand, a
    proxy or "host:port". An option that is None is left out of the configuration file.
    """

    def __init__(self, request: pytest.FixtureRequest, stack: contextlib.ExitStack) -> None:
        self._item = request.node
        # Requested lazily, so that a test with servers of its own starts no others.
        self._fixture: Callable[[str], Any] = request.getfixturevalue
        self._stack = stack

    def __call__(
        self,
        servers: Sequence[Gearmand | Proxy | str] | None = None,
        store_url: str | None = None,
        key_prefix: str | None = None,
        *,
        wait_ready: bool = True,
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        constants: Mapping[str, float] | None = None,
        **options: object,
    ) -> Daemon:
        if servers is None:
            servers = [self._fixture("gearmand")]
        all_options = {
            "DEFAULT.debug": True,
            "gearman.servers": [
                server if isinstance(server, str) else server.address for server in servers
            ],
            "store.url": store_url or self._fixture("redis_server").url,
            "store.key_prefix": key_prefix or self._fixture("key_prefix"),
            **options,
        }
        process = Daemon(
            all_options, arguments=arguments, environment=environment, constants=constants
        )
        show_log(self._item, process)
        self._stack.callback(process.close)
        process.start(wait_ready=wait_ready)
        return process


@pytest.fixture
def daemon(request: pytest.FixtureRequest) -> Iterator[NewDaemon]:
    with contextlib.ExitStack() as stack:
        yield NewDaemon(request, stack)
