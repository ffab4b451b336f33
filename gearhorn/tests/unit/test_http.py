# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The parts of HTTP: hostile bytes, clients that do not read, and addresses."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearhorn import errors
from gearhorn.service import http
from gearhorn.service.http import MAX_HEAD_BYTES, Response, Server
from gearhorn.service.listening import Listen
from gearhorn.tests.unit import model_fuzz as fuzz
from gearhorn.tests.unit import model_http

# Hostile bytes.


@fuzz.effort(400)
@given(model_http.streams(), st.lists(st.integers(0, 60), max_size=20))
def test_any_bytes_get_one_answer_or_none_however_they_come(
    stream: bytes, sizes: list[int]
) -> None:
    model_http.check_exchange(fuzz.cut(stream, sizes))


@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"HEAD /?x HTTP/1.0\nX: a\n\tb\n\nmore", 200),
        (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nbody", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", 400),
    ],
)
def test_a_request_may_be_cut_at_every_byte(stream: bytes, status: int) -> None:
    for position in range(len(stream) + 1):
        pieces = [stream[:position], stream[position:]]
        assert model_http.check_exchange(pieces) == status
    assert model_http.check_exchange(stream[i : i + 1] for i in range(len(stream))) == status


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 431)])
def test_a_head_about_the_limit_may_be_cut_at_every_byte_about_it(more: int, status: int) -> None:
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX-x: "
    stream = start + b"x" * (MAX_HEAD_BYTES + more - len(start) - 4) + b"\r\n\r\n"
    for position in range(MAX_HEAD_BYTES - 10, len(stream) + 1):
        pieces = [stream[:position], stream[position:]]
        assert model_http.check_exchange(pieces) == status


# Clients that do not read.

LARGE = b"x" * (4 << 20)
"""More than the buffers of a connection take, once they are made small."""
BUFFER_BYTES = 64 << 10


def small_socket() -> socket.socket:
    made = socket.socket()
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        made.setsockopt(socket.SOL_SOCKET, buffer, BUFFER_BYTES)
    made.setblocking(False)
    return made


class Client:
    """Asks for something, and reads the answer when it is told to."""

    def __init__(self, stack: contextlib.ExitStack, address: tuple[str, int]) -> None:
        self._socket = stack.enter_context(small_socket())
        self._address = address

    async def ask(self, path: str) -> bytes:
        """Return the status of the answer; nothing if there is none."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            await loop.sock_connect(self._socket, self._address)
            await loop.sock_sendall(self._socket, f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return (await self.read(12))[9:]

    async def read(self, most: int = 1 << 30) -> bytes:
        """Return so many bytes, or what comes until the connection ends."""
        answer = b""
        with contextlib.suppress(ConnectionError):
            while len(answer) < most:
                wanted = min(most - len(answer), 65536)
                data = await asyncio.get_running_loop().sock_recv(self._socket, wanted)
                if not data:
                    break
                answer += data
        return answer


async def test_who_does_not_read_a_large_answer_is_cut_off_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 1)
    server = Server(lambda path, query: Response(200, LARGE if path == "/large" else b"small"))
    listener = small_socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    address = listener.getsockname()
    await server.start(listener)
    with contextlib.ExitStack() as stack:

        async def until(status: bytes, path: str) -> Client:
            """Ask until that is the answer: on a slow machine each may be cut off."""

            async def ask_again() -> Client:
                while await (client := Client(stack, address)).ask(path) != status:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                return client

            return await asyncio.wait_for(ask_again(), 20)

        monkeypatch.setattr(http, "TIMEOUT_S", 60)
        patient = await until(b"200", "/large")
        # As long as it has time, its place is taken.
        await until(b"503", "/")
        assert (await patient.read()).endswith(LARGE)

        monkeypatch.setattr(http, "TIMEOUT_S", 0.2)
        mute = await until(b"200", "/large")
        await until(b"200", "/")
        assert len(await mute.read()) < len(LARGE)
    await server.close()


# Addresses.


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:9419", Listen("127.0.0.1", 9419)),
        ("[::1]:9419", Listen("::1", 9419)),
        ("unix:/run/gearhorn/http", Listen(path="/run/gearhorn/http")),
    ],
)
def test_addresses_that_can_be_listened_on(text: str, listen: Listen) -> None:
    assert Listen.parse(text) == listen
    assert str(listen) == text


@pytest.mark.parametrize(
    "text",
    ["9419", "127.0.0.1", "127.0.0.1:", "[::1]", "::1:80", "unix:", "unix:here", "a:0", ":80"],
)
def test_what_is_no_address_to_listen_on(text: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"\[http\] listen: .* write "):
        Listen.parse(text)
