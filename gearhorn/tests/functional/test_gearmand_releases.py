# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What differs between the releases of gearmand, and what follows from it.

Each test knows what to expect of the release that it runs on.
"""

from __future__ import annotations

import json
import time

import pytest

from gearhorn.cmd.cli.checks import check
from gearhorn.cmd.cli.facts import Facts
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.diagnosis import doctor
from gearhorn.tests.packets import JOB_CREATED
from gearhorn.tests.peer import Peer
from gearhorn.tests.servers import Gearmand, Redis
from gearhorn.wire.address import Address

pytestmark = pytest.mark.once

SUBMIT_JOB_EPOCH = 36

ROUND_ROBIN = [(), ("--round-robin",)]
JOB_RETRIES = [None, "-1", "0", "1", "3"]


def deaths_until_dropped(job_retries: str | None) -> int | None:
    """How many workers of a job may die, by what ``--job-retries`` says."""
    if job_retries == "-1":
        # Before it had a meaning it was the number that its lowest eight bits are.
        return None if Gearmand.release() == "after 2.0.0" else 255
    if job_retries == "0":
        return 1 if Gearmand.release() == "after 2.0.0" else None
    return None if job_retries is None else int(job_retries)


def arguments(job_retries: str | None) -> list[str]:
    return [] if job_retries is None else [f"--job-retries={job_retries}"]


def die(worker: Peer) -> None:
    worker.grab()
    worker.close()


@pytest.mark.parametrize("arguments", ROUND_ROBIN, ids=["default", "round robin"])
def test_who_is_served_next(start: Start, peer: NewPeer, arguments: tuple[str, ...]) -> None:
    server = start(Gearmand(*arguments))
    client, worker = peer(server), peer(server)
    for function in ("one", "two"):
        for _ in range(3):
            client.submit(function, function, background=True)
    worker.can_do("one", "two")

    taken = worker.take(6)

    if arguments or Gearmand.takes_turns():
        assert taken == [b"two", b"one"] * 3
    else:
        assert taken == [b"two"] * 3 + [b"one"] * 3


@pytest.mark.parametrize("arguments", ROUND_ROBIN, ids=["default", "round robin"])
def test_what_high_priority_comes_before(
    daemon: NewDaemon, start: Start, new_topic: NewTopic, arguments: tuple[str, ...]
) -> None:
    server = start(Gearmand(*arguments))
    daemon([server])
    urgent, calm = new_topic(server), new_topic(server)
    for topic in (urgent, calm):
        topic.subscribe("bob")
    for _ in range(2):
        calm.publish("calm", background=True)
    for _ in range(2):
        urgent.publish("normal", background=True)
        urgent.publish("high", background=True, priority="high")
    worker = urgent.peer()
    worker.can_do(urgent.queue("bob"), calm.queue("bob"))

    taken = worker.take(6)

    if Gearmand.takes_turns():
        # Before everything in all queues of the connection.
        assert taken == [b"high", b"high", b"calm", b"normal", b"calm", b"normal"]
    elif arguments:
        assert taken == [b"calm", b"high", b"calm", b"high", b"normal", b"normal"]
    else:
        # Before the others in its own queue.
        assert taken == [b"calm", b"calm", b"high", b"high", b"normal", b"normal"]


@pytest.mark.parametrize("job_retries", JOB_RETRIES)
def test_what_becomes_of_a_message_whose_receivers_die(
    daemon: NewDaemon, start: Start, new_topic: NewTopic, job_retries: str | None
) -> None:
    server = start(Gearmand(*arguments(job_retries)))
    daemon([server])
    topic = new_topic(server)
    topic.subscribe("bob")
    handle = topic.start()

    for _ in range(2):
        die(topic.receiver("bob"))
        if deaths_until_dropped(job_retries) == 1:
            # Nobody gets it.
            assert topic.client.finish(handle).report["failed"] == {"bob": "receiver_failed"}
            assert topic.waiting("bob") == 0
            return
    worker = topic.receiver("bob")
    if deaths_until_dropped(job_retries) == 3:
        die(worker)
        assert topic.client.finish(handle).report["failed"] == {"bob": "receiver_failed"}
    else:
        worker.complete(worker.grab())
        assert topic.client.finish(handle).report["delivered"] == 1


@pytest.mark.parametrize("job_retries", JOB_RETRIES)
def test_doctor_finds_that_messages_are_dropped(
    daemon: NewDaemon, start: Start, new_topic: NewTopic, job_retries: str | None
) -> None:
    server = start(Gearmand(*arguments(job_retries)))
    daemon([server])
    topic = new_topic(server)
    topic.subscribe("bob")
    topic.publish(background=True)
    topic.receiver("bob")
    functions = server.admin.status()

    found = doctor([server.address])

    deaths = deaths_until_dropped(job_retries)
    if deaths is None:
        assert found.exit_code == 0
        assert set(found.findings) == {"server-options"}
    else:
        assert found.exit_code == 1
        finding = found.only("server-drops")
        assert (finding["level"], finding["subject"]) == ("error", server.address)
        died = "its worker has died" if deaths == 1 else f"{deaths} of its workers have died"
        assert f"drops a job when {died}" in finding["text"]
        assert "without --job-retries" in finding["advice"]
    # It leaves no function behind and no job, and what was there is there.
    assert server.admin.status() == functions
    assert topic.waiting("bob") == 1


def test_doctor_says_only_what_there_is_to_choose(daemon: NewDaemon, gearmand: Gearmand) -> None:
    daemon()

    (finding,) = doctor([gearmand.address]).findings["server-options"]

    for said in (finding["text"], finding["advice"]):
        assert ("--round-robin" in said) is not Gearmand.takes_turns()
        assert "--keepalive" in said


def test_a_job_for_later_comes_when_it_is_time(
    daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic
) -> None:
    daemon()
    topic = new_topic(gearmand)
    topic.subscribe("bob")
    receiver = topic.receiver("bob")
    when = int(time.time()) + 2

    topic.client.send(SUBMIT_JOB_EPOCH, "fanout", "", str(when), topic.request("later"))
    topic.client.expect(JOB_CREATED)

    if not Gearmand.takes_turns():
        # An idle worker is not woken for it: it goes out with the next one.
        while time.time() < when + 1:
            time.sleep(0.05)
        assert topic.waiting("bob") == 0
        topic.publish("now", background=True)
        assert sorted(receiver.take(2)) == [b"later", b"now"]
        return
    assert receiver.take(1) == [b"later"]
    assert time.time() >= when


def test_what_the_redis_queue_keeps(start: Start, redis_server: Redis, peer: NewPeer) -> None:
    prefix = f"queue{redis_server.port}x{time.monotonic_ns()}"
    server = start(
        Gearmand(
            "--queue-type=redis",
            f"--redis-server={redis_server.host}",
            f"--redis-port={redis_server.port}",
            f"--redis-prefix={prefix}",
        )
    )
    client = peer(server)
    client.submit("memos_bob", b"one\0two", background=True, unique="1")
    client.submit("my-memos_bob", b"three", background=True, unique="2")
    server.kill()
    server.start()

    worker = peer(server)
    worker.can_do("memos_bob", "my-memos_bob")
    kept = {}
    while (job := worker.try_grab()) is not None:
        worker.complete(job)
        kept[job.function] = job.data

    # Cut at its first NUL, by all of them.
    assert kept.pop(b"memos_bob") == b"one"
    assert kept == ({b"my-memos_bob": b"three"} if Gearmand.release() == "after 2.0.0" else {})


def test_doctor_tells_servers_of_several_releases_apart() -> None:
    # From facts, as few machines have two releases.
    old, new = Address("old", 4730), Address("new", 4730)
    facts = Facts(1, {}, versions={old: "1.1.20+ds", new: "2.0.0"}, turning={new})

    found = {finding.subject: json.dumps(finding.row()) for finding in check(facts)}

    assert "--round-robin" in found["old:4730"]
    assert "--round-robin" not in found["new:4730"]
