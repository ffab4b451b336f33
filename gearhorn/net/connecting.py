# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""TCP connections to hosts that may have several addresses."""

import os
import socket
import ssl

import aiohappyeyeballs

from gearhorn.net.resolver import resolve

NEXT_ADDRESS_S = 0.25
"""After how long without an answer the next address is tried beside the first:
what RFC 8305, "Happy Eyeballs", recommends."""


async def open_socket(host: str, port: int) -> socket.socket:
    """Connect to the first address of ``host`` that answers.

    The socket does not block, and delays no small packet (TCP_NODELAY).

    :raises OSError: none answers; its text is that of the system.
    :raises UnicodeError: ``host`` cannot be the name of a host.
    """
    addresses = await resolve(host, port)
    try:
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1
        )
    except OSError as error:
        if not error.errno:
            raise
        # asyncio's own has "Connect call failed" instead.
        raise OSError(error.errno, os.strerror(error.errno)) from error
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def describe(error: BaseException) -> str:
    """Return why a connection failed, in words without a number; empty if nothing says."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return in_a_sentence(error.strerror)
    return str(error)


def in_a_sentence(text: str) -> str:
    """Return a system's words, such as "Connection refused", as they stand after others."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
