# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Signals in programs with subscribers: which are stopped, and whose handler is there after."""

from __future__ import annotations

import signal

import pytest

from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.programs import end_of, line_of, running_program, tell
from gearhorn.tests.processes import eventually

ASYNCHRONOUS = """
async def serve(name):
    subscriber = AsyncSubscriber(server, name, register=False)
    subscriber.on(topic)(lambda message: None)
    subscribers.append(subscriber)
    await subscriber.run()
    say(name, "has ended")
"""
THREADED = """
def serve(name):
    subscriber = Subscriber(server, name, register=False)
    subscriber.on(topic)(lambda message: None)
    subscribers.append(subscriber)
    subscriber.run()
    say(name, "has ended")
"""
OWN = """
def own(*args):
    say("own handler")
"""
"""What programs are made of."""


def program(*parts: str) -> str:
    return "subscribers = []\n" + "\n".join(parts)


def serving(topic: Topic, *names: str) -> None:
    """Return once these subscribers receive."""
    for name in names:
        queue = topic.queue(name)
        eventually(lambda queue=queue: topic.server.admin.queue(queue).workers)  # type: ignore[misc]


STOPS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_stops_all_subscribers_of_a_loop(topic: Topic, number: int) -> None:
    main = "asyncio.run(asyncio.wait_for(main(), 30))"
    both = """
async def main():
    await asyncio.gather(*map(serve, "abc"))
"""
    parts = (ASYNCHRONOUS, both, main)
    with running_program(program(*parts), topic.server.address, topic.name) as it:
        serving(topic, *"abc")
        it.send_signal(number)
        assert sorted(end_of(it)) == ["a has ended", "b has ended", "c has ended"]


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_stops_all_subscribers_in_all_threads(topic: Topic, number: int) -> None:
    main = """
threads = [threading.Thread(target=serve, args=(name,)) for name in "abc"]
for thread in threads:
    thread.start()
serve("main")
for thread in threads:
    thread.join()
"""
    with running_program(program(THREADED, main), topic.server.address, topic.name) as it:
        serving(topic, *"abc", "main")
        it.send_signal(number)
        ended = sorted(end_of(it))
        assert ended == ["a has ended", "b has ended", "c has ended", "main has ended"]


def test_a_signal_stops_those_of_other_loops_too(topic: Topic) -> None:
    main = """
threads = [threading.Thread(target=lambda: asyncio.run(serve("loop"))),
           threading.Thread(target=lambda: iterate("iterating"))]

def iterate(name):
    subscriber = Subscriber(server, name, register=False)
    subscriber.on(topic)
    for message in subscriber:
        pass
    say(name, "has ended")

for thread in threads:
    thread.start()
asyncio.run(serve("main"))
for thread in threads:
    thread.join()
"""
    with running_program(program(ASYNCHRONOUS, main), topic.server.address, topic.name) as it:
        serving(topic, "loop", "iterating", "main")
        it.send_signal(signal.SIGTERM)
        assert sorted(end_of(it)) == ["iterating has ended", "loop has ended", "main has ended"]


@pytest.mark.parametrize("first", ["the first", "the last"])
@pytest.mark.parametrize("kind", ["in one loop", "in threads"])
def test_one_that_ends_before_another_takes_no_signal_with_it(
    topic: Topic, first: str, kind: str
) -> None:
    index = 0 if first == "the first" else 1
    loop = f"""
async def main():
    tasks = [asyncio.ensure_future(serve(name)) for name in "ab"]
    await asyncio.to_thread(sys.stdin.readline)
    subscribers[{index}].stop()
    await asyncio.gather(*tasks)

asyncio.run(main())
"""
    # Of those in threads the one in the main thread has the handlers.
    threads = f"""
def stop():
    sys.stdin.readline()
    subscribers[{index}].stop()

threading.Thread(target=stop).start()
thread = threading.Thread(target=serve, args=("b",))
threading.Thread(target=lambda: (until(lambda: subscribers), thread.start())).start()
serve("a")
{"serve('main')" if index == 0 else ""}
thread.join()
"""
    parts = (ASYNCHRONOUS, loop) if kind == "in one loop" else (THREADED, threads)
    with running_program(program(*parts), topic.server.address, topic.name) as it:
        serving(topic, "a", "b")
        tell(it)
        assert line_of(it) == f"{'ab'[index]} has ended"
        if kind == "in threads" and index == 0:
            serving(topic, "main")
        it.send_signal(signal.SIGTERM)
        rest = {"b has ended"} if index == 0 else {"a has ended"}
        if kind == "in threads" and index == 0:
            rest.add("main has ended")
        assert set(end_of(it)) == rest


SET = {
    "signal.signal": "signal.signal(signal.SIGTERM, own)",
    "the loop's": "asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, own, 1)",
    "none": "pass",
}


@pytest.mark.parametrize("how", SET)
@pytest.mark.parametrize("ends", ["by a signal", "by themselves", "by being cancelled"])
def test_the_programs_own_handler_is_back_when_all_have_ended(
    topic: Topic, how: str, ends: str
) -> None:
    main = f"""
async def main():
    {SET[how]}
    tasks = [asyncio.ensure_future(serve(name)) for name in "ab"]
    say("begun")
    if {ends == "by themselves"}:
        await asyncio.to_thread(sys.stdin.readline)
        for subscriber in subscribers:
            subscriber.stop()
    if {ends == "by being cancelled"}:
        await asyncio.to_thread(sys.stdin.readline)
        for task in tasks:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    say("after")
    told = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
    # One that comes just before the loop waits is handled by Python when the loop wakes up.
    while not told.done():
        await asyncio.sleep(0.01)

asyncio.run(main())
"""
    parts = (ASYNCHRONOUS, OWN, main)
    with running_program(program(*parts), topic.server.address, topic.name) as it:
        assert line_of(it) == "begun"
        serving(topic, "a", "b")
        if ends == "by a signal":
            it.send_signal(signal.SIGTERM)
        else:
            tell(it)
        while (line := line_of(it)) != "after":
            assert line.endswith("has ended")
        it.send_signal(signal.SIGTERM)
        if how == "none":
            assert it.wait(10) == -signal.SIGTERM
            return
        assert line_of(it) == "own handler"
        tell(it)
        assert end_of(it) == []


@pytest.mark.parametrize("kind", ["for", "async for"])
def test_a_handler_that_the_program_sets_meanwhile_is_left_alone(topic: Topic, kind: str) -> None:
    topic.subscribe("a")
    name = "Subscriber" if kind == "for" else "AsyncSubscriber"
    code = f"""
async def main():
    subscriber = {name}(server, "a", register=False)
    subscriber.on(topic)
    {kind} message in subscriber:
        signal.signal(signal.SIGTERM, own)
        message.ack()
        subscriber.stop()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)

asyncio.run(main())
"""
    topic.publish(background=True)
    with running_program(program(OWN, code), topic.server.address, topic.name) as it:
        assert end_of(it) == ["own handler"]


def test_those_that_come_later_are_stopped_as_well(topic: Topic) -> None:
    code = """
async def main():
    for names in ("a", "bc", "d"):
        await asyncio.gather(*map(serve, names))

asyncio.run(main())
serve_thread = threading.Thread(target=lambda: asyncio.run(serve("e")))
serve_thread.start()
asyncio.run(serve("f"))
serve_thread.join()
"""
    with running_program(program(ASYNCHRONOUS, code), topic.server.address, topic.name) as it:
        for names in ("a", "bc", "d", "ef"):
            serving(topic, *names)
            it.send_signal(signal.SIGTERM)
            ended = {line_of(it) for _ in names}
            assert ended == {f"{name} has ended" for name in names}
        assert end_of(it) == []


def test_on_uvloop(topic: Topic) -> None:
    code = """
import uvloop

async def main():
    signal.signal(signal.SIGTERM, own)
    await asyncio.gather(*map(serve, "ab"))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.01)

uvloop.run(main())
"""
    with running_program(program(ASYNCHRONOUS, OWN, code), topic.server.address, topic.name) as it:
        serving(topic, "a", "b")
        it.send_signal(signal.SIGTERM)
        said = end_of(it)
        assert sorted(said[:2]) == ["a has ended", "b has ended"]
        assert said[2:] == ["own handler"]


def test_a_second_signal_does_what_it_did_without_a_subscriber(topic: Topic) -> None:
    topic.subscribe("a")
    code = """
subscriber = Subscriber(server, "a", register=False)

@subscriber.on(topic)
def handle(message):
    say("busy")
    until(lambda: signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    say("told")
    time.sleep(60)

subscriber.run()
"""
    topic.publish(background=True)
    with running_program(code, topic.server.address, topic.name) as it:
        assert line_of(it) == "busy"
        it.send_signal(signal.SIGTERM)
        # It waits for the handler.
        assert line_of(it) == "told"
        assert it.poll() is None
        it.send_signal(signal.SIGTERM)
        assert it.wait(10) == -signal.SIGTERM
