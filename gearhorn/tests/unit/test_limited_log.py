# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Warnings of which a few are logged in each period."""

from __future__ import annotations

import asyncio
import functools
import logging

import pytest

from gearhorn.daemon import limited_log
from gearhorn.daemon.limited_log import LINES, LimitedLog


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_further_lines_of_a_code_are_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_log, "PERIOD_S", 0.1)
    log = LimitedLog()
    made: list[int] = []

    def line(number: int) -> str:
        made.append(number)
        return f"line {number}"

    for number in range(1000):
        log.log(logging.WARNING, "one_code", functools.partial(line, number))
    log.log(logging.WARNING, "another", lambda: "of its own")
    assert lines(caplog) == [
        *(f"one_code: line {number}" for number in range(LINES)),
        "another: of its own",
    ]
    # Nothing is formatted for lines that nobody sees.
    assert made == list(range(LINES))
    caplog.clear()
    await asyncio.sleep(0.2)
    assert lines(caplog) == [f"one_code: {1000 - LINES} more in the last 0.1 seconds"]
    # A new period has lines again, and one that is quiet says nothing at its end.
    caplog.clear()
    log.log(logging.WARNING, "one_code", lambda: "again")
    await asyncio.sleep(0.2)
    assert lines(caplog) == ["one_code: again"]


async def test_at_the_end_what_was_not_logged_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = LimitedLog()
    for _ in range(LINES + 2):
        log.log(logging.WARNING, "one_code", lambda: "line")
    caplog.clear()
    log.close()
    log.close()
    assert lines(caplog) == ["one_code: 2 more in the last 60 seconds"]


async def test_an_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    LimitedLog().log(logging.ERROR, "one_code", lambda: "line", ValueError("no"))
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
