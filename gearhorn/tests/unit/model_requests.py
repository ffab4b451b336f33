# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The requests of the wire contract once more, plainly: what is taken, and as what.

It shares nothing with the package: the standard library's ``json`` reads, and each rule stands
here as a sentence of the contract has it. It need not be fast or say what is wrong.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

DEEP = 100
"""Nesting that each reader takes; of what nests deeper the contract says nothing."""

MAX_SECONDS = 10 * 365 * 86400

_SPACE = re.compile(r"[ \t\n\r]*")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")

KEYS = {
    "register": (
        {"topic", "client_id"},
        {"ttl", "max_waiting", "overflow", "remove_idle", "always_report"},
    ),
    "unregister": ({"topic", "client_id"}, {"always_report"}),
    "notice": ({"topic"}, {"always_report"}),
    "fanout": (
        {"topic", "payload"},
        {
            "unique",
            "background",
            "timeout",
            "priority",
            "gather",
            "encoding",
            "progress",
            "always_report",
        },
    ),
    "query": ({"query"}, {"topic", "after", "limit", "always_report"}),
}
"""The required and the optional keys of each function."""


class Refused(Exception):
    """The request is not to be taken."""


class Number(NamedTuple):
    """A number as it was written."""

    text: str

    @property
    def value(self) -> float:
        return float(self.text)


class Members(list[tuple[str, Any]]):
    """An object inside a value, duplicate keys and all."""


class Value(NamedTuple):
    """A value of a request: what it says, and its text as it stands there."""

    value: Any
    text: str


class Taken(NamedTuple):
    """A request that is to be taken."""

    values: dict[str, Any]
    """The meaning of each key that was given and is not null; numbers as floats."""
    payload: bytes | None
    """The bytes that receivers get."""


def _no_constant(text: str) -> Any:
    raise Refused(f"{text} is no JSON")


_read_value = json.JSONDecoder(
    object_pairs_hook=Members,
    parse_int=Number,
    parse_float=Number,
    parse_constant=_no_constant,
).raw_decode


def _read(text: str, position: int) -> tuple[Any, int]:
    try:
        return _read_value(text, position)
    except ValueError as error:
        raise Refused(str(error)) from None


def _skip(text: str, position: int, wanted: str) -> int:
    """Pass white space and one of ``wanted``; return where it stands."""
    match = _SPACE.match(text, position)
    assert match is not None
    if text[match.end() : match.end() + 1] not in tuple(wanted):
        raise Refused(f"expected one of {wanted}")
    return match.end()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Members):
        for key, inner in value:
            yield key
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def nesting(data: bytes) -> int:
    """Return the depth of brackets, where it could be deep; strings are not told apart."""
    if data.count(b"[") + data.count(b"{") <= DEEP:
        return 0
    deepest = depth = 0
    for byte in data:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > DEEP:
                break
        elif byte in b"]}":
            depth -= 1
    return deepest


def read_object(data: bytes) -> dict[str, Value]:
    """The values of a JSON object in UTF-8; of duplicate keys the last.

    A string, be it inside of a payload, must be Unicode text: no half of a surrogate pair.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Refused(str(error)) from None
    values: dict[str, Value] = {}
    position = _skip(text, 0, "{") + 1
    separator = ","
    while separator == ",":
        position = _skip(text, position, '"' if values else '"}')
        if text[position] == "}":
            break
        key, position = _read(text, position)
        position = _skip(text, position, ":") + 1
        match = _SPACE.match(text, position)
        assert match is not None
        start = match.end()
        value, position = _read(text, start)
        if not all(map(_is_unicode, (key, *_strings(value)))):
            raise Refused("half of a surrogate pair")
        values[key] = Value(value, text[start:position])
        position = _skip(text, position, ",}")
        separator = text[position]
        if separator == ",":
            position += 1
    if text[position + 1 :].strip(" \t\n\r"):
        raise Refused("more than an object")
    return values


def is_true(value: Any) -> bool:
    """All values but false, 0, "", null, [] and {}."""
    return value.value != 0 if isinstance(value, Number) else bool(value)


def asks_for_report(data: bytes) -> bool | None:
    """Return true if a request, which may be refused, asks for ``always_report``.

    None where it is no JSON object, and so nobody can say.
    """
    try:
        given = read_object(data).get("always_report")
    except Refused:
        return None
    return given is not None and is_true(given.value)


def _require(condition: bool) -> None:
    if not condition:
        raise Refused


def _name(value: Any) -> str:
    """A name is a non-empty string without control characters."""
    _require(isinstance(value, str) and value != "")
    name: str = value
    for character in name:
        _require(not (character <= "\x1f" or "\x7f" <= character <= "\x9f"))
    # A queue name has 512 bytes at the most, of which _ and a byte are not the topic's.
    _require(len(name.encode()) <= 510)
    return name


def _seconds(value: Any) -> float:
    _require(isinstance(value, Number))
    seconds: float = value.value
    _require(0 < seconds <= MAX_SECONDS)
    return seconds


def _unique(value: Any) -> str:
    _require(isinstance(value, str) and value != "-")
    unique: str = value
    _require(1 <= len(unique.encode()) <= 48)
    for character in unique:
        _require(not (character <= "\x1f" or "\x7f" <= character <= "\x9f"))
    return unique


def _text(value: Any) -> str:
    _require(isinstance(value, str))
    text: str = value
    return text


def _one_of(*texts: str) -> Any:
    def check(value: Any) -> str:
        _require(value in texts)
        text: str = value
        return text

    return check


def _limit(value: Any) -> float:
    """An integer is written as one: neither 3.0 nor 3e0."""
    _require(isinstance(value, Number) and re.fullmatch("-?[0-9]+", value.text) is not None)
    _require(1 <= value.value <= 1000)
    number: float = value.value
    return number


def _max_waiting(value: Any) -> int:
    _require(isinstance(value, Number) and re.fullmatch("[0-9]{3,19}", value.text) is not None)
    number = int(value.text)
    # A reader of JSON need not know larger integers.
    _require(100 <= number < 2**63)
    return number


def _remove_idle(value: Any) -> float:
    """0, which is for never, or a minute at least."""
    _require(isinstance(value, Number))
    seconds: float = value.value
    _require(seconds == 0 or 60 <= seconds <= MAX_SECONDS)
    return seconds


_CHECKS: dict[str, Any] = {
    "topic": _name,
    "client_id": _name,
    "ttl": _seconds,
    "timeout": _seconds,
    "max_waiting": _max_waiting,
    "overflow": _one_of("refuse", "skip"),
    "remove_idle": _remove_idle,
    "unique": _unique,
    "priority": _one_of("high", "normal", "low"),
    "encoding": _one_of("base64"),
    "background": is_true,
    "gather": is_true,
    "progress": is_true,
    "always_report": is_true,
    "query": _one_of("topics", "subscribers", "daemons", "status", "ended"),
    "after": _text,
    "limit": _limit,
}


def _payload(payload: Value, encoding: str | None) -> bytes:
    if not isinstance(payload.value, str):
        _require(encoding is None)
        return payload.text.encode()
    if encoding is None:
        return payload.value.encode()
    _require(_BASE64.fullmatch(payload.value) is not None)
    return base64.b64decode(payload.value)


def read_request(function: str, data: bytes) -> Taken:
    """The request in ``data``.

    :raises Refused: the contract says so.
    """
    required, optional = KEYS[function]
    given = read_object(data)
    _require(given.keys() <= required | optional)
    # Null in an optional key is the same as leaving it out.
    given = {k: v for k, v in given.items() if v.value is not None or k in required}
    _require(required <= given.keys())
    values = {key: _CHECKS[key](given[key].value) for key in given if key != "payload"}
    payload = None
    if "client_id" in values:
        _require(len(f"{values['topic']}_{values['client_id']}".encode()) <= 512)
    if function == "fanout":
        if values.get("background"):
            _require("timeout" not in values and not values.get("gather"))
        payload = _payload(given["payload"], values.get("encoding"))
    elif function == "query":
        _require((values["query"] == "subscribers") == ("topic" in values))
        _require(values["query"] != "status" or "after" not in values)
    return Taken(values, payload)
