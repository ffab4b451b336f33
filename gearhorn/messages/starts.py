# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Where in a journal a registration begins."""

import msgspec
from msgspec import Raw, Struct

from gearhorn import errors
from gearhorn.messages.names import MAX_SEQUENCE
from gearhorn.messages.values import NOT_GIVEN

NEW = "new"
FIRST = "first"
LAST = "last"
STARTS = (NEW, FIRST, LAST)
"""Where a registration can begin, but for a position."""


class Start(Struct, frozen=True):
    """Where a registration begins: one of :data:`STARTS`, or a position in a journal."""

    word: str
    after: int = 0
    journal: str | None = None


class _Position(Struct, frozen=True, forbid_unknown_fields=True):
    after: int
    journal: str


_decode_start = msgspec.json.Decoder(str | _Position).decode


def start_of(raw: Raw) -> Start:
    """Return the ``start`` of a registration.

    :raises InvalidStart: it is nonsense.
    """
    data = bytes(raw)
    if raw is NOT_GIVEN or data == b"null":
        return Start(NEW)
    try:
        found = _decode_start(data)
    except msgspec.ValidationError:
        found = ""
    if isinstance(found, _Position):
        if 0 <= found.after <= MAX_SEQUENCE:
            return Start("", found.after, found.journal)
    elif found in STARTS:
        return Start(found)
    raise errors.InvalidStart(
        f"start must be one of {', '.join(STARTS)}, or an object with after and journal"
    )
