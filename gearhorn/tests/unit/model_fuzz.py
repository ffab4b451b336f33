# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Checks that must hold for any bytes, and hostile bytes to try them with.

``tools/fuzz`` runs the same checks for long: by Hypothesis with more examples, and guided by
coverage where atheris can be installed.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st

from gearhorn import errors, messages
from gearhorn.service import http
from gearhorn.tests.unit import model_http, model_requests
from gearhorn.tests.unit.model_requests import Refused, Taken
from gearhorn.wire import framing

_FACTOR = int(os.environ.get("GEARHORN_FUZZ", "1"))


def effort(examples: int, **options: Any) -> settings:
    """Return the settings for so many examples; ``tools/fuzz`` multiplies all by GEARHORN_FUZZ."""
    return settings(max_examples=examples * _FACTOR, deadline=None, database=None, **options)


# Requests.

_CLASSES: dict[str, type[messages.Request]] = {
    "register": messages.Register,
    "unregister": messages.Unregister,
    "notice": messages.Notice,
    "fanout": messages.FanOut,
    "query": messages.Query,
}
FUNCTIONS = tuple(_CLASSES)
_decoders: dict[str, Any] = {name: messages.RequestDecoder(cls) for name, cls in _CLASSES.items()}


def check_request(function: str, data: bytes) -> bool:
    """Check that the package takes or refuses a request as the model does; return true if taken."""
    model: Taken | None = None
    deep = model_requests.nesting(data) > model_requests.DEEP
    if not deep:
        try:
            model = model_requests.read_request(function, data)
        except Refused:
            pass
    request, payload, refusal = _decode(function, data)
    if refusal is not None:
        assert model is None, f"refused: {refusal}"
        wanted = messages.wants_report(data)
        assert deep or model_requests.asks_for_report(data) in (None, wanted)
        return False
    if deep:
        return True
    assert model is not None, f"taken as {request}"
    assert payload == model.payload
    assert _given(request) == model.values
    # What the client library would send is taken as the same.
    assert _decoders[function](request.encode()) == request
    return True


def _decode(function: str, data: bytes) -> tuple[Any, bytes | None, messages.Refusal | None]:
    """Return a request and its payload, or the refusal, as a daemon reads it."""
    try:
        request = _decoders[function](data)
        payload = request.payload_bytes() if function == "fanout" else None
    except errors.RequestError as error:
        answer = messages.Refusal.of(error).encode()
        return None, None, msgspec.json.decode(answer, type=messages.Refusal)
    return request, payload, None


def _given(request: messages.Request) -> dict[str, Any]:
    """The values that a request was given; null is the same as nothing."""
    values: dict[str, Any] = {}
    for name in request.__struct_fields__:
        value = getattr(request, name)
        if name == "payload" or value is None:
            continue
        if isinstance(value, msgspec.Raw):
            if bytes(value) in (b"", b"null"):
                continue
            value = messages.truth(value)
        values[name] = value
    return values


_space = st.sampled_from(["", "", "", " ", "\n", "\t\r ", "\0", "\x0b", "\ufeff", "\u00a0"])
_nasty_text = st.sampled_from(
    [
        '""', '"t"', '"t"', '"-"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"',
        '"\0"', '"\x7f"', '"\x85"', '"\\u0085"', '"\\q"', '"\\u12"', '"\\', '"', '"\u2028"',
        '"cA=="', '"cA="', '"c==="', '"=="', '"cA==cA=="', '"cB=="', '"cAAA="', '"cAAA===="',
        '"c A=="', '"\uff21A=="',
        '"base64"', '"base64"', '"BASE64"', '"high"', '"low"', '"normal"', '"topics"', '"status"',
        '"subscribers"', '"daemons"', '"ended"', '"refuse"', '"skip"', '"false"',
        '"' + "u" * 48 + '"', '"' + "u" * 49 + '"',
        '"' + "t" * 510 + '"', '"' + "t" * 511 + '"', '"' + "\u00e9" * 255 + '"',
    ]
)  # fmt: skip
_nasty_value = st.sampled_from(
    [
        "null", "true", "false", "True", "tru", "NaN", "Infinity", "-Infinity", "undefined", "",
        "0", "-0", "0.0", "0e9", "00", "01", "-", "+1", ".5", "1.", "1e", "1e+", "0x1", "1_0",
        "1", "5", "1000", "1001", "2.5", "3.0", "59.9", "60", "1e2", "-1",
        "1e-400", "1e400", "-1e400",
        "99", "100", "9223372036854775807", "9223372036854775808", "18446744073709551616",
        "315360000", "315360001", "9" * 400, "9" * 5000, "1" + "0" * 5000 + "e-5000",
        "0." + "3" * 5000, "[]", "{}", "[ ]", "{ }", "[0]", "[,]", "[1,]", '{"a":}', '{"a":1,}',
        '{"a": 1, "a": 2}', "{1: 2}", '["\\ud800"]', '{"\\udfff": 1}', "[" * 90 + "]" * 90,
        "[" * 3000 + "]" * 3000, "[" * 100, "]", "}", '{"topic": "t"}', "[1]]", "1 2", "'t'",
        '"\\u00e9"', "[1.0, 1e2 ]",
    ]
)  # fmt: skip
_any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
).map(json.dumps)
_values = st.one_of(_nasty_text, _nasty_text, _nasty_value, _any_json)
_known = {f'"{key}"' for pair in model_requests.KEYS.values() for keys in pair for key in keys}
_strange = [
    '"t\\u006fpic"',
    '"Topic"',
    '"topic\0"',
    '"topic\\u0000"',
    '"\\ud800"',
    '""',
    "topic",
    "1",
]
_keys = st.sampled_from([*sorted(_known), *_strange])


@st.composite
def _objects(draw: st.DrawFn) -> str:
    """The text of an object with keys of requests, in which much can be wrong."""
    sound = draw(st.sampled_from([[], ["topic", "payload"], ["topic", "client_id"], ["query"]]))
    members = [(f'"{key}"', draw(_sound[key])) for key in sound]
    members += draw(st.lists(st.tuples(_keys, _values), max_size=3))
    members = draw(st.permutations(members))
    tight = draw(st.booleans())
    text = "{"
    for number, (key, value) in enumerate(members):
        gaps = ["", "", " ", ""] if tight else [draw(_space) for _ in range(4)]
        comma = "," if number else ""
        text += f"{comma}{gaps[0]}{key}{gaps[1]}:{gaps[2]}{value}{gaps[3]}"
    return text + "}"


_sound: dict[str, st.SearchStrategy[str]] = {
    "topic": st.sampled_from(['"t"', '"\u00e9\\n"', '"' + "t" * 510 + '"', '"a_b"']),
    "client_id": st.sampled_from(['"c"', '"' + "c" * 510 + '"', '"\U0001f600"']),
    "payload": _values,
    "query": st.sampled_from(['"topics"', '"subscribers"', '"daemons"', '"status"']),
}


@st.composite
def _damaged(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> bytes:
    """Text as bytes, of which some may be cut, changed or doubled."""
    data = draw(texts).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 3)))
        filling = draw(
            st.sampled_from(
                [b"", b"", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\", b'"', b"{", b"}", b","]
            )
            | st.binary(max_size=2)
        )
        data = data[:start] + filling + data[stop:]
    return data


def requests() -> st.SearchStrategy[bytes]:
    """Requests, sound and hostile."""
    objects = _objects()
    return objects.map(lambda text: text.encode("utf-8", "surrogatepass")) | _damaged(objects)


# Packets.

Packets = list[framing.Packet]


def read_plainly(stream: bytes, max_bytes: int, magic: bytes) -> tuple[Packets, bool]:
    """The packets in a whole stream, and whether garbage comes after them."""
    packets: Packets = []
    while len(stream) >= 12:
        found, packet_type, size = struct.unpack(">4sII", stream[:12])
        if found != magic:
            return packets, True
        body, rest = stream[12 : 12 + size], stream[12 + size :]
        if len(body) < size:
            break
        if size > max(max_bytes, framing.OVERSIZE_HEAD_BYTES):
            packets.append((packet_type, body[: framing.OVERSIZE_HEAD_BYTES], False))
        else:
            packets.append((packet_type, body, True))
        stream = rest
    return packets, False


def check_stream(chunks: Iterable[bytes], max_bytes: int, magic: bytes = b"\0RES") -> Packets:
    """Read a stream as it comes, and compare with what it holds as a whole."""
    reader = framing.PacketReader(max_bytes, magic)
    came: Packets = []
    fed = b""
    for chunk in chunks:
        before = len(came)
        fed += chunk
        packets, garbage = read_plainly(fed, max_bytes, magic)
        try:
            came.extend(reader.feed(chunk))
        except errors.FramingError:
            # The packets that came in the same piece are lost with the connection.
            assert garbage
            assert came == packets[:before]
            return came
        assert not garbage
        assert came == packets
    return came


def cut(stream: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    """``stream`` in pieces of these sizes, and what is left."""
    for size in sizes:
        if not stream:
            return
        yield stream[:size]
        stream = stream[size:]
    yield stream


# Guided by coverage.


def _fuzz_request(data: bytes) -> None:
    if data:
        check_request(FUNCTIONS[data[0] % len(FUNCTIONS)], data[1:])


def _fuzz_stream(data: bytes) -> None:
    """The first byte is the size of the pieces; headers are made easy to hit."""
    if not data:
        return
    size = data[0] or 1
    stream = data[1:].replace(b"R", b"\0RES\0\0\0")
    check_stream((stream[i : i + size] for i in range(0, len(stream), size)), 1)


SEEDS = {
    "requests": [
        b'\0{"topic": "t", "client_id": "c", "ttl": 1.5e1}',
        b'\1{"topic": "t\\u00e9", "client_id": "\\ud83d\\ude00"}',
        b'\2{"topic": "a", "topic": "b"}',
        b'\3{"topic": "t", "payload": "cA==", "encoding": "base64", "unique": "u", "timeout": 5, '
        b'"gather": [0], "priority": "low", "always_report": "x", "background": null}',
        b'\3{"topic": "t", "payload": {"a": ["\\u0000", 1e5], "a": -0}, "background": 1}',
        b'\4{"query": "subscribers", "topic": "t", "after": "", "limit": 10}',
    ],
    "stream": [b"\x05" + b"R\x08\0\0\0\x03abc" * 3, b"\xffR\x1f\0\0\x40\x01" + b"x" * 16385],
    "http": model_http.SEEDS,
}
"""The seeds of a new corpus."""

TARGETS: dict[str, Callable[[bytes], None]] = {
    "requests": _fuzz_request,
    "stream": _fuzz_stream,
    "http": model_http.fuzz,
}


def main() -> None:
    """``python -m gearhorn.tests.unit.model_fuzz TARGET CORPUS [OPTION OF libFuzzer]...``."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    # msgspec's decoder is compiled: what is followed is what this package does with it.
    parsing = [module for name, module in sys.modules.items() if name.startswith("h11.")]
    for module in (messages, framing, model_requests, http, *parsing):
        for name, value in list(vars(module).items()):
            if getattr(value, "__module__", None) == module.__name__ and callable(value):
                if isinstance(value, type):
                    for attribute, method in list(vars(value).items()):
                        if type(method).__name__ == "function":
                            setattr(value, attribute, atheris.instrument_func(method))
                else:
                    setattr(module, name, atheris.instrument_func(value))
    target = sys.argv.pop(1)
    for number, seed in enumerate(SEEDS[target]):
        (Path(sys.argv[1]) / f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
