# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The decoding of requests, with errors that name the wrong key."""

import codecs
import typing
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw

from gearhorn import errors
from gearhorn.messages.names import TYPE_NAMES
from gearhorn.messages.requests import Request
from gearhorn.messages.values import NOT_GIVEN, truth

_SHOWN_CHARACTERS = 100
"""The part of a key that an error shows: a key can be as long as a request."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)

_decode_keys = msgspec.json.Decoder(dict[str, Raw]).decode


class _OnlyTopic(msgspec.Struct):
    topic: str


R = TypeVar("R", bound=Request)


class RequestDecoder(Generic[R]):
    """A decoder of requests of one class.

    :param request_class: the class of the function's requests.
    """

    def __init__(self, request_class: type[R]) -> None:
        self._class = request_class
        self._decode = msgspec.json.Decoder(request_class).decode

    def __call__(self, data: bytes) -> R:
        """Return the request in ``data``, the bytes of a job.

        :raises RequestError: the request is refused; the subclass says why.
        """
        try:
            if not data.isascii():
                # msgspec does not check UTF-8 inside a Raw value.
                data.decode()
            try:
                return self._decode(data)
            except msgspec.ValidationError:
                return self._decode_slowly(data)
        except UnicodeDecodeError as error:
            _refuse_byte_order_mark(data)
            raise errors.InvalidJSON(
                f"the request is not UTF-8: {error.reason} at byte {error.start}"
            ) from None
        except RecursionError:
            raise errors.InvalidJSON("the request nests too deep") from None
        except msgspec.DecodeError as error:
            _refuse_byte_order_mark(data)
            raise errors.InvalidJSON(f"the request is not JSON: {error}") from None

    def _decode_slowly(self, data: bytes) -> R:
        """Decode a request that msgspec refused, and name the key that is wrong.

        The wrong value may belong to a key that is given twice. The last one
        counts, so the request may be sound without the others.
        """
        try:
            given = _decode_keys(data)
        except msgspec.ValidationError:
            raise errors.NotAnObject("the request must be a JSON object") from None
        fields = {field.encode_name: field for field in msgspec.structs.fields(self._class)}
        for key in given:
            if key not in fields:
                raise errors.UnknownKey(
                    f"unknown key {key[:_SHOWN_CHARACTERS]!r}; known are {', '.join(fields)}"
                )
        for name, field in fields.items():
            if field.required and name not in given:
                raise errors.MissingKey(f"the key {name} is missing")
        for name, raw in given.items():
            kind = fields[name].type
            try:
                msgspec.json.decode(raw, type=kind)
            except msgspec.ValidationError:
                raise errors.WrongType(f"{name} must be {_type_name(kind)}") from None
        return self._decode(msgspec.json.encode(given))


def _type_name(kind: Any) -> str:
    """Return the name that a user knows for the type of a field, optional or not."""
    alternatives = [typing.get_origin(one) or one for one in getattr(kind, "__args__", (kind,))]
    return next(name for t, name in TYPE_NAMES.items() if t in alternatives)


def _refuse_byte_order_mark(data: bytes) -> None:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            raise errors.InvalidJSON(
                f"the request begins with the byte order mark (BOM) of {encoding}; "
                "send UTF-8 without one"
            ) from None


def topic_in(data: bytes) -> str | None:
    """Return the topic of a request that was refused, if it has one, shortened."""
    try:
        return msgspec.json.decode(data, type=_OnlyTopic).topic[:_SHOWN_CHARACTERS]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def asks(data: bytes) -> bool:
    """Return true if a job that can bring a notice or a query brings a query."""
    try:
        return "query" in _decode_keys(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def wants_report(data: bytes) -> bool:
    """Return true if a request that was refused asks for ``always_report``."""
    try:
        return truth(_decode_keys(data).get("always_report", NOT_GIVEN))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
