# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The address of ``[http] listen``, the socket there, and the way to it for ``--probe``."""

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass

from gearhorn import errors
from gearhorn.wire.address import Address

_UNIX = "unix:"
_BACKLOG = 16
# Nothing is bound to by it.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # nosec B104


@dataclass(frozen=True)
class Listen:
    """A TCP address, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """Return the address in ``host:port``, ``[v6]:port`` or ``unix:PATH``.

        :raises ConfigurationError: it is none of these.
        """
        wrong = errors.ConfigurationError(
            f"[http] listen: {text!r} is no address: write 127.0.0.1:PORT, [::1]:PORT or "
            "unix:PATH, with an absolute path"
        )
        if text.startswith(_UNIX):
            path = text.removeprefix(_UNIX)
            if not os.path.isabs(path) or "\0" in path:
                raise wrong
            return cls(path=path)
        if not text.rpartition("]")[2].rpartition(":")[1]:
            raise wrong
        try:
            address = Address.parse(text)
        except errors.InvalidServer:
            raise wrong from None
        return cls(host=address.host, port=address.port)

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}" if self.path else str(Address(self.host, self.port))

    def bind(self) -> socket.socket:
        """Return a socket that listens there.

        :raises ConfigurationError: it is taken, or cannot be listened on.
        """
        try:
            return self._bind_path() if self.path else self._bind_port()
        except OSError as error:
            reason = error.strerror or str(error)
            raise errors.ConfigurationError(f"[http] listen: {self}: {reason}") from None

    def _bind_port(self) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _listening(socket.socket(family, kind, protocol), address)

    def _bind_path(self) -> socket.socket:
        # One that nobody listens on is left from a daemon that was killed.
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(self.path).st_mode) and not self._is_served():
                os.unlink(self.path)
        return _listening(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), self.path)

    def _is_served(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
            attempt.setblocking(False)
            return attempt.connect_ex(self.path) != errno.ECONNREFUSED

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connection to whoever listens there, on this machine.

        :raises OSError: nobody does.
        """
        if self.path:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.settimeout(timeout_s)
            try:
                client.connect(self.path)
            except OSError:
                client.close()
                raise
            return client
        host = _EVERYWHERE.get(self.host, self.host)
        return socket.create_connection((host, self.port), timeout_s)


def _listening(listener: socket.socket, address: object) -> socket.socket:
    try:
        listener.setblocking(False)
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
