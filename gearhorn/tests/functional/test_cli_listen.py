# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Receiving in a shell."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from gearhorn.tests.cli import COMMAND, Run, gearhorn
from gearhorn.tests.functional.conftest import Service, Topic
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand


class Listen(Protocol):
    def __call__(self, *arguments: str) -> subprocess.Popen[bytes]: ...


@pytest.fixture
def listen(service: Service) -> Iterator[Listen]:
    """Start ``gearhorn listen`` for the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [*COMMAND, "--server", service.gearmand.address, "listen", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def listens(topic: Topic, client_id: str) -> Callable[[], bool]:
    """Return a function that says if a client_id is registered and has a worker for its queue."""

    def check() -> bool:
        worker = topic.server.admin.queue(topic.queue(client_id)).workers
        return bool(worker) and bool(topic.publish("", background=True).report["queued"])

    return check


def test_messages_are_printed_as_they_come(topic: Topic, listen: Listen) -> None:
    topic.subscribe("bob")
    process = listen(topic.name, "--as", "bob")
    assert process.stdout is not None

    assert topic.publish("one").report["delivered"] == 1
    assert process.stdout.readline() == b"one\n"
    assert topic.publish("two\n").report["delivered"] == 1
    assert process.stdout.readline() == b"two\n"
    assert topic.publish("/w==", encoding="base64").report["delivered"] == 1
    assert process.stdout.readline() == b"\xff\n"

    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_several_topics_are_told_apart(run: Run, topic: Topic) -> None:
    other = f"{topic.name}-2"
    topic.subscribe("bob")
    topic.publish("a memo", background=True)

    done = run("listen", topic.name, other, "--as", "bob", "--count", "1")

    assert (done.returncode, done.stdout) == (0, f"{topic.name}: a memo\n")


def test_each_message_is_an_object_in_json(run: Run, topic: Topic) -> None:
    topic.subscribe("bob")
    topic.publish("gr\u00fc\u00dfe\n", background=True, unique="memo-1")
    topic.publish("/w==", background=True, encoding="base64")

    done = run("listen", topic.name, "--as", "bob", "--count", "2", "--format", "json")

    text, binary = map(json.loads, done.stdout.splitlines())
    assert text == {
        "topic": topic.name,
        "client_id": "bob",
        "unique": "memo-1",
        "payload": "gr\u00fc\u00dfe\n",
    }
    assert binary["payload"] == {"base64": "/w=="}


def test_it_registers_and_unregisters_at_the_end(topic: Topic, listen: Listen) -> None:
    process = listen(topic.name, "--as", "bob", "--unregister")
    assert eventually(listens(topic, "bob"))

    process.terminate()

    assert process.wait(20) == 0
    assert topic.publish().report["subscribers"] == 0


@pytest.mark.slow
def test_a_subscription_with_a_ttl_is_renewed_and_ends_by_itself(
    topic: Topic, listen: Listen
) -> None:
    process = listen(topic.name, "--as", "bob", "--ttl", "3")
    assert eventually(listens(topic, "bob"))
    with pytest.raises(AssertionError):
        eventually(lambda: not topic.reached(), 6)

    process.kill()

    assert eventually(lambda: not topic.reached())


def test_what_was_not_printed_is_delivered_again(run: Run, topic: Topic) -> None:
    topic.subscribe("bob")
    for number in range(5):
        topic.publish(str(number), background=True)

    first = run("listen", topic.name, "--as", "bob", "--count", "2")
    rest = run("listen", topic.name, "--as", "bob", "--count", "3")

    assert first.stdout == "0\n1\n"
    assert sorted(rest.stdout.split()) == ["2", "3", "4"]


def test_a_command_is_run_for_each_message(topic: Topic, listen: Listen) -> None:
    topic.subscribe("bob")
    command = 'read x; echo "$x $GEARHORN_TOPIC $GEARHORN_CLIENT_ID"; test "$x" != bad'
    process = listen(topic.name, "--as", "bob", "--exec", command)

    report = topic.publish("good\n", gather=True).report
    assert report["results"] == {"bob": f"good {topic.name} bob\n"}
    report = topic.publish("bad\n").report
    assert report["failed"] == {"bob": "receiver_failed"}

    process.terminate()
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"the command ended with 1" in stderr
    assert b"1 message failed." in stderr


def test_the_message_in_hand_is_finished(topic: Topic, listen: Listen) -> None:
    topic.subscribe("bob")
    process = listen(topic.name, "--as", "bob", "--exec", "echo started >&2; sleep 1; echo done")
    handle = topic.start(gather=True)
    assert process.stderr is not None
    assert process.stderr.readline() == b"started\n"

    process.send_signal(signal.SIGINT)

    assert topic.client.finish(handle).report["results"] == {"bob": "done\n"}
    assert process.wait(20) == 0


def test_a_reader_that_went_away_loses_no_message(topic: Topic, listen: Listen) -> None:
    topic.subscribe("bob")
    process = listen(topic.name, "--as", "bob")
    assert process.stdout is not None
    process.stdout.close()
    topic.publish("one", background=True)

    assert process.wait(20) == 1

    assert topic.receiver("bob").take(1) == [b"one"]


def test_it_waits_for_a_job_server(topic: Topic, service: Service) -> None:
    away = Gearmand(port=free_port())
    topic.subscribe("bob")
    topic.publish("one", background=True)

    done = gearhorn(
        [away.address, service.gearmand.address],
        "listen",
        topic.name,
        "--as",
        "bob",
        "--count",
        "1",
    )

    assert (done.returncode, done.stdout) == (0, "one\n")
    assert away.address in done.stderr


@pytest.mark.parametrize("name", ["", "__matchmaking", "a\tb"])
def test_a_refused_registration_ends_it_with_3(run: Run, name: str) -> None:
    done = run("listen", name, "--as", "bob")
    assert done.returncode == 3
    # It is said once.
    assert len(done.stderr.splitlines()) == 1


def test_a_wrong_command_line_ends_listen_with_2(run: Run, topic: Topic) -> None:
    assert run("listen", "--as", "bob").returncode == 2
    assert run("listen", topic.name).returncode == 2
    assert run("listen", topic.name, "--as", "bob", "--count", "0").returncode == 2
