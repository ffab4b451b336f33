# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Workers and clients of other projects behave as the page of the clients says."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gearhorn.tests import sessions
from gearhorn.tests.cli import Run
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.languages import LANGUAGES
from gearhorn.tests.processes import Process, eventually

pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[3] / "doc/source/reference/clients.rst").read_text("utf-8")

# A worker in each client: the command, and a program in which HANDLER stands for what is done with
# a job.
WORKERS = {
    "PHP": (
        ["php", "-r"],
        """[, $port, $queue] = $argv;
        $worker = new GearmanWorker();
        $worker->addServer('127.0.0.1', (int) $port);
        $worker->addFunction($queue, function ($job) { HANDLER });
        while ($worker->work());
        """,
    ),
    "PHP with a timeout": (
        ["php", "-r"],
        """[, $port, $queue] = $argv;
        $worker = new GearmanWorker();
        $worker->addServer('127.0.0.1', (int) $port);
        $worker->addFunction($queue, function ($job) { HANDLER }, null, 1);
        while (@$worker->work());
        """,
    ),
    "Perl": (
        ["perl", "-MGearman::Worker", "-e"],
        """my ($port, $queue) = @ARGV;
        my $worker = Gearman::Worker->new(job_servers => ["127.0.0.1:$port"]);
        $worker->register_function($queue => sub { my ($job) = @_; HANDLER });
        $worker->work while 1;
        """,
    ),
    "Perl with a timeout": (
        ["perl", "-MGearman::Worker", "-e"],
        """my ($port, $queue) = @ARGV;
        my $worker = Gearman::Worker->new(job_servers => ["127.0.0.1:$port"]);
        $worker->register_function($queue, 1, sub { HANDLER });
        $worker->work while 1;
        """,
    ),
    "Node": (
        ["node", "-e"],
        """const [, port, queue] = process.argv;
        const gearman = new (require('node-gearman'))('127.0.0.1', Number(port));
        gearman.registerWorker(queue, (payload, job) => { HANDLER });
        """,
    ),
    "gear": (
        [sys.executable, "-W", "ignore", "-c"],
        """
import gear, sys
worker = gear.Worker("worker")
worker.addServer("127.0.0.1", int(sys.argv[1]))
worker.waitForServer()
worker.registerFunction(sys.argv[2])
while True:
    job = worker.getJob()
    HANDLER
""",
    ),
    "pygearman": (
        [sys.executable, "-W", "ignore", "-c"],
        """
import gearman, sys
def handle(worker, job):
    HANDLER
worker = gearman.GearmanWorker(["127.0.0.1:" + sys.argv[1]])
worker.register_task(sys.argv[2].encode(), handle)
worker.work()
""",
    ),
    "A shell": (
        ["sh", "-c"],
        """exec gearman -w -h 127.0.0.1 -p "$0" -f "$1" -- sh -c 'cat >/dev/null; HANDLER'""",
    ),
}


class ForeignWorker(Process):
    """A subscriber's worker, of another project."""

    program = package = "a foreign worker"

    def __init__(self, topic: Topic, client: str, handler: str, client_id: str = "bob") -> None:
        super().__init__()
        language = LANGUAGES.get(client.removesuffix(" with a timeout"))
        if language is not None:
            language.require()
            # Node looks for packages where it runs.
            (self.directory / "node_modules").symlink_to(language.directory / "node_modules")
        self._topic = topic
        self._queue = topic.queue(client_id)
        command, program = WORKERS[client]
        self._command = [*command, program.replace("HANDLER", handler)]

    def command(self) -> Sequence[str]:
        return [*self._command, str(self._topic.server.port), self._queue]

    def is_ready(self) -> bool:
        return self._topic.server.admin.queue(self._queue).workers == 1


COMPLETES = [
    ("PHP", "return 'done';"),
    ("PHP", "return false;"),
    ("PHP", ""),
    ("Perl", "return 'done';"),
    ("Node", "job.end();"),
    ("gear", "job.sendWorkComplete()"),
    ("pygearman", "return ''"),
    ("A shell", "true"),
]
FAILS = [
    ("PHP", "$job->sendFail();", "receiver_failed"),
    ("PHP", "$job->sendException('boom');", "receiver_exception"),
    ("Perl", "return undef;", "receiver_failed"),
    ("Node", "job.error();", "receiver_failed"),
    ("gear", "job.sendWorkFail()", "receiver_failed"),
    ("gear", "job.sendWorkException(b'boom')", "receiver_exception"),
    ("pygearman", "raise ValueError('boom')", "receiver_failed"),
    ("A shell", "exit 3", "receiver_failed"),
]
FAILS_AND_ENDS = [
    ("PHP", "throw new Exception('boom');"),
    ("PHP", "exit(0);"),
    ("Perl", "die 'boom';"),
]
ENDS_WITHOUT_AN_ANSWER = [
    ("Node", "throw new Error('boom');"),
    ("gear", "raise ValueError('boom')"),
    ("pygearman", "return None"),
    ("Perl", 'return "\\x{17b}";'),
]
ANSWERS_NEVER = [
    ("Perl", "return 0;"),
    ("Perl", 'return "";'),
    ("Node", "return 'done';"),
]


@pytest.mark.parametrize(("client", "handler"), COMPLETES)
def test_a_handler_completes_its_copy(
    topic: Topic, start: Start, client: str, handler: str
) -> None:
    topic.subscribe("bob")
    start(ForeignWorker(topic, client, handler))
    for _ in range(2):
        assert topic.publish().report["delivered"] == 1


@pytest.mark.parametrize(("client", "handler", "reason"), FAILS)
def test_a_handler_fails_its_copy_and_goes_on(
    topic: Topic, start: Start, client: str, handler: str, reason: str
) -> None:
    topic.subscribe("bob")
    start(ForeignWorker(topic, client, handler))
    for _ in range(2):
        assert topic.publish(always_report=True).report["failed"] == {"bob": reason}
    # In the background nobody hears of it.
    assert topic.publish(background=True).report["queued"] == 1
    eventually(lambda: topic.waiting("bob") == 0)


@pytest.mark.parametrize(("client", "handler"), FAILS_AND_ENDS)
def test_a_handler_fails_its_copy_and_ends_the_worker(
    topic: Topic, start: Start, client: str, handler: str
) -> None:
    topic.subscribe("bob")
    worker = start(ForeignWorker(topic, client, handler))
    assert topic.publish(always_report=True).report["failed"] == {"bob": "receiver_exception"}
    worker.wait()
    assert topic.waiting("bob") == 0


def assert_the_next_one_gets_it(topic: Topic, worker: ForeignWorker) -> None:
    """A copy ends the worker, which has not answered it, and goes to another."""
    topic.subscribe("bob")
    handle = topic.start("hello")
    worker.wait()
    topic.receiver("bob").take(1)
    assert topic.client.finish(handle).report["delivered"] == 1


@pytest.mark.parametrize(("client", "handler"), ENDS_WITHOUT_AN_ANSWER)
def test_a_handler_ends_the_worker_and_the_next_one_gets_the_copy(
    topic: Topic, start: Start, client: str, handler: str
) -> None:
    assert_the_next_one_gets_it(topic, start(ForeignWorker(topic, client, handler)))


@pytest.mark.parametrize(("client", "handler"), ANSWERS_NEVER)
def test_a_handler_never_answers_its_copy(
    topic: Topic, start: Start, client: str, handler: str
) -> None:
    topic.subscribe("bob")
    worker = start(ForeignWorker(topic, client, handler))
    failed = topic.publish(timeout=0.5, always_report=True).report["failed"]
    assert failed == {"bob": "timeout"}
    assert topic.waiting("bob") == 1
    worker.kill()
    assert topic.receiver("bob").take(1) == [b"hello"]


@pytest.mark.parametrize(
    ("client", "handler"), [("PHP with a timeout", "sleep(2);"), ("Perl with a timeout", "sleep 2")]
)
def test_a_copy_that_outlasts_the_timeout_of_its_function_is_queued_again_and_ends_the_worker(
    topic: Topic, start: Start, client: str, handler: str
) -> None:
    assert_the_next_one_gets_it(topic, start(ForeignWorker(topic, client, handler)))


def test_the_page_shows_what_the_command_says_of_them(topic: Topic, start: Start, run: Run) -> None:
    for client_id, client, handler in (
        ("alice", "PHP", "return 'done';"),
        ("bob", "PHP", "$job->sendFail();"),
        ("carol", "Perl", "die 'boom';"),
        ("dave", "Node", "process.kill(process.pid, 'SIGKILL');"),
    ):
        topic.subscribe(client_id)
        start(ForeignWorker(topic, client, handler, client_id))
    for shown in sessions.commands(PAGE.partition("What a handler does")[0]):
        _, _, _, *options = shlex.split(shown.text)
        assert run("publish", topic.name, *options).stdout.strip() == shown.output


PUBLISHERS = {
    "PHP": (
        "php",
        "-r",
        """[, $port, $request, $timeout] = $argv;
        $client = new GearmanClient();
        $client->addServer('127.0.0.1', (int) $port);
        $client->setTimeout((int) $timeout);
        $result = @$client->doNormal('fanout', $request);
        echo $client->returnCode() === GEARMAN_SUCCESS ? $result : "code {$client->returnCode()}";
        """,
    ),
    "Perl": (
        "perl",
        "-MGearman::Client",
        "-e",
        """my ($port, $request, $timeout) = @ARGV;
        my $client = Gearman::Client->new(job_servers => ["127.0.0.1:$port"]);
        my $result = $client->do_task(fanout => $request, {timeout => $timeout / 1000});
        print defined $result ? $$result : "undef";
        """,
    ),
    "Node": (
        "node",
        "-e",
        """const [, port, request, timeout] = process.argv;
        const gearman = new (require('node-gearman'))('127.0.0.1', Number(port));
        const job = gearman.submitJob('fanout', request);
        const end = (text) => { console.log(text); process.exit() };
        job.setTimeout(Number(timeout), () => end('timeout'));
        job.on('error', (error) => end(error.message));
        job.on('data', (data) => end(data.toString()));
        """,
    ),
}


def publish(language: str, topic: Topic, client_timeout_s: float = 10, **keys: object) -> str:
    """Fan out with a client in that language, and return its output."""
    LANGUAGES[language].require()
    timeout_ms = str(round(client_timeout_s * 1000))
    done = subprocess.run(
        [*PUBLISHERS[language], str(topic.server.port), topic.request(**keys), timeout_ms],
        cwd=LANGUAGES[language].directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("language", "shown"), [("PHP", "code 24"), ("Perl", "undef"), ("Node", "Job failed")]
)
def test_a_client_shows_a_failure_only_if_it_is_always_reported(
    topic: Topic, language: str, shown: str
) -> None:
    topic.subscribe("mute")
    assert publish(language, topic, timeout=0.1) == shown
    report = json.loads(publish(language, topic, timeout=0.1, always_report=True))
    assert report["failed"] == {"mute": "timeout"}


def test_progress_starts_the_timeout_of_php_anew(topic: Topic) -> None:
    topic.subscribe("mute")
    keys = {"always_report": True, "client_timeout_s": 3}
    report = json.loads(publish("PHP", topic, timeout=4.5, **keys))
    assert report["failed"] == {"mute": "timeout"}
    timed_out = publish("PHP", topic, timeout=30, progress=False, **keys)
    assert timed_out == "code 47"


@pytest.mark.parametrize(("language", "shown"), [("Perl", "undef"), ("Node", "timeout")])
def test_progress_leaves_the_timeout_of_others_alone(
    topic: Topic, language: str, shown: str
) -> None:
    topic.subscribe("mute")
    assert publish(language, topic, client_timeout_s=2, timeout=30) == shown
