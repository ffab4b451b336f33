# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The runbook has an entry for all that an operator is told."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from gearhorn import errors, messages
from gearhorn.cmd.cli import findings
from gearhorn.service import advice
from gearhorn.tests.unit.test_documentation import PAGES, log_lines, subclasses

pytestmark = pytest.mark.once

PAGE = PAGES["howto/runbook"]
LABELS = re.findall(r"^\.\. _([\w-]+):$", PAGE, re.MULTILINE)
SERIOUS = [line for line, level in log_lines().items() if level != "INFO"]


def labels(kind: str) -> list[str]:
    return sorted(label for label in LABELS if label.startswith(f"{kind}-"))


def log_label(line: str) -> str:
    """As the head of the page says: the first six words of what does not vary."""
    return "log-" + "-".join(re.findall("[a-z0-9]+", line.lower())[:6])


def test_each_finding_of_doctor_has_an_entry() -> None:
    checks = {check.name for check in vars(findings).values() if isinstance(check, findings.Check)}
    assert labels("finding") == sorted(f"finding-{name}" for name in checks)
    assert advice.RUNBOOK == "howto/runbook.html"


def test_each_error_code_has_an_entry() -> None:
    classes: list[type[errors.GearhornError]] = [
        errors.GearhornError,
        *subclasses(errors.GearhornError),
    ]
    codes = {one.code for one in classes if "gearhorn.tests" not in one.__module__}
    assert labels("code") == sorted(f"code-{code}" for code in codes)


def test_each_reason_of_a_failed_copy_has_an_entry() -> None:
    assert labels("reason") == sorted(f"reason-{reason}" for reason in messages.REASONS)


def test_each_log_line_of_warning_and_above_has_an_entry() -> None:
    # Where this fails, put the label before the entry that says what to do.
    assert labels("log") == sorted(map(log_label, SERIOUS))
    assert len(set(map(log_label, SERIOUS))) == len(SERIOUS)


def test_no_two_entries_have_one_anchor() -> None:
    # As HTML has them.
    anchors = Counter(label.replace("_", "-") for label in LABELS)
    assert [anchor for anchor, count in anchors.items() if count > 1] == []


def test_each_entry_says_what_it_means_and_what_to_do() -> None:
    entries = re.split(r"^(\S.*)\n\.+\n", PAGE, flags=re.MULTILINE)
    assert len(entries) > 60
    for title, text in zip(entries[1::2], entries[2::2], strict=True):
        assert text.count("\n:Means: ") == text.count("\n:Do: ") == 1, title
