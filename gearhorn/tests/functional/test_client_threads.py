# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The library in programs with threads: who may call what, and who ends first."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearhorn.tests.builders import message
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.programs import (
    STARTS_NO_THREADS_LATE,
    end_of,
    line_of,
    patched,
    run_program,
    running_program,
)
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand

# Threads that outlive the main thread.


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_subscriber_that_outlives_the_main_thread_connects_again(
    start: Start, daemon: NewDaemon, peer: NewPeer, host: str
) -> None:
    gearmand = start(Gearmand())
    daemon([gearmand])
    program = """
        subscriber = Subscriber(server, "bob")
        handled = threading.Event()

        @subscriber.on(topic)
        def handle(message):
            handled.set()
            if message.text == "last":
                subscriber.stop()
            return message.text

        threading.Thread(target=subscriber.run).start()
        threading.Thread(
            target=lambda: (threading.main_thread().join(), say("main has ended"))
        ).start()
        if starts_no_threads_late:
            handled.wait()
    """

    def results(text: str) -> object:
        request = message("t", text, gather=True, timeout=2)
        with peer(gearmand) as client:
            return client.submit("fanout", request, timeout_s=20).report.get("results")

    with running_program(program, f"{host}:{gearmand.port}", "t") as running:
        eventually(lambda: results("first") == {"bob": "first"})
        assert line_of(running) == "main has ended"
        gearmand.kill()
        gearmand.start()
        eventually(lambda: results("again") == {"bob": "again"})
        results("last")
        assert end_of(running) == []


def test_threads_publish_after_the_main_thread_has_ended(queued: Topic) -> None:
    program = """
        import atexit

        local = server.replace("127.0.0.1", "localhost")
        used = Publisher(local, timeout=10)
        used.publish(topic, "main", background=True)

        def late():
            threading.main_thread().join()
            say("thread", used.publish(topic, "x", background=True).queued)
            if not starts_no_threads_late:
                first_use()

        def first_use():
            # With a name that is to be looked up.
            publisher = Publisher(local, timeout=10)
            say("thread", publisher.publish(topic, "x", background=True).queued)

            async def publish():
                async with AsyncPublisher(local, timeout=10) as publisher:
                    say("loop", (await publisher.publish(topic, "x", background=True)).queued)

            asyncio.run(publish())

        threading.Thread(target=late).start()
        atexit.register(lambda: say("exit", used.publish(topic, "x", background=True).queued))
    """
    said = run_program(program, queued.server.address, queued.name)
    first_uses = [] if STARTS_NO_THREADS_LATE else ["thread 1", "loop 1"]
    assert said == ["thread 1", *first_uses, "exit 1"]


def test_a_program_that_closes_nothing_ends(queued: Topic) -> None:
    program = """
        publisher = Publisher(server, timeout=10)
        publisher.publish(topic, "x", background=True)
        subscriber = Subscriber(server, "bob", register=False)
        subscriber.on(topic)
        messages = iter(subscriber)
        say(next(messages).text)
    """
    assert run_program(program, queued.server.address, queued.name) == ["x"]
    # What was not answered is there for another.
    eventually(lambda: queued.server.admin.queue(queued.queue("bob")).workers == 0)
    assert queued.receiver("bob").take(1) == [b"x"]


# What fails unexpectedly.

BREAKS = {
    "the connection": ("gearhorn.wire.pool", "Pool._serve_connection"),
    "the registration": ("gearhorn.client.subscriptions", "Subscriptions._register"),
    "the end": ("gearhorn.client.reception", "Reception.settle"),
    "a handler's thread": ("gearhorn.client.reception", "Reception.message"),
}


@pytest.mark.parametrize("what", BREAKS)
@pytest.mark.parametrize(
    "run",
    [
        "Subscriber(server, 'bob').run()",
        "asyncio.run(AsyncSubscriber(server, 'bob').run())",
    ],
    ids=["Subscriber", "AsyncSubscriber"],
)
def test_a_fault_inside_of_a_subscriber_is_logged_and_ends_it(
    queued: Topic, run: str, what: str
) -> None:
    module, name = BREAKS[what]
    owner, _, method = name.partition(".")
    make, _, run = run.partition(".run()")
    make = make.removeprefix("asyncio.run(")
    program = f"""
        import logging, {module}
        logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")

        def broken(*args):
            raise ZeroDivisionError("broken inside")

        async def broken_later(*args):
            broken()

        {module}.{owner}.{method} = {"broken" if method == "message" else "broken_later"}
        subscriber = {make}
        subscriber.on(topic)(lambda message: None)
        if {what == "the end"}:
            subscriber.stop()
            # Not to wait for what is not to be had.
            subscriber._bindings.clear()
        try:
            {"asyncio.run(subscriber.run())" if "Async" in make else "subscriber.run()"}
        except ZeroDivisionError as error:
            say("raised", error)
    """
    if what == "a handler's thread":
        queued.publish(background=True)
    said = run_program(program, queued.server.address, queued.name)
    assert said[-1] == "raised broken inside"
    # What the very call of the program raises need not be in the log as well.
    if (what, "Async" in make) != ("the end", True):
        assert any(line.startswith("CRITICAL") for line in said), said
        assert any("Traceback" in line for line in said), said


def test_a_fault_inside_of_a_publisher_is_logged_and_raised(queued: Topic) -> None:
    program = """
        import logging, gearhorn.wire.pool
        logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")

        async def broken(*args):
            raise ZeroDivisionError("broken inside")

        gearhorn.wire.pool.Pool._serve_connection = broken
        publisher, another = Publisher(server), AsyncPublisher(server)
        for call in (
            lambda: publisher.publish(topic, "x"),
            lambda: list(publisher.publish_many([(topic, "x")] * 3)),
            lambda: asyncio.run(another.publish(topic, "x")),
        ):
            try:
                call()
            except errors.ClientError as error:
                say("raised", error)
    """
    said = run_program(program, queued.server.address, queued.name)
    raised = [line for line in said if line.startswith("raised")]
    assert len(raised) == 3
    assert all("see the log" in line and "broken inside" in line for line in raised)
    assert any(line.startswith("CRITICAL") for line in said)


KEPT = {
    "a connection": ("gearhorn.wire.pool", "Pool", "_serve_connection"),
    "the entry": ("gearhorn.daemon.matchmaking", "Matchmaking", "_keep"),
    "the upkeep": ("gearhorn.daemon.upkeep", "Upkeep", "_repeat"),
}


@pytest.mark.parametrize("what", KEPT)
def test_a_fault_inside_of_a_daemon_is_logged_and_ends_it(
    daemon: NewDaemon, tmp_path: Path, what: str
) -> None:
    module, owner, method = KEPT[what]
    code = f"""
        import {module}

        async def broken(*args):
            raise ZeroDivisionError("broken inside")

        {module}.{owner}.{method} = broken
    """
    process = daemon(environment=patched(tmp_path, code), wait_ready=False)
    assert process.wait() == 1
    assert " CRITICAL gearhorn.tasks [-] " in process.log
    assert "is no longer kept up: broken inside" in process.log
    assert "ZeroDivisionError: broken inside" in process.log
    # In good order all the same.
    assert "has stopped" in process.log


def test_a_cancellation_that_a_handler_raises_is_its_failure(queued: Topic) -> None:
    program = """
        subscriber = AsyncSubscriber(server, "bob", register=False)

        @subscriber.on(topic)
        async def handle(message):
            if message.text == "last":
                return message.text
            task = asyncio.ensure_future(asyncio.sleep(60))
            task.cancel()
            await task

        asyncio.run(subscriber.run())
    """
    with running_program(program, queued.server.address, queued.name) as running:
        first = queued.publish("first", gather=True)
        assert first.report["failed"] == {"bob": "receiver_failed"}
        assert queued.publish("last", gather=True).report["results"] == {"bob": "last"}
        running.terminate()
        assert end_of(running) == []


# Calls from the library's own threads.


@pytest.mark.parametrize("logger", ["gearhorn", ""], ids=["of the library", "of the root"])
@pytest.mark.parametrize(
    "emit",
    [
        "publisher.publish(topic, record.getMessage(), background=True)",
        "list(publisher.publish_many([(topic, record.getMessage())], background=True))",
        "Publisher(server, timeout=5).publish(topic, record.getMessage(), background=True)",
    ],
    ids=["publish", "publish_many", "another publisher"],
)
def test_a_log_handler_may_publish(queued: Topic, emit: str, logger: str) -> None:
    program = f"""
        import logging

        sent = threading.Event()

        class Handler(logging.Handler):
            def emit(self, record):
                if record.levelno >= logging.INFO and "away" in record.getMessage():
                    {emit}
                    say("sent")
                    sent.set()

        logging.getLogger("{logger}").addHandler(Handler())
        logging.getLogger("{logger}").setLevel("DEBUG")
        # One server is not there, which is logged, at the first use.
        publisher = Publisher(sys.argv[3] + "," + server, timeout=5, connect_timeout=2)
        publisher.publish(topic, "x", background=True)
        sent.wait(30)
        publisher.close()
        say("closed")
    """
    nowhere = f"127.0.0.1:{free_port()}"
    said = run_program(program, queued.server.address, queued.name, nowhere)
    assert "closed" in said
    assert "sent" in said


@pytest.mark.parametrize("kind", ["Subscriber", "AsyncSubscriber"])
def test_a_log_handler_of_a_subscriber_may_publish(queued: Topic, kind: str) -> None:
    run = "subscriber.run()" if kind == "Subscriber" else "asyncio.run(subscriber.run())"
    program = f"""
        import logging

        publisher = Publisher(server, timeout=5)

        class Handler(logging.Handler):
            def emit(self, record):
                if "away" in record.getMessage() or "handler" in record.getMessage():
                    publisher.publish(topic, "a line of the log", background=True)

        logging.getLogger().addHandler(Handler())
        subscriber = {kind}(sys.argv[3] + "," + server, "bob", register=False)

        @subscriber.on(topic)
        def handle(message):
            say(message.text)
            if message.text == "x":
                raise ValueError
            subscriber.stop()

        {run}
    """
    queued.publish("x", background=True)
    nowhere = f"127.0.0.1:{free_port()}"
    said = run_program(program, queued.server.address, queued.name, nowhere)
    assert "a line of the log" in said


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        ("publisher.publish(topic, 'y', background=True)", "WrongThread"),
        ("list(publisher.publish_many([(topic, 'y')], background=True))", "WrongThread"),
        ("publisher.close()", "WrongThread"),
        ("another.publish(topic, 'y', background=True)", "done"),
        ("another.close()", "done"),
        (
            "threading.Thread(target=publisher.publish, args=(topic, 'y'), "
            "kwargs={'background': True}).start()",
            "done",
        ),
    ],
)
def test_what_on_progress_calls_ends(queued: Topic, call: str, outcome: str) -> None:
    program = f"""
        publisher, another = Publisher(server, timeout=2), Publisher(server, timeout=5)

        def on_progress(done, total):
            try:
                {call}
            except errors.WrongThread as error:
                assert "thread" in str(error)
                say("WrongThread")
            else:
                say("done")

        try:
            publisher.publish(topic, "x", on_progress=on_progress)
        except errors.PartialFailure as error:
            say("reported")
        publisher.close()
        another.close()
    """
    said = run_program(program, queued.server.address, queued.name)
    assert set(said[:-1]) == {outcome}
    assert said[-1] == "reported"


def test_an_on_progress_that_exits_ends_nothing_else(queued: Topic) -> None:
    program = """
        publisher = Publisher(server, timeout=2)
        try:
            publisher.publish(topic, "x", on_progress=lambda done, total: sys.exit(3))
        except errors.PartialFailure as error:
            say("reported")
        say(publisher.publish(topic, "y", background=True).queued)
    """
    assert run_program(program, queued.server.address, queued.name) == ["reported", "1"]


def test_what_on_progress_forks_may_publish(queued: Topic) -> None:
    program = """
        publisher = Publisher(server, timeout=2)

        def child():
            say("child", publisher.publish(topic, "y", background=True).queued)

        def on_progress(done, total):
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join()

        try:
            publisher.publish(topic, "x", on_progress=on_progress)
        except errors.PartialFailure:
            say("reported")
    """
    said = run_program(program, queued.server.address, queued.name)
    assert set(said) == {"child 1", "reported"}


def test_two_publishers_whose_on_progress_use_each_other_end(queued: Topic) -> None:
    program = """
        one, other = Publisher(server, timeout=2), Publisher(server, timeout=2)

        def on_progress(publisher, another, depth=0):
            def call(done, total):
                try:
                    another.publish(topic, "y", on_progress=on_progress(another, publisher))
                except errors.GearhornError as error:
                    say(type(error).__name__)
            return call

        for publisher, another in ((one, other), (other, one)):
            try:
                publisher.publish(topic, "x", on_progress=on_progress(publisher, another))
            except errors.GearhornError as error:
                say("end", type(error).__name__)
    """
    said = run_program(program, queued.server.address, queued.name, timeout_s=40)
    assert said.count("end PartialFailure") == 2
    assert "WrongThread" in said


# Many threads at once.


def test_many_threads_publish_many_at_once(queued: Topic) -> None:
    program = """
        sys.setswitchinterval(1e-6)
        publisher = Publisher(server, timeout=20)
        reached = []

        def work(number):
            for _ in range(4):
                many = [(topic, "x")] * 60
                for window in (1, 5, 1000):
                    reports = publisher.publish_many(many, background=True, window=window)
                    reached.append(sum(report.queued for report in reports))
                reached.append(publisher.publish(topic, "y", background=True).queued * 60)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        say(set(reached), len(reached))
    """
    said = run_program(program, queued.server.address, queued.name, timeout_s=60)
    assert said == ["{60} 160"]
    assert queued.waiting("bob") == 10 * 4 * 181


def test_two_threads_that_hand_over_in_the_same_moment_wake_the_loop(queued: Topic) -> None:
    program = """
        from collections import deque

        publisher = Publisher(server, timeout=10)
        publisher.publish(topic, "x", background=True)
        together = threading.Barrier(2)

        class Handed(deque):
            def append(self, item):
                super().append(item)
                together.wait(10)

        publisher._handed = Handed()

        def work():
            for report in publisher.publish_many([(topic, "x")], background=True):
                say(report.queued)

        threads = [threading.Thread(target=work) for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    """
    assert run_program(program, queued.server.address, queued.name) == ["1", "1"]


def test_what_many_threads_publish_ends_when_another_closes(queued: Topic) -> None:
    program = """
        sys.setswitchinterval(1e-6)
        for _ in range(10):
            publisher = Publisher(server, timeout=20)
            begun = threading.Barrier(7)
            ended = []

            def work(many):
                begun.wait()
                try:
                    while True:
                        if many:
                            list(publisher.publish_many([(topic, "x")] * 50, background=True))
                        else:
                            publisher.publish(topic, "x", background=True)
                except errors.Closed:
                    ended.append(many)

            threads = [threading.Thread(target=work, args=(n % 2,)) for n in range(6)]
            for thread in threads:
                thread.start()
            begun.wait()
            time.sleep(0.02)
            publisher.close()
            for thread in threads:
                thread.join()
            say(len(ended))
    """
    said = run_program(program, queued.server.address, queued.name, timeout_s=40)
    assert said == ["6"] * 10


@pytest.mark.parametrize("how", ["run", "iterate"])
def test_many_threads_answer_what_one_subscriber_receives(queued: Topic, how: str) -> None:
    run = """
        subscriber.on(topic)(handle)
        subscriber.run()
    """
    iterate = """
        from concurrent.futures import ThreadPoolExecutor
        subscriber.on(topic)
        with ThreadPoolExecutor(8) as pool:
            for message in subscriber:
                pool.submit(lambda m: (m.ack(), handle(m)), message)
    """
    program = """
        sys.setswitchinterval(1e-6)
        subscriber = Subscriber(server, "bob", register=False, concurrency=8)
        counted = set()

        def handle(message):
            counted.add(message.text)
            if len(counted) == 3000:
                subscriber.stop()
    """
    many = [queued.start(str(number), background=True) for number in range(3000)]
    for handle in many:
        assert queued.client.finish(handle).completed
    code = program + (run if how == "run" else iterate)
    run_program(code, queued.server.address, queued.name, timeout_s=40)
    assert queued.waiting("bob") == 0
