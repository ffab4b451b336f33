# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Lines of the log that hold what a stranger has named."""

from __future__ import annotations

import logging

import pytest

from gearhorn.service import logs


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("memos", "memos"),
        ("rtl\u202eevil", r"rtl\u202eevil"),
        ("a\x1b[2Jb\nc", r"a\x1b[2Jb\nc"),
        ("100%s", "100%s"),
        ("\u202e%s", r"\u202e%s"),
    ],
)
def test_what_is_not_printable_is_escaped(name: str, shown: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "queue %s", (name,), None)
    for _ in range(2):
        # Each handler has the filter.
        assert logs._escape(record)
        assert record.getMessage() == f"queue {shown}"


def test_a_line_that_cannot_be_made_is_left_to_the_handler() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "queue %d", ("memos",), None)
    assert logs._escape(record)
