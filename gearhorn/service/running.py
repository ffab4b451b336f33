# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A daemon run as a process: signals, and messages to the service manager."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from types import FrameType

from gearhorn import clock
from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service import report
from gearhorn.service.notify import Notifier
from gearhorn.service.states import States
from gearhorn.service.switch import HttpSettings, Switch
from gearhorn.tasks import Tasks

LOG = logging.getLogger(__name__)

OnReload = Callable[[Daemon, Switch], Awaitable[None]]

SECOND_SIGNAL_S = 0.2
"""A signal within this many seconds of the first counts as the same."""


async def run(
    settings: DaemonSettings,
    http: HttpSettings | None = None,
    *,
    on_ready: Callable[[], None] = lambda: None,
    on_reload: OnReload | None = None,
) -> None:
    """Run a daemon until a signal comes, and let it drain.

    :param http: where probes, metrics and a page are served, if they are.
    :param on_ready: called once the daemon serves.
    :param on_reload: awaited at SIGHUP, unless a terminal may have sent that.
    :raises StoreMisconfigured: the store cannot be used as configured.
    :raises ConfigurationError: HTTP cannot be served there.
    """

    def ready() -> None:
        notifier.ready(f"serving as {daemon.worker_id}")
        on_ready()

    notifier = Notifier()
    daemon = Daemon(settings, on_ready=ready, on_stopping=notifier.stopping)
    states = States(daemon, notifier)
    switch = Switch(daemon)
    again = _Again(daemon, switch, notifier, states, on_reload)
    notifier.start_watchdog()
    _Signals(daemon.stop, again.soon, lambda: report.write(daemon)).catch()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(switch.close)
        async with again.lock:
            await switch.apply(http, switch.bind(http))
        stack.push_async_callback(again.close)
        states.start()
        stack.callback(states.close)
        await daemon.run()


class _Again:
    """The reading of the configuration again, one time after the other.

    :param on_reload: reads it, and puts it into force.
    """

    def __init__(
        self,
        daemon: Daemon,
        switch: Switch,
        notifier: Notifier,
        states: States,
        on_reload: OnReload | None,
    ) -> None:
        self._daemon = daemon
        self._switch = switch
        self._notifier = notifier
        self._states = states
        self._on_reload = on_reload
        self._due = False
        self.lock = asyncio.Lock()
        """Held by whoever changes what is in force."""
        self._tasks = Tasks()

    def soon(self) -> None:
        """Read it once what is under way has ended; one reading does for several signals."""
        if not self._due:
            self._due = True
            self._tasks.start(self._read())

    async def _read(self) -> None:
        async with self.lock:
            self._due = False
            # A manager takes both for another state than that of starting or stopping.
            serves = self._daemon.started and not self._daemon.draining
            if serves:
                self._notifier.reloading()
            try:
                if self._on_reload is not None:
                    await self._on_reload(self._daemon, self._switch)
            finally:
                if serves:
                    self._notifier.ready(self._states.text())

    async def close(self) -> None:
        """Read it no more."""
        await self._tasks.cancel()


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
    """Do not end at SIGHUP and SIGUSR1, and act on them once the loop runs."""
    if signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, _pass_over)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL and not has_terminal():
        signal.signal(signal.SIGHUP, _pass_over)


_early: set[int] = set()
"""The signals that came before the loop ran."""


def _pass_over(number: int, frame: FrameType | None) -> None:
    _early.add(number)


class _Signals:
    """Handlers that stop at the first signal, and exit at once at the second.

    :param stop: called at the first signal.
    :param reload: called at SIGHUP, unless that means that the terminal is gone.
    :param report: called at SIGUSR1.
    """

    def __init__(
        self, stop: Callable[[], None], reload: Callable[[], None], report: Callable[[], None]
    ) -> None:
        self._stop = stop
        self._reload = reload
        self._report = report
        self._first_at: float | None = None

    def catch(self) -> None:
        """Handle the signals that a service gets."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A process that a shell runs in the background ignores SIGINT.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._signalled, number)
        loop.add_signal_handler(signal.SIGUSR1, self._report)
        if signal.SIGUSR1 in _early:
            self._report()
        # And one that runs under nohup SIGHUP.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            if has_terminal():
                loop.add_signal_handler(signal.SIGHUP, self._signalled, signal.SIGHUP)
            else:
                loop.add_signal_handler(signal.SIGHUP, self._reload)
                if signal.SIGHUP in _early:
                    # The file may have changed after it was read.
                    self._reload()

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
