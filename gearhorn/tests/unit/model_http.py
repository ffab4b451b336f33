# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What must hold for any bytes that come over HTTP, and hostile bytes to try it with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import h11
from hypothesis import strategies as st

from gearhorn.service.http import MAX_HEAD_BYTES, Response, Server

BODY = b"body"
"""What is found at ``/``; there is no other path."""

_LINE = re.compile(rb"(?P<method>[!-~]+) (?P<target>[!-~]+) HTTP/[0-9]\.[0-9]\r?\n")
_HEAD = re.compile(rb"\A[^\r\n](?s:.*?)\n\r?\n")
_SOUND = re.compile(
    rb"\A(GET|HEAD) /[!-~]* HTTP/1\.[01]\r\n[Hh]ost: [a-z]+\r\n(X-[a-z]+: [!-~]+\r\n)*\r\n"
)


class _Peer:
    """Sends these pieces, and then closes."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece][::-1]
        self.read_bytes = 0

    async def read(self, most: int) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.pop()
        if piece[most:]:
            self._pieces.append(piece[most:])
        self.read_bytes += len(piece[:most])
        return piece[:most]


def check_exchange(pieces: Iterable[bytes]) -> int | None:
    """Check the answer to what comes in these pieces; return its status, if there is one."""
    pieces = list(pieces)
    stream = b"".join(pieces)
    answer, asked = _exchange(pieces)
    assert (answer, asked) == _exchange([stream])
    head = _HEAD.search(stream[:MAX_HEAD_BYTES])
    line = _LINE.match(stream) if head else None
    if not answer:
        assert not stream
        assert not asked
        return None
    is_head = bool(asked and line and line["method"] == b"HEAD")
    status, body = _read(answer, is_head)
    assert status in (200, 400, 404, 405, 431, 501)
    assert (status == 431) <= (head is None and len(stream) >= MAX_HEAD_BYTES)
    # A path is looked up once, and only for a line that asks for it.
    assert len(asked) == (status in (200, 404))
    if status in (200, 404, 405):
        assert line
        assert (line["method"] in (b"GET", b"HEAD")) == (status != 405)
    for path in asked:
        assert line
        assert path in line["target"].decode() or path == "/"
        assert "?" not in path
        assert (status == 200) == (path == "/")
    assert (body == BODY) == (status == 200 and not is_head)
    # What is sound is never refused.
    assert (status in (200, 404)) >= bool(head and _SOUND.match(stream))
    return status


def _exchange(pieces: Iterable[bytes]) -> tuple[bytes, list[str]]:
    """Return the answer without its date, and the paths that were looked up."""
    asked: list[str] = []

    def respond(path: str, query: str) -> Response | None:
        asked.append(path)
        return Response(200, BODY) if path == "/" else None

    peer: Any = _Peer(pieces)
    try:
        Server(respond).exchange(peer).send(None)
    except StopIteration as ended:
        answer: bytes = ended.value
    else:
        raise AssertionError("the answer waits for something")
    assert peer.read_bytes <= MAX_HEAD_BYTES
    return re.sub(rb"\r\nDate: [^\r]*", b"", answer, count=1), asked


def _read(answer: bytes, is_head: bool) -> tuple[int, bytes]:
    """Return the status and the body of an answer, as a client that asks for one reads it."""
    client = h11.Connection(h11.CLIENT)
    method = b"HEAD" if is_head else b"GET"
    client.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert (b"connection", b"close") in list(response.headers)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert isinstance(client.next_event(), h11.ConnectionClosed)
    return response.status_code, body


_lines = st.sampled_from(
    [
        *(b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\n"),
        *(b"HEAD / HTTP/1.0\r\n", b"HEAD /x?y HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n"),
        *(b"GET http://[/ HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"GET \xff HTTP/1.1\r\n"),
        *(b"GET /%s HTTP/1.1\r\n" % (b"?" * 8150), b"GET / HTTP/2.0\r\n", b"GET /\r\n"),
        *(b"Host: a\r\n", b"Host: \0\r\n", b" folded\r\n", b"\tfolded\r\n", b": empty\r\n"),
        *(b"X: %s\r\n" % (b"x" * 8130), b"A" * 9000 + b": x\r\n", b"X-a: b\r\n" * 90),
        *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 5, 6\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n"),
        *(b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Expect: 100-continue\r\n"),
        *(b"\r\n", b"\r\n", b"\n", b"\r", b"\0RES\0\0\0\6\0\0\0\0"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
)


def streams() -> st.SearchStrategy[bytes]:
    """What may come over HTTP, sound and hostile."""
    return st.lists(_lines | st.binary(max_size=60), max_size=8).map(b"".join)


def fuzz(data: bytes) -> None:
    """The first byte is the size of the pieces."""
    if data:
        check_exchange(data[i : i + (data[0] or 1)] for i in range(1, len(data), data[0] or 1))


SEEDS = [
    b"\xffGET / HTTP/1.1\r\nHost: a\r\nX-b: c\r\n\r\n",
    b"\5HEAD http://a/livez?x HTTP/1.0\r\nA: b\r\n folded\r\n\r\nmore",
    b"\x40POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0",
    b"\xffGET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"\xffGET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 8200,
    b"\1\0RES\0\0\0\6\0\0\0\0",
]
"""The seeds of a new corpus."""
