# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Catching up in other languages, with the clients that everybody has."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearhorn.tests.builders import message
from gearhorn.tests.functional.conftest import Topic
from gearhorn.tests.functional.languages import LANGUAGES, Language
from gearhorn.tests.functional.test_languages import MEMO, run

pytestmark = pytest.mark.once

PAGE = (Path(__file__).parents[3] / "doc/source/reference/protocol.rst").read_text("utf-8")


@pytest.fixture(params=["PHP", "Perl", "Node"])
def language(request: pytest.FixtureRequest) -> Language:
    found = LANGUAGES[request.param]
    found.require()
    return found


def test_the_example_reads_what_came_after_a_message(journaled: Topic, language: Language) -> None:
    handles = [journaled.start(str(number), background=True) for number in range(1, 251)]
    assert all(journaled.client.finish(handle).completed for handle in handles)
    assert journaled.publish(MEMO, background=True).completed
    request = message(journaled.name, "aGVsbG8=", encoding="base64", background=True)
    assert journaled.client.submit("fanout", request).completed
    read = run(language, "catchup", journaled, journaled.name, "40")
    assert read.returncode == 0, read.stderr
    lines = [f"{number} {number}" for number in range(41, 251)]
    assert read.stdout.splitlines() == [*lines, f"251 {MEMO}", "252 hello"]
    assert run(language, "catchup", journaled, journaled.name, "252").stdout == ""


def test_the_example_says_why_it_cannot(topic: Topic, language: Language) -> None:
    refused = run(language, "catchup", topic, topic.name, "0")
    assert refused.returncode != 0
    assert "journal" in refused.stderr


def test_the_page_shows_it(language: Language) -> None:
    path = f"../../examples/{language.folder}/catchup.{language.suffix}"
    assert f".. literalinclude:: {path}\n" in PAGE
