# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""HTTP for probes, metrics and people, answered by the loop itself.

That the loop answers is what a probe of liveness asks. One request for each connection, of
GET or HEAD, and no body is ever read. What is shown comes from elsewhere
(:mod:`gearhorn.service.site`); this module has what keeps a stranger from doing harm: bounds
of size, time and number. (Rejected: aiohttp, ten packages; uvicorn, which owns signals; a
WSGI server in a thread, which would read the loop's state.)
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

import async_timeout
import h11

LOG = logging.getLogger(__name__)

MAX_HEAD_BYTES = 8 * 1024
"""The most bytes of the line and the headers of a request."""
TIMEOUT_S = 5.0
"""The seconds that a request may take, from the connection to the last byte of the answer."""
MAX_CONNECTIONS = 16

TEXT = "text/plain; charset=utf-8"

_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
CLOSED_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What a browser may do with an answer: nothing."""


class Response(NamedTuple):
    """An answer to a request."""

    status: int
    body: bytes
    kind: str = TEXT
    policy: str = CLOSED_POLICY
    headers: Sequence[tuple[str, str]] = ()


def plain(status: int, text: str = "", headers: Sequence[tuple[str, str]] = ()) -> Response:
    """Return an answer with a line of text."""
    return Response(status, f"{text or HTTPStatus(status).phrase}\n".encode(), headers=headers)


Respond = Callable[[str, str], Response | None]
"""Answers a path and a query; ``None`` if there is no such path."""


class Server:
    """A server of HTTP on a socket that listens.

    :param respond: makes the answers. It must not wait.
    """

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._server: asyncio.Server | None = None
        self._path = ""
        self._served: set[asyncio.Task[None]] = set()

    async def start(self, listener: socket.socket) -> None:
        """Serve from now on."""
        if listener.family == socket.AF_UNIX:
            self._path = listener.getsockname()
            self._server = await asyncio.start_unix_server(
                self._accepted, sock=listener, limit=MAX_HEAD_BYTES
            )
        else:
            self._server = await asyncio.start_server(
                self._accepted, sock=listener, limit=MAX_HEAD_BYTES
            )

    async def close(self) -> None:
        """Stop serving; what is under way is cut off."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._served):
            task.cancel()
        await asyncio.gather(*self._served, return_exceptions=True)
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A function, and not a coroutine: the task is to be known from the first moment.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._served.add(task)
        task.add_done_callback(self._served.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with async_timeout.timeout(TIMEOUT_S):
                if len(self._served) > MAX_CONNECTIONS:
                    crowded = plain(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
                    writer.write(_packed(h11.Connection(h11.SERVER), crowded))
                else:
                    # Else drain() would return while much of the answer waits.
                    writer.transport.set_write_buffer_limits(0)
                    writer.write(await self.exchange(reader))
                await writer.drain()
            writer.close()
        except (OSError, asyncio.TimeoutError):
            # Slow, or gone.
            pass
        except Exception:
            LOG.exception("unexpected error in a request over HTTP")
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def exchange(self, reader: asyncio.StreamReader) -> bytes:
        """Read the head of a request, and return the answer; nothing where none came."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        left = MAX_HEAD_BYTES
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                if not left:
                    too_long = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                    raise h11.RemoteProtocolError("too long", error_status_hint=too_long)
                data = await reader.read(left)
                left -= len(data)
                connection.receive_data(data)
        except h11.RemoteProtocolError as error:
            return _packed(connection, plain(error.error_status_hint))
        if not isinstance(event, h11.Request):
            return b""
        is_head = event.method == b"HEAD"
        return _packed(connection, self._answer(event), whole=not is_head)

    def _answer(self, request: h11.Request) -> Response:
        if request.method not in (b"GET", b"HEAD"):
            allowed = [("Allow", "GET, HEAD")]
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, headers=allowed)
        target = request.target.decode("ascii", "replace")
        for scheme in ("http://", "https://"):
            if target.lower().startswith(scheme):
                target = "/" + target[len(scheme) :].partition("/")[2]
        path, _, query = target.partition("?")
        try:
            response = self._respond(path, query)
        except Exception:
            LOG.exception("unexpected error in a request over HTTP")
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR)
        return plain(HTTPStatus.NOT_FOUND) if response is None else response


def _packed(connection: h11.Connection, response: Response, *, whole: bool = True) -> bytes:
    """Return the bytes of an answer.

    :param whole: false to leave the body out, as HEAD asks.
    """
    headers = [
        ("Date", formatdate(usegmt=True)),
        ("Content-Type", response.kind),
        ("Content-Length", str(len(response.body))),
        ("Content-Security-Policy", response.policy),
        *_HEADERS,
        *response.headers,
    ]
    head = h11.Response(
        status_code=response.status,
        headers=headers,
        reason=HTTPStatus(response.status).phrase.encode(),
    )
    packed = [connection.send(head)]
    if whole:
        packed.append(connection.send(h11.Data(data=response.body)))
        packed.append(connection.send(h11.EndOfMessage()))
    return b"".join(part or b"" for part in packed)
