# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Addresses of job servers."""

from collections.abc import Iterable, Sequence

import msgspec

from gearhorn import errors

DEFAULT_PORT = 4730


class Address(msgspec.Struct, frozen=True):
    """The host and port of a job server."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address in ``host:port``, ``host``, ``[v6]:port`` or ``[v6]``.

        The port is 4730 unless given.

        :raises InvalidServer: the text is none of these.
        """
        text = text.strip()
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            colon, port = rest[:1], rest[1:]
            sound = bool(bracket) and colon in ("", ":")
        else:
            host, colon, port = text.partition(":")
            sound = True
        if not colon:
            port = str(DEFAULT_PORT)
        if (
            not sound
            or not host
            or " " in host
            or not host.isprintable()
            or not (port.isascii() and port.isdigit() and len(port) < 10)
            or not 0 < int(port) < 65536
        ):
            raise errors.InvalidServer(
                f"{text!r} is no job server address: write host:port, "
                "with an IPv6 address in brackets, and commas between several"
            )
        return cls(host, int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_addresses(texts: Iterable[str]) -> Sequence[Address]:
    """Return the addresses in ``texts``, each once.

    :raises InvalidServer: a text is not an address, or there is none.
    """
    addresses = tuple(dict.fromkeys(Address.parse(text) for text in texts))
    if not addresses:
        raise errors.InvalidServer("name at least one job server")
    return addresses
