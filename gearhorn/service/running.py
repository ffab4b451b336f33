# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A daemon run as a process: signals, and messages to the service manager."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from types import FrameType
from typing import NamedTuple

from gearhorn import clock
from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service.listening import Listen
from gearhorn.service.notify import Notifier

LOG = logging.getLogger(__name__)

SECOND_SIGNAL_S = 0.2
"""A signal within this many seconds of the first counts as the same."""


class HttpSettings(NamedTuple):
    """Where HTTP is served, and the options that are shown there."""

    listen: Listen
    configuration: Mapping[str, str]


async def run(
    settings: DaemonSettings,
    http: HttpSettings | None = None,
    *,
    on_ready: Callable[[], None] = lambda: None,
    on_reload: Callable[[], None] = lambda: None,
) -> None:
    """Run a daemon until a signal comes, and let it drain.

    :param http: where probes, metrics and a page are served, if they are.
    :param on_ready: called once the daemon serves.
    :param on_reload: called at SIGHUP, unless a terminal may have sent that.
    :raises StoreMisconfigured: the store cannot be used as configured.
    :raises ConfigurationError: HTTP cannot be served there.
    """

    def ready() -> None:
        notifier.ready(f"serving as {daemon.worker_id}")
        on_ready()

    notifier = Notifier()
    daemon = Daemon(settings, on_ready=ready, on_stopping=notifier.stopping)
    notifier.start_watchdog()
    _Signals(daemon.stop, on_reload).catch()
    async with contextlib.AsyncExitStack() as stack:
        if http is not None:
            # Imported here, with what only it needs.
            from gearhorn.service import showing

            await stack.enter_async_context(showing.shown(daemon, http))
        await daemon.run()


def has_terminal() -> bool:
    """Return true if SIGHUP says that the terminal was closed.

    Else it comes from logrotate or the like, and asks for a reload. A service
    manager's word goes before that of a terminal that it may have given.
    """
    if os.environ.get("NOTIFY_SOCKET"):
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def pass_over_hangups() -> None:
    """Ignore SIGHUP until the process can act on it."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL and not has_terminal():
        signal.signal(signal.SIGHUP, _pass_over)


def _pass_over(number: int, frame: FrameType | None) -> None:
    LOG.debug("SIGHUP came too early to act on it")


class _Signals:
    """Handlers that stop at the first signal, and exit at once at the second.

    :param stop: called at the first signal.
    :param reload: called at SIGHUP, unless that means that the terminal is gone.
    """

    def __init__(self, stop: Callable[[], None], reload: Callable[[], None]) -> None:
        self._stop = stop
        self._reload = reload
        self._first_at: float | None = None

    def catch(self) -> None:
        """Handle the signals that a service gets."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A process that a shell runs in the background ignores SIGINT.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._signalled, number)
        # And one that runs under nohup SIGHUP.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            if has_terminal():
                loop.add_signal_handler(signal.SIGHUP, self._signalled, signal.SIGHUP)
            else:
                loop.add_signal_handler(signal.SIGHUP, self._reload)

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
