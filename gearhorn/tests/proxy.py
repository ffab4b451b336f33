# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that cuts, delays, stalls and truncates, for tests.

It stands between a client and a server as a network does: ``Proxy(server.port)`` listens on a
port of its own. What it does to connections can be changed at any time, from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable

from gearhorn.tests.closing import Closing
from gearhorn.tests.listening import close_server
from gearhorn.tests.processes import free_port

_CHUNK = 65536


class Proxy(Closing):
    """Passes bytes on to ``target_port``, as long as it is told to."""

    host = "127.0.0.1"

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.target_port = target_port
        self.delay_s = 0.0
        """The delay of what the server sends."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._listening: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._flowing = asyncio.Event()
        self._connected = 0
        self._budget: int | None = None
        self._request_budget: int | None = None
        self._flowing.set()
        self._thread.start()
        self._do(self._listen)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL of the store, where it stands before a Redis."""
        return f"redis://{self.address}/0"

    @property
    def connected(self) -> int:
        """The number of connections made through it so far."""
        return self._connected

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._do(self._unlisten)
        self.reset()

    def mend(self) -> None:
        """Take connections again, and let everything flow."""
        self._do(self._flow)
        self._do(self._listen)

    def reset(self) -> None:
        """Reset all connections; new ones are taken."""
        self._do(self._reset)

    def stall(self) -> None:
        """Pass nothing on and close nothing, as a cable that was pulled out."""
        self._do(self._hold)

    def resume(self) -> None:
        """Pass on what was held back, and all that follows."""
        self._do(self._flow)

    def truncate(self, after_bytes: int) -> None:
        """Reset the connection in which the server sends so many more bytes, in their middle."""
        self._budget = after_bytes

    def stall_after(self, request_bytes: int) -> None:
        """Stall once clients have sent so many more bytes, all connections together."""
        self._request_budget = request_bytes

    @property
    def stalled(self) -> bool:
        return not self._flowing.is_set()

    def close(self) -> None:
        """End it, and all its connections."""
        if self._loop.is_closed():
            return
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # In the thread of the proxy.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        # Transports close their sockets in the next turns.
        self._loop.run_until_complete(asyncio.sleep(0.01))

    def _do(self, action: Callable[[], object]) -> None:
        """Have the thread do ``action`` and wait for it."""

        async def act() -> None:
            result = action()
            if asyncio.iscoroutine(result):
                await result

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)

    async def _listen(self) -> None:
        if self._listening is None:
            self._listening = await asyncio.start_server(self._accept, self.host, self.port)

    async def _unlisten(self) -> None:
        if self._listening is not None:
            server, self._listening = self._listening, None
            await close_server(server)

    def _reset(self) -> None:
        for link in list(self._links):
            link.reset()

    def _hold(self) -> None:
        self._flowing.clear()

    def _flow(self) -> None:
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connected += 1
        link = _Link(writer)
        self._links.add(link)
        try:
            # While it stalls, nobody answers a new connection either.
            await self._flowing.wait()
            other_reader, other_writer = await asyncio.open_connection(self.host, self.target_port)
            link.add(other_writer)
            # Cut while it was made.
            if self._listening is None:
                link.reset()
            directions = [
                asyncio.ensure_future(self._pass(reader, other_writer, from_server=False)),
                asyncio.ensure_future(self._pass(other_reader, writer, from_server=True)),
            ]
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            link.close()
            # Nothing else refers to the one that still waits.
            for direction in directions:
                direction.cancel()
        except OSError:
            pass
        finally:
            self._links.discard(link)
            if not writer.is_closing():
                link.reset()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool
    ) -> None:
        try:
            while data := await reader.read(_CHUNK):
                if from_server and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flowing.wait()
                if not from_server and self._request_budget is not None:
                    data = await self._pass_within_budget(data, writer)
                if from_server and self._budget is not None:
                    data, cut = data[: self._budget], len(data) > self._budget
                    self._budget = None if cut else self._budget - len(data)
                    if cut:
                        writer.write(data)
                        await writer.drain()
                        return
                writer.write(data)
                await writer.drain()
        except OSError:
            pass

    async def _pass_within_budget(self, data: bytes, writer: asyncio.StreamWriter) -> bytes:
        """Pass on what may pass before it stalls; what is to follow when it goes on."""
        assert self._request_budget is not None
        now, later = data[: self._request_budget], data[self._request_budget :]
        self._request_budget -= len(now)
        if not later:
            return now
        self._request_budget = None
        writer.write(now)
        self._flowing.clear()
        await self._flowing.wait()
        return later


class _Link:
    """A connection to the proxy and the one that it made for it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writers = [writer]

    def add(self, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)

    def reset(self) -> None:
        for writer in self._writers:
            _reset_connection(writer)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def _reset_connection(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None:
        # With no time to linger, closing sends RST instead of FIN. It may be closed already.
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
