# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages to the service manager about the state of the daemon.

The protocol is that of sd_notify(3): a datagram to the socket that
``NOTIFY_SOCKET`` names. Without that variable nothing is sent. A manager that does
not read holds up nothing: a state that it has to know is sent again until it is taken.
"""

import asyncio
import logging
import os
import socket
import time

LOG = logging.getLogger(__name__)

AGAIN_S = 1.0
"""The time, in seconds, after which a state that was not taken is sent again."""


class Notifier:
    """Messages to the service manager of this process, if it has one."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        self._untaken: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._complained = False

    @property
    def is_heard(self) -> bool:
        """True if there is a service manager."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Say that the daemon serves, or does so again after it has reloaded."""
        self._tell(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> bool:
        """Say how the daemon is.

        :returns: false if that was not taken.
        """
        return not self._untaken and self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """Say that the daemon reads its configuration again."""
        # By this a manager knows that it is not the end of an earlier one.
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """Say that the daemon has begun to stop."""
        self._tell("STOPPING=1")

    def start_watchdog(self) -> None:
        """Tell the watchdog, if there is one, from now on that the loop turns."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        if microseconds.isdigit() and int(microseconds):
            self._pat(int(microseconds) / 1e6 / 2)

    def _pat(self, interval_s: float) -> None:
        # One that is not taken is not missed: the next says the same.
        self._send("WATCHDOG=1")
        asyncio.get_running_loop().call_later(interval_s, self._pat, interval_s)

    def _tell(self, state: str) -> None:
        self._untaken.append(state)
        if self._timer is None:
            self._send_untaken()

    def _send_untaken(self) -> None:
        self._timer = None
        while self._untaken and self._send(self._untaken[0]):
            del self._untaken[0]
        if self._untaken:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(AGAIN_S, self._send_untaken)

    def _send(self, state: str) -> bool:
        """Send a state, and return false if it was not taken."""
        if not self._address:
            return True
        fault: OSError | None = None
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), self._address)
        except OSError as error:
            fault = error
        if fault is not None and not self._complained:
            LOG.warning("could not tell the service manager %r: %s", state, fault)
        self._complained = fault is not None
        return fault is None
