# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Every promise and every fault has evidence: tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import gearhorn

pytestmark = pytest.mark.once

PACKAGE = Path(gearhorn.__file__).parent
EXPLANATION = PACKAGE.parent / "doc" / "source" / "explanation"
PROMISES, FAULTS, EVIDENCE = (
    (EXPLANATION / f"{name}.rst").read_text("utf-8") for name in ("promises", "faults", "evidence")
)


def defined() -> set[str]:
    """All tests, as FILE.FUNCTION."""
    return {
        f"{path.stem}.{node.name}"
        for path in (PACKAGE / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def sections(page: str, underline: str) -> dict[str, str]:
    """Return the text under each title with that underline, up to the next title."""
    parts = re.split(rf"^(\S.*)\n\{underline}{{4,}}\n", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"^\* ``(\S+)``$", EVIDENCE, re.MULTILINE)
    assert len(named) > 100
    assert set(named) - defined() == set()


def test_tests_are_named_as_evidence_only() -> None:
    for page in EXPLANATION.parent.rglob("*.rst"):
        if page.stem not in ("evidence", "contributing"):
            assert not re.search(r"``test_\w+\.test_\w+``", page.read_text("utf-8")), page


def test_every_promise_and_every_fault_has_evidence() -> None:
    promises, faults = sections(PROMISES, "-"), sections(FAULTS, ".")
    assert len(promises) > 5
    assert len(faults) > 20
    evidence = sections(EVIDENCE, ".")
    assert [*evidence] == [*promises, *faults]
    for title, text in evidence.items():
        assert re.search(r"^\* ``test_", text, re.MULTILINE), title


def test_every_fault_says_what_is_seen_kept_and_done() -> None:
    for title, text in sections(FAULTS, ".").items():
        fields = re.findall(r"^:([\w ]+):", text, re.MULTILINE)
        assert fields == ["Users see", "Is kept", "What to do"], title
