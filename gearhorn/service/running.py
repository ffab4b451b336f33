# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A daemon run as a process: signals, and messages to the service manager."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable

from gearhorn import clock
from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service import notify

LOG = logging.getLogger(__name__)

SECOND_SIGNAL_S = 0.2
"""A signal within this many seconds of the first counts as the same."""


async def run(settings: DaemonSettings, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run a daemon until a signal comes, and let it drain.

    :param on_ready: called once the daemon serves.
    :raises StoreMisconfigured: the store cannot be used as configured.
    """

    def ready() -> None:
        notify.ready(f"serving as {daemon.worker_id}")
        on_ready()

    daemon = Daemon(settings, on_ready=ready, on_stopping=notify.stopping)
    notify.start_watchdog(asyncio.get_running_loop())
    _Signals(daemon.stop).catch()
    await daemon.run()


class _Signals:
    """Handlers that stop at the first signal, and exit at once at the second.

    :param stop: called at the first signal.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._first_at: float | None = None

    def catch(self) -> None:
        """Handle the signals that end a service."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # A process that is detached or runs under nohup ignores SIGHUP.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: int) -> None:
        now = clock.now()
        if self._first_at is None:
            self._first_at = now
            LOG.info("%s: draining", signal.Signals(number).name)
            self._stop()
        # timeout(1), for one, signals the process and then its group.
        elif now - self._first_at > SECOND_SIGNAL_S:
            LOG.warning("second signal: exiting at once")
            logging.shutdown()
            os._exit(128 + number)
