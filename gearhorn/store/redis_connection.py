# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Connections for redis-py that go through ``net``, as those to job servers do.

The calls of scripts are packed by hiredis. redis-py packs them in Python, argument by argument,
which takes the daemon longer than all else that it does for a call with many.
"""

import socket
from collections.abc import Callable
from typing import Any

import async_timeout
from redis.asyncio import connection, sentinel

from gearhorn.net.connecting import open_socket
from gearhorn.net.tls import TLSFiles

_pack: Callable[[Any], bytes] | None = None
try:
    import hiredis
except ImportError:
    pass
else:
    # From its release 2.2 on.
    _pack = getattr(hiredis, "pack_command", None)

_OF_SCRIPTS = frozenset({"EVALSHA", "EVAL"})


class _Packing(connection.AbstractConnection):
    """The base of all: how a command becomes bytes."""

    def pack_command(self, *args: Any) -> list[bytes]:
        # In those, all arguments are text in UTF-8, bytes and whole numbers.
        if _pack is not None and args[0] in _OF_SCRIPTS:
            return [_pack(args)]
        packed: list[bytes] = super().pack_command(*args)
        return packed


class ReachedSocket(_Packing, connection.UnixDomainSocketConnection):
    """A connection by a Unix socket."""


class Reached(_Packing, connection.Connection):
    """A connection by TCP, or by TLS if there are ``tls_files``.

    redis-py itself would leave the name to asyncio, try one address, and read the
    files once.
    """

    def __init__(self, *, tls_files: TLSFiles | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._tls_files = tls_files
        self._reached: socket.socket | None = None

    async def _connect(self) -> None:
        async with async_timeout.timeout(self.socket_connect_timeout):
            self._reached = await open_socket(self.host, self.port)
        try:
            await super()._connect()  # type: ignore[no-untyped-call]
        except BaseException:
            self._reached.close()
            raise

    def _connection_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {"sock": self._reached}
        if self._tls_files is not None:
            arguments["ssl"] = self._tls_files.context()
            arguments["server_hostname"] = self.host
        return arguments


class ReachedMaster(Reached, sentinel.SentinelManagedConnection):
    """A connection to the master that the Sentinels name."""
