# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Reading requests, and saying which key is wrong."""

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw

from gearhorn import errors
from gearhorn.messages.names import TYPE_NAMES
from gearhorn.messages.requests import Request
from gearhorn.messages.values import NOT_GIVEN, truth

_SHOWN_CHARACTERS = 100
"""How much of a key a message shows: a key can be as long as a request."""

_decode_keys = msgspec.json.Decoder(dict[str, Raw]).decode


R = TypeVar("R", bound=Request)


class RequestDecoder(Generic[R]):
    """Reads requests of one class out of the bytes of a job.

    :param request_class: what the requests of this function are.
    """

    def __init__(self, request_class: type[R]) -> None:
        self._class = request_class
        self._decode = msgspec.json.Decoder(request_class).decode

    def __call__(self, data: bytes) -> R:
        """The request in ``data``.

        :raises RequestError: the subclass says what is wrong.
        """
        try:
            if not data.isascii():
                # msgspec passes over the inside of a Raw value.
                data.decode()
            try:
                return self._decode(data)
            except msgspec.ValidationError:
                return self._decode_slowly(data)
        except UnicodeDecodeError as error:
            raise errors.InvalidJSON(
                f"the request is not UTF-8: {error.reason} at byte {error.start}"
            ) from None
        except RecursionError:
            raise errors.InvalidJSON("the request nests too deep") from None
        except msgspec.DecodeError as error:
            raise errors.InvalidJSON(f"the request is not JSON: {error}") from None

    def _decode_slowly(self, data: bytes) -> R:
        """Look again at what msgspec refused, to name the key.

        What it refused may be a duplicate: the last of those counts, and
        once only that one is left, the request may be sound.
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
    """What a user calls the type of a field, optional or not."""
    alternatives = getattr(kind, "__args__", (kind,))
    return next(name for t, name in TYPE_NAMES.items() if t in alternatives)


def wants_report(data: bytes) -> bool:
    """Whether a request that was refused asks for ``always_report``."""
    try:
        return truth(_decode_keys(data).get("always_report", NOT_GIVEN))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
