# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Names that the resolver is slow with, and names of several addresses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.builders import message, subscription
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.programs import run_program
from gearhorn.tests.functional.resolving import HANGS, resolving
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand, Redis, Sentinel
from gearhorn.tests.swallowing import Swallowing

PROMPT_S = 45.0
"""Less than a slow name takes, and enough for a machine that is busy."""


def in_time(begun: float) -> bool:
    return time.monotonic() - begun < PROMPT_S


# Slow names.


@pytest.mark.parametrize("count", [1, 40])
def test_slow_names_of_job_servers_hold_up_neither_the_others_nor_the_stop(
    gearmand: Gearmand, daemon: NewDaemon, peer: NewPeer, tmp_path: Path, count: int
) -> None:
    begun = time.monotonic()
    servers = [f"{number}.{HANGS}:4730" for number in range(count)]
    # One that is to be looked up as well.
    process = daemon([*servers, f"localhost:{gearmand.port}"], environment=resolving(tmp_path))
    assert peer().submit("subscribe_fanout", subscription("t", "bob")).completed
    assert peer().submit("fanout", message("t", background=True)).report["queued"] == 1
    assert process.stop() == 0
    assert in_time(begun)


@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel"])
def test_a_slow_name_of_the_store_does_not_hold_up_the_stop(
    gearmand: Gearmand, daemon: NewDaemon, tmp_path: Path, scheme: str
) -> None:
    begun = time.monotonic()
    url = f"{scheme}://{HANGS}:6379/0"
    options: dict[str, Any] = {"store.timeout": 0.5}
    process = daemon(store_url=url, environment=resolving(tmp_path), wait_ready=False, **options)
    eventually(lambda: "The store is away" in process.log)
    assert process.stop() == 0
    assert in_time(begun)


def test_a_slow_name_of_a_sentinel_does_not_hold_up_the_others(
    gearmand: Gearmand, redis: Redis, start: Start, daemon: NewDaemon, tmp_path: Path
) -> None:
    sentinel = start(Sentinel(redis))
    begun = time.monotonic()
    url = f"redis+sentinel://{HANGS}:1,localhost:{sentinel.port}/{sentinel.name}"
    options: dict[str, Any] = {"store.timeout": 0.5}
    process = daemon(store_url=url, environment=resolving(tmp_path), **options)
    assert process.stop() == 0
    assert in_time(begun)


@pytest.mark.parametrize("count", [1, 40])
def test_slow_names_do_not_hold_up_the_library(topic: Topic, tmp_path: Path, count: int) -> None:
    topic.subscribe("bob")
    begun = time.monotonic()
    program = """
        local = server.replace("127.0.0.1", "localhost")
        servers = [f"{n}.hang.invalid:1" for n in range(int(sys.argv[3]))] + [local]
        with Publisher(servers, timeout=10) as publisher:
            say(publisher.publish(topic, "x", background=True).queued)

        async def publish():
            async with AsyncPublisher(servers, timeout=10) as publisher:
                say((await publisher.publish(topic, "x", background=True)).queued)

        asyncio.run(publish())
        subscriber = Subscriber(servers, "bob", register=False)
        subscriber.on(topic)
        for message in subscriber:
            say(message.text)
            message.ack()
            break
        # One that is left open.
        Publisher(servers[:1], connect_timeout=0.1).publish_many([(topic, "x")])
        try:
            Publisher(servers[:1], connect_timeout=0.1).publish(topic, "x")
        except errors.NoServer as error:
            say(type(error).__name__)
    """
    environment = resolving(tmp_path)
    said = run_program(program, topic.server.address, topic.name, count, environment=environment)
    assert said == ["1", "1", "x", "NoServer"]
    assert in_time(begun)


def test_a_slow_name_does_not_hold_up_the_command_line(topic: Topic, tmp_path: Path) -> None:
    topic.subscribe("bob")
    begun = time.monotonic()
    servers = [f"{HANGS}:1", topic.server.address]
    program = """
        from gearhorn.cmd.cli import main
        os.environ["GEARHORN_SERVERS"] = server
        sys.exit(main(["publish", topic, "x", "--background"]))
    """
    said = run_program(program, ",".join(servers), topic.name, environment=resolving(tmp_path))
    assert said == ["Queued for 1 of 1 subscriber."]
    assert in_time(begun)


# Several addresses.

NAME = "two.invalid"
TWO = {NAME: ["127.0.0.2", "127.0.0.1"]}


@pytest.fixture(params=["swallows", "refuses"])
def first(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def two(gearmand: Gearmand, first: str) -> Iterator[str]:
    """A job server at the second address of its name."""
    if first == "refuses":
        yield f"{NAME}:{gearmand.port}"
        return
    with Swallowing(port=gearmand.port):
        yield f"{NAME}:{gearmand.port}"


def test_a_daemon_finds_a_job_server_at_the_second_address(
    two: str, daemon: NewDaemon, peer: NewPeer, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"gearman.connect_timeout": 3}
    process = daemon([two], environment=resolving(tmp_path, TWO), **options)
    assert peer().submit("fanout", message("t", background=True)).completed
    assert ": away (" not in process.log


@pytest.mark.parametrize("sentinel", [False, True], ids=["Redis", "Sentinel"])
def test_a_daemon_finds_a_store_at_the_second_address(
    gearmand: Gearmand,
    redis: Redis,
    start: Start,
    first: str,
    daemon: NewDaemon,
    peer: NewPeer,
    tmp_path: Path,
    sentinel: bool,
) -> None:
    server = start(Sentinel(redis)) if sentinel else redis
    url = f"redis://{NAME}:{server.port}/0"
    if isinstance(server, Sentinel):
        url = f"redis+sentinel://{NAME}:{server.port}/{server.name}"
    swallowing = Swallowing(port=server.port) if first == "swallows" else None
    try:
        options: dict[str, Any] = {"store.timeout": 3}
        process = daemon(store_url=url, environment=resolving(tmp_path, TWO), **options)
        assert peer().submit("subscribe_fanout", subscription("t", "bob")).completed
        assert "The store is away" not in process.log
    finally:
        if swallowing is not None:
            swallowing.close()


def test_a_program_finds_a_job_server_at_the_second_address(
    two: str, gearmand: Gearmand, daemon: NewDaemon, tmp_path: Path
) -> None:
    daemon()
    program = """
        with Publisher(server, timeout=10, connect_timeout=3) as publisher:
            say(publisher.publish(topic, "x", background=True).subscribers)
        subscriber = Subscriber(server, "bob", connect_timeout=3)

        @subscriber.on(topic)
        def handle(message):
            say(message.text)
            subscriber.stop()

        def publish():
            with Publisher(server, timeout=10, connect_timeout=3) as publisher:
                until(lambda: publisher.publish(topic, "x", background=True).queued)

        threading.Thread(target=publish).start()
        subscriber.run()
    """
    assert run_program(program, two, "t", environment=resolving(tmp_path, TWO)) == ["0", "x"]


def test_the_command_line_finds_a_job_server_at_the_second_address(
    two: str, gearmand: Gearmand, daemon: NewDaemon, tmp_path: Path
) -> None:
    daemon()
    program = """
        from gearhorn.cmd.cli import main
        os.environ["GEARHORN_SERVERS"] = server
        sys.exit(main(["register", topic, "bob"]))
    """
    begun = time.monotonic()
    said = run_program(program, two, "t", environment=resolving(tmp_path, TWO))
    assert said == ["bob receives t in the queue t_bob."]
    assert in_time(begun)
