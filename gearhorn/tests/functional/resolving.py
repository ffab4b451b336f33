# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Names that resolve as a test needs, in programs and daemons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gearhorn.tests.functional.programs import patched

HANGS = "hang.invalid"
"""A name, as all that end with it, for which the resolver has no answer for more than a minute."""

_RESOLVER = """
import socket, time

known = {known!r}
real = socket.getaddrinfo


def getaddrinfo(host, port, *args, **options):
    if host.endswith({hangs!r}):
        time.sleep(100)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    if host in known:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))
            for address in known[host]
        ]
    return real(host, port, *args, **options)


socket.getaddrinfo = getaddrinfo
"""


def resolving(directory: Path, known: Mapping[str, Sequence[str]] | None = None) -> dict[str, str]:
    """Return an environment in which names have these addresses, and others hang."""
    return patched(directory, _RESOLVER.format(known=dict(known or {}), hangs=HANGS))
