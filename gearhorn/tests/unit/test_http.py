# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The parts of HTTP: hostile bytes, and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearhorn import errors
from gearhorn.service.http import MAX_HEAD_BYTES
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
