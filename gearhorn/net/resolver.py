# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Name lookups, each in a thread of its own."""

import asyncio
import encodings.idna  # noqa: F401 - at once, as a user may not reach it later
import ipaddress
import os
import socket
import threading
from concurrent.futures import Future
from typing import Any, TypeAlias

AddressInfo: TypeAlias = tuple[int, int, int, str, Any]
"""An address as ``socket.getaddrinfo()`` gives it."""

_Lookup = Future[list[AddressInfo]]

_lock = threading.Lock()
_under_way: dict[tuple[str, int], _Lookup] = {}
"""The lookups that have not ended, which whoever asks for the same name joins:
there are no more threads than names, however long they take."""


async def resolve(host: str, port: int) -> list[AddressInfo]:
    """Return the TCP addresses of ``host``, the preferred one first.

    :raises OSError: there is none, or it cannot be looked up now.
    :raises UnicodeError: it cannot be the name of a host.
    """
    if _is_numeric(host):
        # Takes no time, and works on a machine that has no resolver.
        return _look_up(host, port, socket.AI_NUMERICHOST)
    try:
        lookup = _join(host, port)
    except RuntimeError as error:
        # Python 3.12 starts no thread once the main thread has ended.
        if not threading.main_thread().is_alive():
            return _look_up(host, port)
        raise OSError(f"{host} cannot be looked up: {error}") from None
    # The future can be cancelled, the thread goes on: others may wait for it.
    return await asyncio.wrap_future(lookup)


def _is_numeric(host: str) -> bool:
    try:
        # An IPv6 address may name its interface behind a percent sign.
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _look_up(host: str, port: int, flags: int = 0) -> list[AddressInfo]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    if not found:
        raise OSError(f"{host} has no address")
    return list(found)


def _join(host: str, port: int) -> _Lookup:
    with _lock:
        lookup = _under_way.get((host, port))
        if lookup is None:
            lookup = _start(host, port)
    return lookup


def _start(host: str, port: int) -> _Lookup:
    """Look up a name in a thread.

    :raises RuntimeError: there are too many threads, or the program is about to end.
    """
    lookup: _Lookup = Future()
    # From here on nobody who waits for it can cancel it for the others.
    lookup.set_running_or_notify_cancel()

    def work() -> None:
        try:
            found = _look_up(host, port)
        except Exception as error:
            _end(host, port)
            lookup.set_exception(error)
        else:
            _end(host, port)
            lookup.set_result(found)

    threading.Thread(target=work, name=f"gearhorn lookup of {host}", daemon=True).start()
    _under_way[host, port] = lookup
    return lookup


def _end(host: str, port: int) -> None:
    with _lock:
        _under_way.pop((host, port), None)


def _forget() -> None:
    """Forget the lookups in a process that was forked, which has none of the threads."""
    global _lock
    _lock = threading.Lock()
    _under_way.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
