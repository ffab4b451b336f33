# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The programs of the documentation, as processes, and what signals do to them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.processes import Process, eventually

EXAMPLES = Path(__file__).parents[3] / "doc/examples"


class Program(Process):
    """A Python program that tells nobody when it is ready."""

    program = "python"

    def __init__(self, *arguments: str) -> None:
        super().__init__()
        self._arguments = arguments

    def command(self) -> Sequence[str]:
        return [sys.executable, *self._arguments]

    def is_ready(self) -> bool:
        return True


class NewExample(Protocol):
    def __call__(self, name: str, *arguments: str) -> subprocess.Popen[str]: ...


@pytest.fixture
def example(topic: Topic) -> Iterator[NewExample]:
    """Starts an example on the topic, with pipes to talk to it."""
    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, EXAMPLES / name, topic.server.address, topic.name, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


@pytest.mark.slow
def test_a_memo_is_published_and_read(topic: Topic, example: NewExample) -> None:
    reader = example("subscribe.py", "bob")
    eventually(lambda: topic.reached() == 1)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "\n"
    topic.subscribe("mute")

    output, _ = example("publish.py", "please go home early today.").communicate(timeout=20)

    assert output == "mute did not get it: timeout\n1 of 2 have read it\n"
    assert reader.stdout.readline() == "please go home early today.\n"
    reader.terminate()
    assert reader.wait(20) == 0
    topic.receiver("mute").take(1)
    assert topic.reached() == 1


def test_lines_are_published(topic: Topic, example: NewExample) -> None:
    topic.subscribe("bob")
    output, _ = example("publish_many.py").communicate("one\ntwo\n", timeout=20)
    assert output == "queued for 1\nqueued for 1\n"
    assert topic.receiver("bob").take(2) == [b"one", b"two"]


def test_messages_are_taken_one_by_one(topic: Topic, example: NewExample) -> None:
    topic.subscribe("bob")
    handles = [topic.start(text, gather=True) for text in ("one", "", "three", "four")]
    program = example("iterate.py", "bob", "3")
    outcomes = [topic.client.finish(handle) for handle in handles[:3]]
    assert [outcome.report["failed"] for outcome in outcomes] == [
        {},
        {"bob": "receiver_failed"},
        {},
    ]
    assert outcomes[2].report["results"] == {"bob": '{"length":5}'}
    assert program.wait(20) == 0
    # The fourth, though it may have been fetched ahead, is still there.
    assert topic.receiver("bob").take(1) == [b"four"]


def test_clients_of_a_gateway_come_and_go(topic: Topic, example: NewExample) -> None:
    gateway = example("gateway.py")
    assert gateway.stdin is not None
    assert gateway.stdout is not None
    gateway.stdin.write("bob\nalice\n")
    gateway.stdin.flush()
    eventually(lambda: topic.reached() == 2)
    gateway.stdin.write("bob\n")
    gateway.stdin.flush()
    eventually(lambda: topic.reached() == 1)
    assert topic.publish("hello").report["delivered"] == 1
    output, _ = gateway.communicate("", timeout=20)
    assert gateway.returncode == 0
    assert output.endswith("for alice: hello\n")
    assert topic.reached() == 0


SLOW = """
import sys, threading
from gearhorn import Subscriber
subscriber = Subscriber(sys.argv[1], "bob", unregister=True)
@subscriber.on(sys.argv[2])
def handle(message):
    print("began", flush=True)
    threading.Event().wait(float(message.text))
    return "done"
subscriber.run()
print("ended", flush=True)
"""

SLOW_ASYNC = """
import asyncio, sys
from gearhorn import AsyncSubscriber
async def main():
    subscriber = AsyncSubscriber(sys.argv[1], "bob", unregister=True)
    @subscriber.on(sys.argv[2])
    async def handle(message):
        print("began", flush=True)
        await asyncio.sleep(float(message.text))
        return "done"
    await subscriber.run()
    print("ended", flush=True)
asyncio.run(main())
"""

ITERATING = """
import sys, threading
from gearhorn import Subscriber
subscriber = Subscriber(sys.argv[1], "bob", unregister=True)
subscriber.on(sys.argv[2])
for message in subscriber:
    print("began", flush=True)
    threading.Event().wait(float(message.text))
    message.ack("done")
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "program", [SLOW, SLOW_ASYNC, ITERATING], ids=["threads", "asyncio", "iteration"]
)
def test_a_signal_lets_it_finish_what_it_holds(
    topic: Topic, start: Start, program: str, number: signal.Signals
) -> None:
    topic.subscribe("bob")
    process = start(Program("-c", program, topic.server.address, topic.name))
    handles = [topic.start("0.5", gather=True) for _ in range(2)]
    eventually(lambda: "began" in process.log)
    process.signal(number)
    assert topic.client.finish(handles[0]).report["results"] == {"bob": "done"}
    assert process.wait() == 0
    assert process.log.endswith("ended\n")
    assert topic.reached() == 0


@pytest.mark.parametrize(
    "program", [SLOW, SLOW_ASYNC, ITERATING], ids=["threads", "asyncio", "iteration"]
)
def test_a_second_signal_ends_a_subscriber_at_once(
    topic: Topic, start: Start, program: str
) -> None:
    topic.subscribe("bob")
    process = start(Program("-c", program, topic.server.address, topic.name))
    topic.start("100")
    eventually(lambda: "began" in process.log)
    process.terminate()

    def ended() -> bool:
        # Again and again, as two that come together are one.
        process.terminate()
        return process.exit_code is not None

    eventually(ended)
    assert process.wait() == -signal.SIGTERM
    # What it held is queued again.
    assert topic.receiver("bob").grab().data == b"100"
