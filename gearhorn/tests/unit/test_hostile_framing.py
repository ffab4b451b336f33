# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Any bytes as a stream of packets, however it comes and whatever its headers claim."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearhorn import errors
from gearhorn.tests.unit import model_fuzz as fuzz
from gearhorn.wire import framing

HEAD = framing.OVERSIZE_HEAD_BYTES
MEGABYTE = 1 << 20


def header(packet_type: int, size: int, magic: bytes = b"\0RES") -> bytes:
    return struct.pack(">4sII", magic, packet_type, size)


_types = st.integers(0, 50) | st.sampled_from([1 << 31, (1 << 31) + 31, (1 << 32) - 1])
_packets = st.builds(
    lambda packet_type, size, fill: header(packet_type, size) + bytes([fill]) * size,
    _types,
    st.integers(0, 30) | st.sampled_from([HEAD - 1, HEAD, HEAD + 1, HEAD + 700]),
    st.sampled_from([0, 0x52, 0xFF]),
)
_lies = st.builds(
    header,
    _types,
    st.sampled_from([0, 1, 12, HEAD, HEAD + 1, 3 * HEAD, 1 << 26, (1 << 31) - 1, (1 << 32) - 1]),
    st.sampled_from([b"\0RES", b"\0RES", b"\0REQ", b"\0RE\0", b"RES\0", b"HTTP", b"\0\0\0\0"]),
)


@pytest.mark.once
@fuzz.effort(400)
@given(
    st.lists(_packets | _lies | st.binary(max_size=40), max_size=8).map(b"".join),
    st.lists(st.integers(0, 40) | st.integers(0, 3 * HEAD), max_size=30),
    st.sampled_from([0, 1, HEAD, HEAD + 100]),
)
def test_a_stream_is_read_as_if_it_had_come_whole(
    stream: bytes, sizes: list[int], max_bytes: int
) -> None:
    fuzz.check_stream(fuzz.cut(stream, sizes), max_bytes)


def test_hostile_streams_may_be_cut_at_every_byte() -> None:
    streams = [
        header(31, 5) + b"\0\0\0\0\0" + header(10, 0) + header(8, 3) + b"abc",
        header(6, 0) * 3 + b"\0REQ" + header(6, 0),
        header((1 << 32) - 1, 2) + b"xx" + header(0, (1 << 32) - 1) + b"rest of it",
        b"\0RES",
        b"\0RES\0\0\0\0\0\0\0",
    ]
    for stream in streams:
        for position in range(len(stream) + 1):
            fuzz.check_stream([stream[:position], stream[position:]], 1)
        fuzz.check_stream((stream[i : i + 1] for i in range(len(stream))), 1)


def test_a_packet_about_the_limit_may_be_cut_at_every_byte_about_it() -> None:
    for size in (HEAD, HEAD + 1, HEAD + 12):
        stream = header(31, size) + b"x" * size + header(10, 0)
        for position in (*range(30), *range(HEAD - 15, len(stream))):
            fuzz.check_stream([stream[:position], stream[position:]], HEAD)


@pytest.mark.once
def test_a_giant_length_takes_no_memory_for_what_has_not_come() -> None:
    tracemalloc.start()
    try:
        for size in (64 * MEGABYTE, (1 << 31) - 1, (1 << 32) - 1):
            reader = framing.PacketReader(64 * MEGABYTE)
            assert reader.feed(header(31, size) + b"x" * 1000) == []
        _, peak = tracemalloc.get_traced_memory()
        assert peak < MEGABYTE
        # Of 4 GiB that are announced the first 200 MB come: none of them is kept but the head.
        chunk = b"x" * MEGABYTE
        for _ in range(200):
            assert reader.feed(chunk) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MEGABYTE


@pytest.mark.once
@pytest.mark.parametrize("piece", [1, 2, 100])
def test_a_large_packet_in_small_pieces_takes_no_more_than_its_size(piece: int) -> None:
    size = 250_000
    reader = framing.PacketReader(size)
    tracemalloc.start()
    try:
        assert reader.feed(header(31, size)) == []
        # Each piece is an object of its own, as a socket gives it.
        for _ in range(size // piece - 1):
            assert reader.feed(bytes((7,)) * piece) == []
        _, peak = tracemalloc.get_traced_memory()
        ((packet_type, body, whole),) = reader.feed(b"x" * piece)
    finally:
        tracemalloc.stop()
    assert (packet_type, len(body), whole) == (31, size, True)
    assert peak < 4 * size


@pytest.mark.parametrize("size", [0, 64 * MEGABYTE])
def test_a_body_of_nothing_and_of_64_megabytes(size: int) -> None:
    body = b"\0" * size
    stream = header(13, size) + body
    reader = framing.PacketReader(64 * MEGABYTE)
    pieces = [stream[i : i + (256 << 10)] for i in range(0, len(stream), 256 << 10)]
    assert [packet for piece in pieces for packet in reader.feed(piece)] == [(13, body, True)]


def test_garbage_is_named_only_in_part() -> None:
    with pytest.raises(errors.FramingError) as refused:
        framing.PacketReader(1).feed(b"GET / HTTP/1.1\r\n" + b"x" * MEGABYTE)
    assert len(str(refused.value)) < 100
