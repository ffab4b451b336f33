# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The examples in other languages, and their sessions on the page of the clients."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from gearhorn.tests import sessions
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.languages import LANGUAGES, Language
from gearhorn.tests.processes import Process

pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[3] / "doc/source/reference/clients.rst").read_text("utf-8")
MEMO = 'Żółw said: "¡adiós!", it\'s \\late\\ & <over>'


@pytest.fixture(params=LANGUAGES)
def title(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    LANGUAGES[name].require()
    return name


@pytest.fixture
def language(title: str) -> Language:
    return LANGUAGES[title]


class Reader(Process):
    """The example of a subscriber, which writes what it reads into its log."""

    program = package = "an example"
    example = "subscribe"

    def __init__(self, topic: Topic, client_id: str, language: Language) -> None:
        super().__init__()
        self._topic = topic
        self._client_id = client_id
        self._language = language

    def command(self) -> Sequence[str]:
        address = self._topic.server.address
        return [*self._language.example(self.example), address, self._topic.name, self._client_id]

    def is_ready(self) -> bool:
        return self._topic.server.admin.queue(self._topic.queue(self._client_id)).workers == 1


def run(
    language: Language, name: str, topic: Topic, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*language.example(name), topic.server.address, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def section(title: str, page: str = PAGE) -> str:
    """The part of the page about a language."""
    body = re.split(rf"^{title}\n\.+\n", page, maxsplit=1, flags=re.MULTILINE)[1]
    return re.split(r"^\S.*\n[.-]+\n", body, maxsplit=1, flags=re.MULTILINE)[0]


def run_session(
    topic: Topic,
    language: Language,
    shown: Sequence[sessions.Command],
    directory: Path,
    worker: str,
) -> Sequence[str]:
    """The outputs of a session on the page, run beside the examples with a topic of the test's own.

    After the command that names the example ``worker`` it goes on once that works.
    """
    for path in language.directory.iterdir():
        (directory / path.name).symlink_to(path)
    session = [
        command._replace(
            text=command.text.replace("127.0.0.1:4730", topic.server.address).replace(
                "officememos", topic.name
            )
        )
        for command in shown
    ]

    def awaited(command: str) -> str:
        if f"{worker}." not in command:
            return ""
        admin = f"gearadmin --host={topic.server.host} --port={topic.server.port}"
        return sessions.until(f"{admin} --status | grep -q '^{topic.queue('bob')}.*1$'")

    return sessions.run_all(session, directory, directory, awaited)


def test_the_session_on_the_page_is_real(
    topic: Topic, title: str, language: Language, tmp_path: Path
) -> None:
    shown = sessions.commands(section(title))
    assert len(shown) > 3

    outputs = run_session(topic, language, shown, tmp_path, "subscribe")

    for command, output in zip(shown, outputs, strict=True):
        assert output == command.output, command.text


def test_the_page_shows_each_example(title: str, language: Language) -> None:
    for name in ("subscribe", "publish"):
        path = f"../../examples/{language.folder}/{name}.{language.suffix}"
        assert f".. literalinclude:: {path}\n" in section(title)


def test_each_language_reads_what_the_others_publish(topic: Topic, start: Start) -> None:
    for language in LANGUAGES.values():
        language.require()
    readers = [start(Reader(topic, language.folder, language)) for language in LANGUAGES.values()]
    for language in LANGUAGES.values():
        published = run(language, "publish", topic, topic.name, MEMO)
        assert (published.returncode, published.stdout) == (0, "4 of 4 have read it\n"), published
    for reader in readers:
        assert reader.log == 4 * f"{MEMO}\n"


def test_a_subscriber_reads_on_after_a_memo_that_it_could_not_read(
    topic: Topic, start: Start, language: Language
) -> None:
    reader = start(Reader(topic, "bob", language))
    assert topic.publish("", always_report=True).report["failed"] == {"bob": "receiver_failed"}
    assert topic.publish("the lift works.").report["delivered"] == 1
    assert "the lift works.\n" in reader.log


@pytest.mark.parametrize("example", ["publish", "subscribe"])
def test_an_example_that_is_refused_says_why_and_fails(
    topic: Topic, language: Language, example: str
) -> None:
    refused = run(language, example, topic, "", "bob")
    assert refused.returncode != 0
    assert "topic must not be empty" in refused.stderr
