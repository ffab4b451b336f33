# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The state of the daemon as its service manager shows it: ``STATUS=``."""

import asyncio

from gearhorn.daemon.daemon import Daemon
from gearhorn.service.health import readiness
from gearhorn.service.notify import Notifier

LOOK_S = 1.0
"""Seconds between two looks. Nothing is sent while the state is the same."""


class States:
    """Tells the service manager each state of the daemon, if there is a manager."""

    def __init__(self, daemon: Daemon, notifier: Notifier) -> None:
        self._daemon = daemon
        self._notifier = notifier
        self._told = ""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Tell it from now on."""
        if self._notifier.is_heard:
            self._look()

    def close(self) -> None:
        """Tell no more."""
        if self._timer is not None:
            self._timer.cancel()

    def text(self) -> str:
        """Return the state in a sentence."""
        daemon = self._daemon
        _, _, *parts = readiness(daemon)
        wrong = [check.text for check in parts if not check.ok]
        if daemon.draining:
            workers = daemon.survey.workers
            held = sum(one.held for one in (workers.fanouts, workers.requests, workers.queries))
            return f"draining: {held} jobs in hand"
        if not daemon.started:
            return f"starting: {'; '.join(wrong) or 'it joins the other daemons'}"
        serving = f"serving as {daemon.worker_id}"
        return f"{serving}, but {'; '.join(wrong)}" if wrong else serving

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        text = self.text()
        if text != self._told and self._notifier.status(text):
            self._told = text
