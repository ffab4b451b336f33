# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Any bytes as a request: taken exactly where the contract takes them, and as the same."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearhorn import errors, messages
from gearhorn.tests.unit import model_fuzz as fuzz


@pytest.mark.once
@fuzz.effort(800)
@given(st.sampled_from(fuzz.FUNCTIONS), fuzz.requests())
def test_a_request_is_taken_where_the_contract_takes_it(function: str, data: bytes) -> None:
    fuzz.check_request(function, data)


@pytest.mark.once
@fuzz.effort(300)
@given(st.sampled_from(fuzz.FUNCTIONS), st.binary(max_size=100))
def test_bytes_are_no_request(function: str, data: bytes) -> None:
    assert not fuzz.check_request(function, data)


SOUND = [
    ("register", b'{"topic": "t\xc3\xa9", "client_id": "\\ud83d\\ude00", "ttl": 1.5e1}'),
    ("unregister", b' {"client_id":"c" , "topic":"t"}\n'),
    ("notice", b'{"topic": "a", "topic": "b"}'),
    ("query", b'{"query": "subscribers", "topic": "t", "after": "", "limit": 10}'),
    (
        "fanout",
        b'{"topic": "t", "payload": "cA==", "encoding": "base64", "unique": "u", "timeout": 5, '
        b'"gather": [0], "priority": "low", "always_report": "x", "background": null}',
    ),
    ("fanout", b'{"topic": "t", "payload": {"a": ["\\u0000", 1e5], "a": -0}, "background": 1}'),
]


@pytest.mark.parametrize(("function", "request_"), SOUND)
def test_a_request_that_is_cut_or_damaged_at_any_byte(function: str, request_: bytes) -> None:
    assert fuzz.check_request(function, request_)
    for position in range(len(request_)):
        fuzz.check_request(function, request_[:position])
        fuzz.check_request(function, request_[position:])
        fuzz.check_request(function, request_[:position] + request_[position + 1 :])
        for byte in (b"\0", b"\x1f", b"\x7f", b"\x80", b"\xff", b'"', b"\\", b"{", b"]", b"9"):
            fuzz.check_request(function, request_[:position] + byte + request_[position:])
            fuzz.check_request(function, request_[:position] + byte + request_[position + 1 :])


@pytest.mark.parametrize("limit", ["1", "1000", "0", "1001", "-1", "3.0", "1e2", "1E+2", "2.5"])
def test_a_limit_is_an_integer_written_as_one(limit: str) -> None:
    data = f'{{"query": "topics", "limit": {limit}}}'.encode()
    assert fuzz.check_request("query", data) == (limit in ("1", "1000"))


@pytest.mark.parametrize("character", [chr(n) for n in (*range(0x20), *range(0x7F, 0xA0))])
def test_no_control_character_is_in_a_name_or_a_unique(character: str) -> None:
    for name in (character, f"a{character}", f"{character}a", f"a{character}b"):
        for text in (json.dumps(name), json.dumps(name, ensure_ascii=False)):
            for key in ("topic", "client_id"):
                other = "client_id" if key == "topic" else "topic"
                data = f'{{"{key}": {text}, "{other}": "x"}}'.encode()
                assert not fuzz.check_request("register", data)
            data = f'{{"topic": "t", "payload": 1, "unique": {text}}}'.encode()
            assert not fuzz.check_request("fanout", data)
            # A payload may hold it, escaped.
            taken = fuzz.check_request("fanout", f'{{"topic": "t", "payload": {text}}}'.encode())
            assert taken or character < " "


@pytest.mark.parametrize("padding", ["", "=", "==", "===", "====", "=====", "==cA==", "=A", "=A="])
@pytest.mark.parametrize("characters", ["", "c", "cA", "cAA", "cAAA", "cAAAA", "cAAAcA"])
def test_base64_is_taken_where_it_is_padded_to_fours(characters: str, padding: str) -> None:
    request = {"topic": "t", "payload": characters + padding, "encoding": "base64"}
    fuzz.check_request("fanout", json.dumps(request).encode())


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[[[{"a":', b'{"topic":'])
@pytest.mark.parametrize("depth", [10, 90, 900, 5_000, 1_000_000])
def test_nesting_of_any_depth_is_taken_or_refused(opening: bytes, depth: int) -> None:
    closing = opening.replace(b'{"a":', b"{").replace(b'{"topic":', b"{")[::-1]
    closing = closing.translate(bytes.maketrans(b"[{", b"]}"))
    for inner in (b"1", b""):
        deep = opening * depth + inner + closing * depth
        for data in (deep, b'{"topic": "t", "payload": ' + deep + b"}", deep[: len(deep) // 2]):
            for function in fuzz.FUNCTIONS:
                taken = fuzz.check_request(function, data)
                assert depth < 1_000_000 or not taken
        fuzz.check_request("fanout", b'{"topic": "t", "payload": 1, "background": ' + deep + b"}")


def test_numbers_of_any_size_cost_little() -> None:
    for number in (b"9" * 1_000_000, b"-" + b"9" * 1_000_000 + b"e9", b"1e" + b"9" * 1_000_000):
        assert fuzz.check_request("fanout", b'{"topic": "t", "payload": ' + number + b"}")
        for key in (b"background", b"always_report"):
            data = b'{"topic": "t", "payload": 1, "%s": %s}' % (key, number)
            assert fuzz.check_request("fanout", data)
        assert not fuzz.check_request(
            "fanout", b'{"topic": "t", "payload": 1, "timeout": %s}' % number
        )
        data = b'{"topic": "t", "client_id": "c", "ttl": %s}' % number
        assert not fuzz.check_request("register", data)
        assert not fuzz.check_request("query", b'{"query": "topics", "limit": %s}' % number)


def test_keys_by_the_hundred_thousand_are_refused_by_the_first_unknown_one() -> None:
    keys = b", ".join(b'"k%d": 1' % number for number in range(100_000))
    with pytest.raises(errors.UnknownKey) as refused:
        messages.RequestDecoder(messages.FanOut)(b"{" + keys + b"}")
    assert len(str(refused.value)) < 1000
    same = b'{"payload": 1' + b', "topic": "t"' * 100_000 + b"}"
    assert fuzz.check_request("fanout", same)


def test_what_a_refusal_says_is_short_however_long_the_request_is() -> None:
    long = "x" * 1_000_000
    for request in ({long: 1}, {"topic": long}, {"topic": "t", "payload": 1, "unique": long}):
        with pytest.raises(errors.RequestError) as refused:
            messages.RequestDecoder(messages.FanOut)(json.dumps(request).encode())
        assert len(messages.Refusal.of(refused.value).encode()) < 2000


MEGABYTE = 1 << 20


# Made by the test, as every process that collects it would keep them.
LARGE: dict[str, Callable[[], tuple[bytes, bytes | None]]] = {
    "nothing": lambda: (b'""', b""),
    "ascii": lambda: (b'"' + b"x" * (64 * MEGABYTE) + b'"', b"x" * (64 * MEGABYTE)),
    "two bytes a character": lambda: (
        b'"' + "\u00e9".encode() * (32 * MEGABYTE) + b'"',
        "\u00e9".encode() * (32 * MEGABYTE),
    ),
    "escapes": lambda: (
        b'"' + b"\\u0000" * (10 * MEGABYTE) + b'"',
        b"\0" * (10 * MEGABYTE),
    ),
    "numbers": lambda: (b"[" + b"0," * (32 * MEGABYTE) + b"0]", None),
}
"""A payload as it is written in a request, and what is sent of it, where that is not the same."""


@pytest.mark.parametrize("name", LARGE)
def test_a_payload_of_nothing_and_of_64_megabytes(name: str) -> None:
    payload, sent = LARGE[name]()
    data = b'{"topic": "t", "payload": ' + payload + b"}"
    decode = messages.RequestDecoder(messages.FanOut)
    tracemalloc.start()
    try:
        got = decode(data).payload_bytes()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert got == (payload if sent is None else sent)
    assert peak < 4 * len(data) + MEGABYTE
