# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""JSON values: the ones that count as true, and payloads."""

import base64
from typing import Any

import msgspec
from msgspec import Raw

from gearhorn import errors

NOT_GIVEN = Raw()

RAW_TRUE = Raw(b"true")

RAW_FALSE = Raw(b"false")

_INFINITY = float("inf")

_FALSE = frozenset((b"", b"false", b"null", b'""'))


def truth(value: Raw) -> bool:
    """Return true if a JSON value counts as true.

    All do but false, 0, "", null, [] and {}. A value that was left out does not.
    """
    if value is NOT_GIVEN:
        return False
    if value == RAW_TRUE:
        return True
    text = bytes(value)
    if text in _FALSE:
        return False
    if text[0] in b"[{":
        return bool(text[1:-1].strip())
    if text[0] == ord('"'):
        return True
    return float(text) != 0


def encode_value(value: Any) -> bytes:
    """Return ``value`` as bytes: bytes and strings as they are, anything else as JSON.

    :raises InvalidPayload: the value has no JSON form, or holds nan or inf.
    """
    if isinstance(value, bytes):
        return value
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, (bytearray, memoryview)):
            return bytes(value)
        data = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise errors.InvalidPayload(f"a payload must be bytes, text or JSON: {error}") from None
    # msgspec writes nan and inf as null.
    if b"null" in data and _has_non_finite(value):
        raise errors.InvalidPayload("a payload must be bytes, text or JSON: nan and inf are none")
    return data


def _has_non_finite(value: Any) -> bool:
    # The hook gets values that hold JSON already, such as Raw.
    waiting = [msgspec.to_builtins(value, enc_hook=lambda _: None)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, float):
            if not abs(part) < _INFINITY:
                return True
        elif isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, (list, tuple, set, frozenset)):
            waiting.extend(part)
    return False


def encode_payload(payload: Any) -> tuple[Raw, str | None]:
    """Return the payload as it stands in a request, and its encoding.

    :raises InvalidPayload: as :func:`encode_value` does.
    """
    data = encode_value(payload)
    is_json = not isinstance(payload, (str, bytes, bytearray, memoryview))
    # A date becomes a JSON string, which would reach receivers without its quotes:
    # it is sent as text that has them.
    if is_json and not data.startswith(b'"'):
        return Raw(data), None
    try:
        return Raw(msgspec.json.encode(data.decode())), None
    except UnicodeDecodeError:
        return Raw(b'"%s"' % base64.b64encode(data)), "base64"
