# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The number of a message in its topic's journal, as the unique of each copy carries it."""

import re
from typing import NamedTuple

from gearhorn.messages import MAX_SEQUENCE

_numbered = re.compile(rb"j\.([0-9a-f]{1,32})\.([1-9][0-9]{0,15})\.[0-9]+(?:\..*)?").fullmatch


class Number(NamedTuple):
    """The place of a message: the id of a journal, and the sequence in it."""

    journal: str
    sequence: int


def number_of(unique: bytes) -> Number | None:
    """Return the number in a copy's unique, ``j.JOURNAL.SEQUENCE.GROUP[.TOKEN]``.

    :returns: ``None`` if it carries none. Anybody may have made it up.
    """
    found = _numbered(unique)
    if found is None or (sequence := int(found[2])) > MAX_SEQUENCE:
        return None
    return Number(found[1].decode(), sequence)
