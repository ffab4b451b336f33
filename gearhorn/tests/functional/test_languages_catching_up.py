# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The examples of other languages that catch up with a journal, and their sessions on the page."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from gearhorn.tests import sessions
from gearhorn.tests.builders import message
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.languages import LANGUAGES, Language
from gearhorn.tests.functional.test_languages import MEMO, Reader, run, run_session, section
from gearhorn.tests.processes import eventually

pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[3] / "doc/source/howto/catching-up.rst").read_text("utf-8")


@pytest.fixture(params=LANGUAGES)
def title(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    LANGUAGES[name].require()
    return name


@pytest.fixture
def language(title: str) -> Language:
    return LANGUAGES[title]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The file in which a reader keeps its place."""
    return tmp_path / "place"


class Waiting(Reader):
    """The example of a reader, beside one message at least, which waits for what comes."""

    example = "read"

    def command(self) -> Sequence[str]:
        return [*super().command(), "60"]

    def is_ready(self) -> bool:
        # It has read what was there, and asks for more.
        return bool(self.log)


def test_the_session_on_the_page_is_real(
    journaled: Topic, title: str, language: Language, tmp_path: Path
) -> None:
    text = section(title, PAGE)
    for name in ("read", "post"):
        path = f"../../examples/{language.folder}/{name}.{language.suffix}"
        assert f".. literalinclude:: {path}\n" in text
    shown = sessions.commands(text)
    assert len(shown) == 8

    outputs = run_session(journaled, language, shown, tmp_path, "subscribe")

    assert list(outputs) == [command.output for command in shown]


def test_a_reader_goes_on_after_each_answer_to_the_end(
    journaled: Topic, language: Language, place: Path
) -> None:
    handles = [journaled.start(str(number), background=True) for number in range(1, 251)]
    assert all(journaled.client.finish(handle).completed for handle in handles)
    assert journaled.publish(MEMO, background=True).completed
    request = message(journaled.name, "aGVsbG8=", encoding="base64", background=True)
    assert journaled.client.submit("fanout", request).completed
    place.write_text('{"after": 40}')
    found = run(language, "read", journaled, journaled.name, str(place))
    assert found.returncode == 0, found.stderr
    lines = [f"{number} {number}" for number in range(41, 251)]
    assert found.stdout.splitlines() == [*lines, f"251 {MEMO}", "252 hello"]
    assert run(language, "read", journaled, journaled.name, str(place)).stdout == ""


def test_a_reader_that_waits_is_given_what_comes(
    journaled: Topic, start: Start, language: Language, place: Path
) -> None:
    journaled.publish("The canteen is closed.", background=True)
    reader = start(Waiting(journaled, str(place), language))
    assert reader.log == "1 The canteen is closed.\n"
    journaled.publish('Żółw said: "¡adiós!"', background=True)
    eventually(lambda: reader.log.endswith('\n2 Żółw said: "¡adiós!"\n'))


def test_a_reader_says_what_has_ended_before_it_came(
    journaled: Topic, language: Language, place: Path
) -> None:
    state = f"few-{journaled.name}"
    for payload in ("stuck", "runs"):
        journaled.client.submit("fanout", json.dumps({"topic": state, "payload": payload}))
    found = run(language, "read", journaled, state, str(place))
    assert (found.returncode, found.stdout) == (0, "2 runs\n"), found
    assert "trimmed" in found.stderr
    again = run(language, "read", journaled, state, str(place))
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_a_place_in_another_journal_counts_as_none(
    journaled: Topic, language: Language, place: Path
) -> None:
    journaled.publish("The lift is stuck.", background=True)
    place.write_text('{"after": 41, "journal": "0"}')
    found = run(language, "read", journaled, journaled.name, str(place))
    assert (found.returncode, found.stdout) == (0, "1 The lift is stuck.\n"), found
    assert "reset" in found.stderr
    assert json.loads(place.read_text())["after"] == 1


def test_bytes_are_decoded_but_in_a_shell(
    journaled: Topic, start: Start, language: Language, place: Path
) -> None:
    payload = base64.b64encode(b"a\xff").decode()
    journaled.publish(payload, encoding="base64", background=True)
    reader = start(Waiting(journaled, str(place), language))
    # The log replaces what is no UTF-8, and so does Node's template.
    shown = payload if language.folder == "shell" else "a\ufffd"
    assert reader.log == f"1 {shown}\n"


def test_an_example_says_that_a_topic_has_no_journal(
    topic: Topic, language: Language, place: Path
) -> None:
    for name, *arguments in (
        ("read", str(place)),
        ("post", "The lift runs.", "memo-1"),
        ("subscribe", "bob", "first"),
    ):
        refused = run(language, name, topic, topic.name, *arguments)
        assert refused.returncode != 0
        assert "no journal" in refused.stderr, refused
    assert not place.exists() or json.loads(place.read_text()) == {"after": 0}
