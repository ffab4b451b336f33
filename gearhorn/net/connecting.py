# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""TCP connections to hosts that may have several addresses."""

import socket

import aiohappyeyeballs

from gearhorn.net.resolver import resolve

NEXT_ADDRESS_S = 0.25
"""After how long without an answer the next address is tried beside the first:
what RFC 8305, "Happy Eyeballs", recommends."""


async def open_socket(host: str, port: int) -> socket.socket:
    """Connect to the first address of ``host`` that answers.

    The socket does not block, and delays no small packet (TCP_NODELAY).

    :raises OSError: none answers.
    :raises UnicodeError: ``host`` cannot be the name of a host.
    """
    addresses = await resolve(host, port)
    connected = await aiohappyeyeballs.start_connection(
        addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1
    )
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected
