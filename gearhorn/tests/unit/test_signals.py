# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Signals that come before the loop of the daemon runs."""

from __future__ import annotations

import asyncio
import signal

import pytest

from gearhorn.service import running


@pytest.mark.parametrize("early", [False, True])
async def test_a_hangup_that_came_early_is_acted_on_once_the_loop_runs(
    early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "has_terminal", lambda: False)
    monkeypatch.setattr(running, "_early", set())
    if early:
        running._pass_over(signal.SIGHUP, None)
    read: list[bool] = []
    signals = running._Signals(lambda: None, lambda: read.append(True), lambda: None)
    try:
        signals.catch()
        assert bool(read) is early
    finally:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            loop.remove_signal_handler(number)
