# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The examples of other languages that try again, and their sessions on the page of the clients."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests import sessions
from gearhorn.tests.builders import subscription
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.languages import LANGUAGES, Language
from gearhorn.tests.functional.test_languages import Reader, run_session, section
from gearhorn.tests.processes import eventually

pytestmark = pytest.mark.once


@pytest.fixture(params=["PHP", "Perl", "Node"])
def title(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    LANGUAGES[name].require()
    return name


@pytest.fixture
def language(title: str) -> Language:
    return LANGUAGES[title]


class Retrying(Reader):
    """The example of a subscriber that tries again, with dead letters for ops."""

    example = "retry"

    def command(self) -> Sequence[str]:
        return [*super().command(), f"{self._topic.name}-dead"]


def letter_of(text: str) -> dict[str, Any]:
    """A dead letter, but for its time, which must be that of the test."""
    letter: dict[str, Any] = json.loads(text)
    assert abs(letter.pop("time") - time.time()) < 60
    return letter


def test_the_session_on_the_page_is_real(
    topic: Topic,
    title: str,
    language: Language,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEARHORN_SERVERS", topic.server.address)
    text = section(f"Retries in {title}")
    path = f"../../examples/{language.folder}/retry.{language.suffix}"
    assert f".. literalinclude:: {path}\n" in text
    shown = sessions.commands(text)

    outputs = run_session(topic, language, shown, tmp_path, "retry")

    for command, output in zip(shown[:-1], outputs[:-1], strict=True):
        assert output == command.output.replace("officememos", topic.name), command.text
    expected = json.loads(shown[-1].output.replace("officememos", topic.name))
    assert expected.pop("time") > 0
    assert letter_of(outputs[-1]) == expected


def test_a_letter_of_bytes_is_in_base64(topic: Topic, start: Start, language: Language) -> None:
    to = f"{topic.name}-dead"
    topic.client.submit("register_fanout_subscriber", subscription(to, "ops"))
    start(Retrying(topic, "bob", language))
    payload = base64.b64encode(b"\xff\0").decode()
    assert topic.publish(payload, encoding="base64").report["failed"] == {"bob": "receiver_failed"}
    ops = topic.peer()
    ops.can_do(f"{to}_ops")
    job = ops.grab()
    letter = letter_of(job.data.decode())
    assert letter.pop("error")
    assert letter == {
        "topic": topic.name,
        "client_id": "bob",
        "attempts": 3,
        "payload": payload,
        "encoding": "base64",
    }
    assert re.fullmatch(rb"dead-[0-9a-f]{40}", job.unique)


def test_a_memo_that_is_read_leaves_no_letter(
    topic: Topic, start: Start, language: Language
) -> None:
    reader = start(Retrying(topic, "bob", language))
    assert topic.publish("the lift works.").report["delivered"] == 1
    assert reader.log == "the lift works.\n"


def test_where_nobody_gets_the_letter_the_memo_fails_and_is_told_of(
    topic: Topic, start: Start, language: Language
) -> None:
    reader = start(Retrying(topic, "bob", language))
    assert topic.publish("").report["failed"] == {"bob": "receiver_failed"}
    eventually(lambda: reader.log.endswith("dead letters queued: 0\n"))


def test_the_memo_of_a_program_that_dies_in_a_pause_goes_to_another(
    topic: Topic, start: Start, language: Language
) -> None:
    reader = start(Retrying(topic, "bob", language))
    topic.publish("", background=True)
    eventually(lambda: "try 1" in reader.log)
    reader.kill()
    assert topic.receiver("bob").take(1) == [b""]
