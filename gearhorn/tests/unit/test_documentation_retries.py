# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The pages on retries and dead letters say what the code does."""

from __future__ import annotations

import json

import pytest

from gearhorn.client import dead_letters, retries
from gearhorn.tests.unit.test_client_retries import letter
from gearhorn.tests.unit.test_documentation import PAGES, PROTOCOL, between, first_column, words

pytestmark = pytest.mark.once


def test_every_key_of_a_dead_letter_and_no_other_stands_on_the_protocol_page() -> None:
    whole = letter(b"\xff")
    numbered = letter(b"", unique=b"j.65f0.12.1")
    requests = (whole.request, whole.short_request(), numbered.request)
    shown = [json.loads(request.encode())["payload"] for request in requests]
    keys = {*shown[0], *shown[1], *shown[2]}
    assert sorted(first_column(between(PROTOCOL, "keys of dead letters"))) == sorted(keys)


def test_the_limits_that_are_named_are_those_of_the_code() -> None:
    assert f"at most {dead_letters.MAX_ERROR_CHARACTERS} characters" in words(PROTOCOL)
    assert retries.MAX_PAUSE_S == 5 * 60
    assert "to five minutes at most" in words(PAGES["howto/python"])


def test_the_sum_of_pauses_that_is_named_is_that_of_the_code() -> None:
    whole = sum(2.0**number for number in range(3))
    text = f"a message fails for good after {whole / 2} to {whole:g} seconds"
    assert f"With ``retries=3, backoff=1`` {text}" in words(PAGES["howto/python"])
