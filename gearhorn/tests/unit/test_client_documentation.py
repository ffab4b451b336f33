# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The page of the client library says what the code does."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gearhorn
from gearhorn import AsyncPublisher, AsyncSubscriber, Publisher, Subscriber, errors

pytestmark = pytest.mark.once

ROOT = Path(gearhorn.__file__).parents[1]
PAGE = (ROOT / "doc" / "source" / "client.rst").read_text("utf-8")
SIGNATURES = [Publisher, Publisher.publish, Publisher.publish_many, Subscriber]


def parameters(function: Callable[..., Any]) -> dict[str, str]:
    """Names and defaults; `self` is none."""
    return {
        name: "" if parameter.default is parameter.empty else repr(parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda f: f.__qualname__)
def test_signatures_are_as_documented(function: Callable[..., Any]) -> None:
    name = function.__name__
    call = re.search(rf"^    (?:publisher\.)?{name}\((.*?)\)(?: ->|$)", PAGE, re.M | re.S)
    assert call is not None
    documented = {}
    for part in call[1].replace("*,", "").split(","):
        key, _, default = part.strip().partition("=")
        documented[key] = repr(eval(default)) if default else ""
    assert documented == parameters(function)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Publisher, AsyncPublisher),
        (Publisher.publish, AsyncPublisher.publish),
        (Publisher.publish_many, AsyncPublisher.publish_many),
        (Subscriber, AsyncSubscriber),
    ],
)
def test_both_kinds_speak_the_same_words(one: Any, other: Any) -> None:
    assert parameters(one) == parameters(other)


def test_public_names_and_errors_stand_on_the_page() -> None:
    for name in gearhorn.__all__:
        assert f"``{name}" in PAGE
    for error in (
        errors.PartialFailure,
        errors.NoServer,
        errors.NoAnswer,
        errors.NotQueued,
        errors.BadAnswer,
    ):
        assert f"``{error.__name__}``" in PAGE


def test_every_example_stands_on_the_page() -> None:
    for path in (ROOT / "doc/examples").glob("*.py"):
        assert f"../examples/{path.name}" in PAGE
