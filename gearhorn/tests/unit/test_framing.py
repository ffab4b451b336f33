# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Cutting a stream of bytes into packets, however it comes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gearhorn import errors
from gearhorn.tests.packets import response
from gearhorn.wire import framing

HEAD = framing.OVERSIZE_HEAD_BYTES
LIMIT = HEAD + 1000

Sent = Sequence[tuple[int, bytes]]


def read(chunks: Iterable[bytes], max_bytes: int = LIMIT) -> Sequence[framing.Packet]:
    reader = framing.PacketReader(max_bytes)
    return [packet for chunk in chunks for packet in reader.feed(chunk)]


def cut(stream: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    for size in sizes:
        yield stream[:size]
        stream = stream[size:]
    yield stream


def as_read(packet_type: int, body: bytes) -> framing.Packet:
    if len(body) > LIMIT:
        return packet_type, body[:HEAD], False
    return packet_type, body, True


# Few long ones: sizes that matter are those about the limits.
body_sizes = st.one_of(
    st.integers(0, 40),
    st.sampled_from([HEAD - 1, HEAD, HEAD + 1, LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 5000]),
)
packets = st.lists(
    st.tuples(
        st.integers(1, 42),
        st.builds(lambda size, fill: bytes([fill]) * size, body_sizes, st.integers(0, 255)),
    ),
    max_size=6,
)


@settings(deadline=None, database=None, max_examples=150)
@given(packets, st.lists(st.integers(0, 9000), max_size=20))
def test_packets_are_the_same_however_the_stream_is_cut(sent: Sent, sizes: list[int]) -> None:
    stream = b"".join(response(*packet) for packet in sent)

    assert read(cut(stream, sizes)) == [as_read(*packet) for packet in sent]


def test_a_stream_may_be_cut_at_every_byte() -> None:
    sent = [(8, b"H:a:1"), (10, b""), (13, b"H:a:1\0\0REQ\0RES")]
    stream = b"".join(response(*packet) for packet in sent)

    expected = [as_read(*packet) for packet in sent]
    for position in range(len(stream) + 1):
        assert read([stream[:position], stream[position:]]) == expected
    assert read(stream[i : i + 1] for i in range(len(stream))) == expected


def test_a_packet_that_is_too_large_is_passed_over_but_for_its_head() -> None:
    body = b"H:a:1\0fanout\0\0" + b"x" * LIMIT
    stream = response(31, body) + response(10, b"")

    for size in (len(stream), 1000, 12, HEAD + 12, HEAD + 13):
        pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
        assert read(pieces) == [(31, body[:HEAD], False), (10, b"", True)]


def test_a_limit_below_the_head_leaves_the_head_whole() -> None:
    assert read([response(31, b"x" * HEAD)], max_bytes=1) == [(31, b"x" * HEAD, True)]


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 ", b"\0REQ\0\0\0\1\0\0\0\0", b"ERR unknown_"])
def test_what_is_no_packet_is_an_error(garbage: bytes) -> None:
    reader = framing.PacketReader(LIMIT)
    assert reader.feed(response(10, b"")) == [(10, b"", True)]
    with pytest.raises(errors.FramingError, match="expected a Gearman packet"):
        reader.feed(garbage)


@settings(deadline=None, database=None, max_examples=100)
@given(st.binary(min_size=12, max_size=200))
def test_any_bytes_give_packets_or_an_error(stream: bytes) -> None:
    try:
        read([stream])
    except errors.FramingError:
        assert stream[:4] != b"\0RES" or len(stream) > 12


def test_a_side_that_takes_requests_reads_what_pack_makes() -> None:
    reader = framing.PacketReader(LIMIT, framing.REQUEST)
    request = framing.pack(7, b"queue", b"unique", b"payload")
    assert reader.feed(request) == [(7, b"queue\0unique\0payload", True)]
    assert request.startswith(framing.header(7, len(b"queue\0unique\0payload")))
    assert framing.pack(4) == b"\0REQ" + struct.pack(">II", 4, 0)
