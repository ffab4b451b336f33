# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages to the service manager about the state of the daemon.

The protocol is that of sd_notify(3): a datagram to the socket that
``NOTIFY_SOCKET`` names. Without that variable nothing is sent.
"""

import asyncio
import logging
import os
import socket

LOG = logging.getLogger(__name__)


def _send(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError as error:
            LOG.warning("could not tell the service manager %r: %s", state, error)


def ready(status: str) -> None:
    """Say that the daemon serves."""
    _send(f"READY=1\nSTATUS={status}")


def stopping() -> None:
    """Say that the daemon has begun to stop."""
    _send("STOPPING=1")


def start_watchdog(loop: asyncio.AbstractEventLoop) -> None:
    """Tell the watchdog, if there is one, from now on that ``loop`` runs."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if microseconds.isdigit() and int(microseconds):
        _pat(loop, int(microseconds) / 1e6 / 2)


def _pat(loop: asyncio.AbstractEventLoop, interval_s: float) -> None:
    _send("WATCHDOG=1")
    loop.call_later(interval_s, _pat, loop, interval_s)
