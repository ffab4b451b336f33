# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The pages of the client library say what the code does.

Signatures, types and errors are taken from the code when the pages are built.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gearhorn
from gearhorn import (
    AsyncPublisher,
    AsyncReader,
    AsyncSubscriber,
    FanOutReport,
    Publisher,
    Reader,
    Subscriber,
    errors,
)
from gearhorn.client.parameters import CHECK_INTERVAL_S

pytestmark = pytest.mark.once

ROOT = Path(gearhorn.__file__).parents[1]
REFERENCE = (ROOT / "doc/source/reference/python.rst").read_text("utf-8")
JOURNALS = (ROOT / "doc/source/howto/journals.rst").read_text("utf-8")
GUIDE = (ROOT / "doc/source/howto/python.rst").read_text("utf-8")


def parameters(function: Callable[..., Any]) -> dict[str, str]:
    """Names and defaults; `self` is none."""
    return {
        name: "" if parameter.default is parameter.empty else repr(parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Publisher, AsyncPublisher),
        (Publisher.publish, AsyncPublisher.publish),
        (Publisher.publish_many, AsyncPublisher.publish_many),
        (Subscriber, AsyncSubscriber),
        (Reader, AsyncReader),
    ],
)
def test_both_kinds_speak_the_same_words(one: Any, other: Any) -> None:
    assert parameters(one) == parameters(other)


def test_every_public_name_and_no_other_is_taken_from_the_code() -> None:
    found = r"^\.\. auto(?:class|function):: gearhorn\.(\w+)(?:\(\))?$"
    taken = re.findall(found, REFERENCE, re.MULTILINE)
    # The root of the errors stands with these.
    assert sorted([*taken, "GearhornError"]) == sorted(gearhorn.__all__)
    assert re.findall(r"^\.\. automodule:: (\S+)", REFERENCE, re.MULTILINE) == ["gearhorn.errors"]


@pytest.mark.parametrize("name", ["Publisher", "AsyncPublisher", "Subscriber", "AsyncSubscriber"])
def test_every_public_method_is_taken_from_the_code(name: str) -> None:
    options = re.split(rf"autoclass:: gearhorn\.{name}\n", REFERENCE)[1].partition("\n\n")[0]
    (listed,) = re.findall(r":members: (.*)", options)
    kind = getattr(gearhorn, name)
    methods = {
        method
        for method, function in vars(kind).items()
        if inspect.isfunction(function) and not method.startswith("_")
    }
    # What the parts of the library use of each other is not for its users.
    assert methods - {"start", "forked"} <= set(listed.split(", "))
    # `on` and `off` are of the class that both subscribers share.
    assert (":inherited-members:" in options) == hasattr(kind, "on")


def test_the_page_on_journals_names_what_can_go_wrong_with_a_position() -> None:
    for error in (errors.PositionInUse, errors.PositionUnreadable):
        assert f"``{error.__name__}``" in JOURNALS
    assert f"Every ``check_interval`` ({CHECK_INTERVAL_S:g}) seconds" in JOURNALS


def test_every_key_of_a_report_is_described() -> None:
    options = REFERENCE.partition("autoclass:: gearhorn.FanOutReport()\n")[2].partition("\n\n")[0]
    (listed,) = re.findall(r":members: (.*)", options)
    assert listed.split(", ") == [*FanOutReport.__struct_fields__]
    for key in FanOutReport.__struct_fields__:
        assert key == "topic" or f"``{key}``" in str(FanOutReport.__doc__)


def test_the_guide_names_what_can_be_used_and_what_can_go_wrong() -> None:
    for name in ("Publisher", "AsyncPublisher", "Subscriber", "AsyncSubscriber"):
        assert f"``{name}``" in GUIDE
    for error in (
        errors.RequestError,
        errors.PartialFailure,
        errors.NoServer,
        errors.NoAnswer,
        errors.NotQueued,
        errors.BadAnswer,
        errors.Closed,
        errors.WrongThread,
        errors.WrongLoop,
    ):
        assert f"``{error.__name__}``" in GUIDE


def test_every_example_stands_in_a_guide() -> None:
    pages = GUIDE + JOURNALS
    pages += (ROOT / "doc/source/howto/poisonous-messages.rst").read_text("utf-8")
    for path in (ROOT / "doc/examples").glob("*.py"):
        assert f"../examples/{path.name}" in pages
