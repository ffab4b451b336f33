# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The parts of HTTP: hostile bytes, and addresses."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearhorn import errors
from gearhorn.service.http import MAX_HEAD_BYTES, Response, Server
from gearhorn.service.listening import Listen
from gearhorn.tests.unit import model_fuzz as fuzz

# Hostile bytes.

_LINES = st.sampled_from(
    [
        *(
            b"GET / HTTP/1.1\r\n",
            b"HEAD /x HTTP/1.0\r\n",
            b"POST / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\n",
        ),
        *(b"GET http://[/ HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"GET \xff HTTP/1.1\r\n"),
        *(
            b"Host: a\r\n",
            b"Host: \0\r\n",
            b" folded\r\n",
            b": empty\r\n",
            b"A" * 9000 + b": x\r\n",
        ),
        *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n"),
        *(b"\r\n", b"\n", b"\r", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0RES\0\0\0\6\0\0\0\0"),
    ]
)
_STREAMS = st.lists(_LINES | st.binary(max_size=60), max_size=8).map(b"".join)


@fuzz.effort(400)
@given(_STREAMS, st.lists(st.integers(0, 60), max_size=20))
def test_any_bytes_get_one_answer_or_none(stream: bytes, sizes: list[int]) -> None:
    asked = []

    def respond(path: str, query: str) -> Response | None:
        asked.append(path)
        return Response(200, b"body") if path == "/" else None

    async def exchange() -> bytes:
        reader = asyncio.StreamReader(limit=MAX_HEAD_BYTES)
        for piece in fuzz.cut(stream, sizes):
            reader.feed_data(piece)
        reader.feed_eof()
        return await Server(respond).exchange(reader)

    answer = asyncio.run(exchange())

    assert len(asked) <= 1
    if not answer:
        assert not asked
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    assert status in (200, 400, 404, 405, 431, 501, 505)
    assert (b"body" in body) <= (status == 200)
    assert b"\r\nConnection: close" in head
    (length,) = re.findall(rb"\r\nContent-Length: (\d+)", head)
    # To HEAD there is none.
    assert len(body) in (int(length), 0)


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
