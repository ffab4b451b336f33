# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Publishers and subscribers in programs that fork: pools, preloading servers, daemons."""

from __future__ import annotations

import os
import signal

import pytest

from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.programs import (
    end_of,
    line_of,
    run_program,
    running_program,
)
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Stunnel


def texts(topic: Topic) -> list[str]:
    """What has come for the subscriber."""
    return sorted(copy.decode() for copy in topic.receiver("bob").take(topic.waiting("bob")))


# Publishers.


@pytest.mark.parametrize(
    "publish",
    [
        "publisher.publish(topic, text, background=True)",
        "list(publisher.publish_many([(topic, text)], background=True))",
    ],
    ids=["publish", "publish_many"],
)
@pytest.mark.parametrize(
    "fork",
    [
        "forked(lambda: publish('child')); forked(lambda: publish('child'))",
        "forked(lambda: (publish('child'), forked(lambda: publish('child'))))",
        "forked(lambda: forked(lambda: (publish('child'), publish('child'))))",
        "t = threading.Thread(target=forked, args=(lambda: [publish('child') for _ in 'ab'],));"
        "t.start(); t.join()",
        "forked(lambda: [f(*a) for f, a in [(publish, ('child',))] * 2] and publisher.close())",
    ],
    ids=["two children", "a grandchild too", "a grandchild only", "from a thread", "closing"],
)
def test_a_publisher_that_was_used_works_in_children_and_in_the_parent(
    queued: Topic, publish: str, fork: str
) -> None:
    program = f"""
        publisher = Publisher(server, timeout=10)
        def publish(text):
            {publish}
        publish("before")
        {fork}
        publish("after")
        publisher.close()
    """
    assert run_program(program, queued.server.address, queued.name) == []
    assert texts(queued) == ["after", "before", "child", "child"]


def test_a_pool_of_processes_publishes(queued: Topic) -> None:
    program = """
        from concurrent.futures import ProcessPoolExecutor

        publisher = Publisher(server, timeout=10)
        publisher.publish(topic, "parent", background=True)

        def work(number):
            return publisher.publish(topic, str(number), background=True).queued

        fork = multiprocessing.get_context("fork")
        with fork.Pool(3) as pool:
            say(sum(pool.map(work, range(30), chunksize=2)))
        with ProcessPoolExecutor(2, mp_context=fork) as pool:
            say(sum(pool.map(work, range(30))))
        say(publisher.publish(topic, "parent", background=True).queued)
    """
    said = run_program(program, queued.server.address, queued.name, timeout_s=40)
    assert said == ["30", "30", "1"]
    assert queued.waiting("bob") == 62


def test_it_does_not_matter_what_other_threads_do_while_a_process_forks(queued: Topic) -> None:
    program = """
        sys.setswitchinterval(1e-6)
        publisher = Publisher(server, timeout=15)
        go_on = True

        def busy():
            while go_on:
                publisher.publish(topic, "thread", background=True)
                list(publisher.publish_many([(topic, "thread")] * 5, background=True, window=2))
                # With a thread, a lock and a name of its own.
                with Publisher(server.replace("127.0.0.1", "localhost"), timeout=15) as another:
                    another.publish(topic, "thread", background=True)

        threads = [threading.Thread(target=busy) for _ in range(4)]
        for thread in threads:
            thread.start()

        def child():
            sys.setswitchinterval(0.005)
            publisher.publish(topic, "child", background=True)
            with Publisher(server.replace("127.0.0.1", "localhost"), timeout=15) as another:
                another.publish(topic, "child", background=True)
            say("done")

        for _ in range(25):
            forked(child)
        go_on = False
        for thread in threads:
            thread.join()
    """
    said = run_program(program, queued.server.address, queued.name, timeout_s=60)
    assert said == ["done"] * 25
    assert texts(queued).count("child") == 50


def test_a_lock_that_another_thread_has_at_that_moment_is_free_in_the_child(
    queued: Topic,
) -> None:
    program = """
        from gearhorn.net import resolver

        publisher = Publisher(server.replace("127.0.0.1", "localhost"), timeout=10)
        held = threading.Event()

        def hold():
            with publisher._thread._lock, resolver._lock:
                held.set()
                time.sleep(60)

        threading.Thread(target=hold, daemon=True).start()
        held.wait()
        forked(lambda: say(publisher.publish(topic, "child", background=True).queued))
        os._exit(0)
    """
    assert run_program(program, queued.server.address, queued.name) == ["1"]


def test_an_asyncio_publisher_works_in_children_and_in_the_parent(queued: Topic) -> None:
    program = """
        publisher = AsyncPublisher(server, timeout=10)

        async def publish(text):
            await publisher.publish(topic, text, background=True)
            async for _ in publisher.publish_many([(topic, text)], background=True):
                pass

        def child():
            asyncio.run(publish("child"))

        async def main():
            await publish("before")
            # From the loop, and from a thread beside it.
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            while process.is_alive():
                await publish("parent")
            await asyncio.to_thread(forked, child)
            await publish("after")

        asyncio.run(main())
        forked(child)
        asyncio.run(publish("last"))
    """
    assert run_program(program, queued.server.address, queued.name) == []
    found = texts(queued)
    assert [found.count(text) for text in ("before", "child", "after", "last")] == [2, 6, 2, 2]


@pytest.mark.parametrize(
    "read",
    [
        "reader = Reader(server, topic)\ndef read(): return [entry.text for entry in reader]",
        "reader = AsyncReader(server, topic)\n"
        "async def texts(): return [entry.text async for entry in reader]\n"
        "def read(): return asyncio.run(texts())",
    ],
    ids=["Reader", "AsyncReader"],
)
def test_a_reader_that_was_used_works_in_children_and_in_the_parent(
    journaled: Topic, read: str
) -> None:
    program = f"""
        from gearhorn import AsyncReader, Reader

        publisher = Publisher(server, timeout=10)
        def publish(text):
            publisher.publish(topic, text, background=True)
        exec({read!r})
        publish("one")
        say(*read())
        publish("two")
        forked(lambda: say("child", *read()))
        forked(lambda: say("child", *read()))
        publish("three")
        say(*read())
    """
    said = run_program(program, journaled.server.address, journaled.name)
    assert said == ["one", "child two", "child two", "two three"]


def test_an_asyncio_reader_works_in_a_child_while_the_loop_of_the_parent_runs(
    journaled: Topic,
) -> None:
    program = """
        from gearhorn import AsyncReader

        publisher = Publisher(server, timeout=10)
        reader = AsyncReader(server, topic)

        async def read():
            return [entry.text async for entry in reader]

        async def main():
            publisher.publish(topic, "one", background=True)
            say(*await read())
            publisher.publish(topic, "two", background=True)
            await asyncio.to_thread(forked, lambda: say("child", *asyncio.run(read())))
            say(*await read())
            await reader.close()

        asyncio.run(main())
    """
    said = run_program(program, journaled.server.address, journaled.name)
    assert said == ["one", "child two", "two"]


def test_reports_that_were_under_way_are_the_parents(queued: Topic) -> None:
    program = """
        publisher = Publisher(server, timeout=10)
        reports = publisher.publish_many([(topic, str(n)) for n in range(20)], background=True)
        say(next(reports).queued)
        forked(lambda: next(reports))
        forked(lambda: say(publisher.publish(topic, "child", background=True).queued))
        say(sum(report.queued for report in reports))
    """
    said = run_program(program, queued.server.address, queued.name)
    assert said == ["1", "Closed", "1", "19"]


def test_a_publisher_that_was_closed_is_closed_in_the_child(queued: Topic) -> None:
    program = """
        publisher, another = Publisher(server), AsyncPublisher(server)
        publisher.publish(topic, "x", background=True)
        publisher.close()
        asyncio.run(another.close())
        forked(lambda: publisher.publish(topic, "x"))
        forked(lambda: list(publisher.publish_many([(topic, "x")])))
        forked(lambda: asyncio.run(another.publish(topic, "x")))
        forked(lambda: say("closed", publisher.close()))
    """
    said = run_program(program, queued.server.address, queued.name)
    assert said == ["Closed", "Closed", "Closed", "closed None"]


def test_over_tls(queued: Topic, start: Start) -> None:
    front = start(Stunnel(queued.server.port))
    program = """
        tls = gearhorn.tls_context(sys.argv[3])
        publisher = Publisher(server, timeout=10, tls=tls)
        for text in "abc":
            publisher.publish(topic, text, background=True)
            forked(lambda: publisher.publish(topic, text + text, background=True))
        publisher.close()
    """
    assert run_program(program, f"localhost:{front.port}", queued.name, front.ca) == []
    assert texts(queued) == ["a", "aa", "b", "bb", "c", "cc"]


# Subscribers.

RUN = {
    "Subscriber": "run = subscriber.run",
    "AsyncSubscriber": "run = lambda: asyncio.run(subscriber.run())",
}


def test_a_subscriber_goes_on_in_the_parent_alone(topic: Topic) -> None:
    topic.subscribe("bob")
    program = """
        subscriber = Subscriber(server, "bob", register=False)
        subscriber.on(topic)

        def each(*wrong):
            for call in wrong:
                forked(call)

        for message in subscriber:
            each(message.ack, message.fail, lambda: subscriber.on("more"),
                 lambda: subscriber.off(topic), lambda: list(subscriber))
            forked(subscriber.stop)
            message.ack(message.text)
            if message.text == "last":
                break
    """
    handles = [topic.start(text, gather=True) for text in ("first", "last")]
    said = run_program(program, topic.server.address, topic.name)
    assert said == ["Closed"] * 10
    results = [topic.client.finish(handle).report["results"]["bob"] for handle in handles]
    assert results == ["first", "last"]


@pytest.mark.parametrize("kind", ["Subscriber", "AsyncSubscriber"])
def test_what_serves_in_the_parent_is_not_served_in_the_child(topic: Topic, kind: str) -> None:
    topic.subscribe("bob")
    program = f"""
        subscriber = {kind}(server, "bob", register=False)
        {RUN[kind]}

        @subscriber.on(topic)
        def handle(message):
            try:
                if os.fork() == 0:
                    run()
            except errors.Closed as error:
                say(error)
                os._exit(0)
            os.wait()
            subscriber.stop()
            return "parent"

        run()
    """
    handle = topic.start("x", gather=True)
    (said,) = run_program(program, topic.server.address, topic.name)
    assert "serves in the process that this one was forked from: make another" in said
    assert topic.client.finish(handle).report["results"] == {"bob": "parent"}


def test_an_iteration_ends_in_the_child(topic: Topic) -> None:
    topic.subscribe("bob")
    program = """
        subscriber = Subscriber(server, "bob", register=False)
        subscriber.on(topic)
        for message in subscriber:
            child = os.fork() == 0
            if child:
                continue
            os.wait()
            message.ack(message.text)
            if message.text == "last":
                subscriber.stop()
        say("child" if child else "parent", "has ended")
        if child:
            os._exit(0)
    """
    handles = [topic.start(text, gather=True) for text in ("first", "last")]
    said = run_program(program, topic.server.address, topic.name)
    assert said == ["child has ended", "child has ended", "parent has ended"]
    results = [topic.client.finish(handle).report["results"]["bob"] for handle in handles]
    assert results == ["first", "last"]


@pytest.mark.parametrize("kind", ["Subscriber", "AsyncSubscriber"])
def test_one_that_was_only_made_may_be_run_in_a_child(topic: Topic, kind: str) -> None:
    topic.subscribe("bob")
    program = f"""
        subscriber = {kind}(server, "bob", register=False)
        {RUN[kind]}

        @subscriber.on(topic)
        def handle(message):
            subscriber.stop()
            return f"{{message.text}} in a child: {{os.getpid() != parent}}"

        parent = os.getpid()
        forked(run)
    """
    handle = topic.start("handled", gather=True)
    assert run_program(program, topic.server.address, topic.name) == []
    results = topic.client.finish(handle).report["results"]
    assert results == {"bob": "handled in a child: True"}


def test_a_handler_may_leave_its_work_to_a_process(topic: Topic) -> None:
    topic.subscribe("bob")
    program = """
        fork = multiprocessing.get_context("fork")
        publisher = Publisher(server, timeout=10)
        subscriber = Subscriber(server, "bob", register=False, concurrency=2)

        def work(text, results):
            publisher.publish(topic + "-done", text, background=True)
            results.put(text.upper())

        @subscriber.on(topic)
        def handle(message):
            results = fork.Queue()
            process = fork.Process(target=work, args=(message.text, results))
            process.start()
            text = results.get(timeout=10)
            process.join()
            return text

        subscriber.run()
    """
    with running_program(program, topic.server.address, topic.name) as running:
        handles = [topic.start(text, gather=True) for text in "abcdef"]
        results = [topic.client.finish(handle, 20).report["results"]["bob"] for handle in handles]
        assert results == [*"ABCDEF"]
        running.terminate()
        assert end_of(running) == []


def test_the_server_sees_the_end_of_a_subscriber_whose_child_lives_on(topic: Topic) -> None:
    topic.subscribe("bob")
    program = """
        subscriber = Subscriber(server, "bob", register=False)

        @subscriber.on(topic)
        def handle(message):
            if os.fork() == 0:
                say("child")
                time.sleep(60)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)

        subscriber.run()
    """
    handle = topic.start("x", gather=True)
    with running_program(program, topic.server.address, topic.name) as running:
        assert line_of(running) == "child"
        running.wait(10)
        # Another gets the message at once, though the child is there.
        eventually(lambda: topic.server.admin.queue(topic.queue("bob")).workers == 0)
        worker = topic.receiver("bob")
        worker.complete(worker.grab(), "done")
        assert topic.client.finish(handle).report["results"] == {"bob": "done"}


def test_a_signal_ends_a_child_as_if_there_were_no_subscriber(topic: Topic) -> None:
    topic.subscribe("bob")
    program = """
        subscriber = Subscriber(server, "bob", register=False)

        @subscriber.on(topic)
        def handle(message):
            pid = os.fork()
            if pid == 0:
                say(os.getpid())
                time.sleep(60)
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            return signal.Signals(os.WTERMSIG(status)).name

        subscriber.run()
    """
    handle = topic.start("x", gather=True)
    with running_program(program, topic.server.address, topic.name) as running:
        os.kill(int(line_of(running)), signal.SIGTERM)
        assert topic.client.finish(handle).report["results"] == {"bob": "SIGTERM"}
        # The parent itself is stopped by it in good order.
        running.terminate()
        assert end_of(running) == []
