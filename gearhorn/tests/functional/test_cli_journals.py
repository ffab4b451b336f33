# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Journals and dead letters from a shell."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gearhorn import Subscriber
from gearhorn.tests.builders import message
from gearhorn.tests.cli import COMMAND, Run, gearhorn
from gearhorn.tests.conftest import NewPeer
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.failing import Failing
from gearhorn.tests.functional.subscribing import running
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand


def publish(topic: Topic, *texts: str) -> str:
    """Publish messages, and return the id of the journal."""
    for text in texts:
        report = topic.publish(text, background=True).report
    return str(report["journal"])


def lines(output: str) -> list[Any]:
    return [json.loads(line) for line in output.splitlines()]


def test_read_prints_what_the_journal_has(journaled: Topic, journal_run: Run) -> None:
    publish(journaled, "one", "two\n", "three")
    done = journal_run("read", journaled.name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo\nthree\n", "")
    done = journal_run("read", journaled.name, "--after", "2")
    assert done.stdout == "three\n"
    done = journal_run("read", journaled.name, "--count", "1")
    assert done.stdout == "one\n"
    assert journal_run("read", journaled.name, "--after", "3").stdout == ""


def test_read_prints_an_object_a_line(journaled: Topic, journal_run: Run) -> None:
    journal = publish(journaled, "one", "two")
    request = message(journaled.name, "/w==", encoding="base64", background=True)
    assert journaled.client.submit("fanout", request).completed
    done = journal_run("read", journaled.name, "--after", "1", "--format", "json")
    second, third = lines(done.stdout)
    assert second.pop("published") > 1.7e9
    assert second == {
        "topic": journaled.name,
        "journal": journal,
        "sequence": 2,
        "payload": "two",
    }
    assert third["payload"] == {"base64": "/w=="}


def test_read_says_what_is_gone_and_that_it_is_another_journal(
    journaled: Topic, journal_run: Run
) -> None:
    journaled.name = f"few-{journaled.name}"
    publish(journaled, "one", "two", "three")
    done = journal_run("read", journaled.name)
    assert done.stdout == "three\n"
    assert done.stderr == "Trimmed: messages before 3 are gone.\n"
    options = ("--after", "7", "--journal", "65f0")
    done = journal_run("read", journaled.name, *options)
    assert done.stdout == "three\n"
    assert "Reset: this is another journal, which begins with 3 here.\n" in done.stderr
    (row,) = lines(journal_run("read", journaled.name, *options, "--format", "json").stdout)
    assert (row["trimmed"], row["reset"]) == (True, True)


def test_journals_are_read_for_as_long_as_the_command_may_wait(
    gearmand: Gearmand, peer: NewPeer
) -> None:
    # A daemon that never answers.
    peer().can_do("fanout_read")
    for command in (("read", "memos"), ("dead", "list", "memos"), ("dead", "show", "memos", "1")):
        began = time.monotonic()
        done = gearhorn([gearmand.address], "--timeout", "1", *command)
        # It would else wait for 30 seconds.
        assert time.monotonic() - began < 25
        assert (done.returncode, done.stdout) == (4, "")
        assert "no daemon answered in time" in done.stderr


@contextmanager
def following(topic: Topic, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, "--server", topic.server.address, "read", topic.name, "--follow"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_read_follows(journaled: Topic) -> None:
    publish(journaled, "one")
    with following(journaled, "--count", "3") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        publish(journaled, "two", "three")
        assert process.stdout.read() == "two\nthree\n"
        assert process.wait(20) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_read_that_follows_ends_at_ctrl_c(journaled: Topic) -> None:
    import signal

    publish(journaled, "one")
    with following(journaled) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_topic_without_a_journal_is_refused(topic: Topic, run: Run) -> None:
    done = run("read", topic.name)
    assert done.returncode == 3
    done = run("read", topic.name, "--format", "json")
    assert json.loads(done.stderr)["error"] == "no_journal"


def test_journals_are_shown(journaled: Topic, journal_run: Run) -> None:
    journal = publish(journaled, "one", "two")
    rows = json.loads(journal_run("journals", "--format", "json").stdout)
    (row,) = [row for row in rows if row["topic"] == journaled.name]
    assert 0 <= row.pop("age") < 60
    assert row == {
        "topic": journaled.name,
        "journal": journal,
        "first": 1,
        "last": 2,
        "messages": 2,
        "bytes": 6,
    }
    shown = journal_run("journals").stdout
    assert "TOPIC" in shown.splitlines()[0]
    assert journaled.name in shown


def test_no_journals(run: Run) -> None:
    done = run("journals")
    assert (done.returncode, done.stdout) == (0, "")
    assert "No topic has a journal." in done.stderr


def test_publish_names_a_message(journaled: Topic, journal_run: Run) -> None:
    arguments = ("publish", journaled.name, "hello", "--background", "--id", "memo 1")
    assert "before" not in journal_run(*arguments).stdout
    done = journal_run(*arguments)
    assert "It is message 1 of the journal, published before.\n" in done.stdout
    report = json.loads(journal_run(*arguments, "--format", "json").stdout)
    assert (report["duplicate"], report["sequence"]) == (True, 1)
    assert journal_run("publish", journaled.name, "x", "--id", "").returncode == 3
    assert journal_run("publish", journaled.name, "--lines", "--id", "x").returncode == 2


@pytest.mark.parametrize(("start", "waiting"), [("first", 3), ("last", 1), ("2", 1), ("new", 0)])
def test_register_puts_messages_from_before_into_the_queue(
    journaled: Topic, journal_run: Run, start: str, waiting: int
) -> None:
    journal = publish(journaled, "one", "two", "three")
    if start == "2":
        start = f"2@{journal}"
    done = journal_run("register", journaled.name, "bob", "--start", start)
    assert done.returncode == 0, done.stderr
    if waiting:
        shown = "1 message" if waiting == 1 else f"{waiting} messages"
        assert f"It has {shown} from before.\n" in done.stdout
    eventually(lambda: journaled.waiting("bob") == waiting)
    if waiting:
        taken = journaled.receiver("bob").take(waiting)
        assert taken == [b"one", b"two", b"three"][-waiting:]


def test_a_start_that_is_none_is_refused(journal_run: Run, topic: Topic, run: Run) -> None:
    for start in ("firsts", "12", "-1@65f0", "@65f0"):
        assert journal_run("register", "t", "bob", "--start", start).returncode == 2
    assert run("register", topic.name, "bob", "--start", "first").returncode == 3


def test_listen_begins_with_messages_from_before(journaled: Topic, journal_run: Run) -> None:
    journal = publish(journaled, "one", "two")
    done = journal_run(
        *("listen", journaled.name, "--as", "bob", "--start", "first"),
        *("--count", "2", "--format", "json"),
    )
    first, second = lines(done.stdout)
    assert [first["payload"], second["payload"]] == ["one", "two"]
    assert (second["journal"], second["sequence"]) == (journal, 2)


@pytest.fixture
def letters(journaled: Topic, journal_run: Run) -> Topic:
    """A topic whose subscriber has given one message up."""
    dead = f"{journaled.name}-dead"
    journaled.subscribe("bob")
    subscriber = Subscriber(journaled.server.address, "bob")
    subscriber.on(journaled.name, dead_letter=dead)(Failing())
    with running(subscriber):
        assert journaled.publish("a memo").failed
    return journaled


def test_dead_letters_are_listed_shown_and_tried_again(letters: Topic, journal_run: Run) -> None:
    dead = f"{letters.name}-dead"
    (row,) = json.loads(journal_run("dead", "list", dead, "--format", "json").stdout)
    assert (row["letter"], row["topic"], row["client_id"]) == (1, letters.name, "bob")
    assert row["error"].startswith("ValueError")
    assert "payload" not in row
    assert " bob " in journal_run("dead", "list", dead).stdout
    shown = json.loads(journal_run("dead", "show", dead, "1", "--format", "json").stdout)
    assert shown["payload"] == "a memo"
    assert shown["sequence"] == 1
    assert journal_run("dead", "show", dead, "1").stdout.endswith("\n\na memo\n")
    done = journal_run("dead", "replay", dead, "1")
    assert done.stdout == f"Letter 1 is queued in {letters.queue('bob')}.\n"
    job = letters.receiver("bob").grab()
    assert job.data == b"a memo"
    assert job.unique.startswith(b"replay-")


def test_what_is_no_letter_or_has_nobody_to_go_to_is_refused(
    letters: Topic, journal_run: Run
) -> None:
    dead = f"{letters.name}-dead"
    for arguments in (("show", dead, "2"), ("show", letters.name, "1"), ("replay", dead, "2")):
        done = journal_run("dead", *arguments)
        assert done.returncode == 1, done
    # Whoever repeats it without the wrong number gets each message once.
    done = journal_run("dead", "replay", dead, "1", "99")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no message 99" in done.stderr
    assert letters.waiting("bob") == 0
    letters.client.submit(
        "unregister_fanout_subscriber", {"topic": letters.name, "client_id": "bob"}
    )
    done = journal_run("dead", "replay", dead, "1")
    assert done.returncode == 1
    assert "register it first" in done.stderr
    assert letters.waiting("bob") == 0
