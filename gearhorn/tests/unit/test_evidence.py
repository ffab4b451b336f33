# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Every test that the documentation names as evidence is there, and every promise has some."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import gearhorn

pytestmark = pytest.mark.once

PACKAGE = Path(gearhorn.__file__).parent
DOCUMENTATION = PACKAGE.parent / "doc" / "source"
PAGES = {
    name: (DOCUMENTATION / f"{name}.rst").read_text("utf-8") for name in ("promises", "faults")
}


def defined() -> set[str]:
    """All tests, as FILE.FUNCTION."""
    return {
        f"{path.stem}.{node.name}"
        for path in (PACKAGE / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def sections(page: str, underline: str) -> dict[str, str]:
    """What stands under each title with that underline, up to the next title."""
    parts = re.split(rf"^(\S.*)\n\{underline}{{4,}}\n", PAGES[page], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page: str) -> None:
    named = re.findall(r"``(test_\w+\.test_\w+)``", PAGES[page])
    assert len(named) > 20
    assert set(named) - defined() == set()


def test_every_promise_has_evidence() -> None:
    promises = sections("promises", "-")
    assert len(promises) > 5
    for title, text in promises.items():
        assert re.search(r"^:Evidence: ``test_", text, re.MULTILINE), title


def test_every_fault_says_what_is_seen_kept_and_done() -> None:
    faults = sections("faults", ".")
    assert len(faults) > 20
    for title, text in faults.items():
        fields = re.findall(r"^:([\w ]+):", text, re.MULTILINE)
        assert fields == ["Users see", "Is kept", "An operator", "Tests"], title
        assert "``test_" in text.partition(":Tests:")[2], title
