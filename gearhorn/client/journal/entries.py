# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The messages that a reader of a journal gets."""

from itertools import pairwise
from typing import Any

import msgspec

from gearhorn.messages import Backlog


class Entry(msgspec.Struct, frozen=True):
    """A message that was read from a journal."""

    topic: str
    """The topic to which the message was published."""
    journal: str
    """The id of the journal."""
    sequence: int
    """The number of the message in it."""
    published: float
    """When it was added, in seconds since 1970, by the store's clock."""
    payload: bytes
    """The payload as bytes."""
    gap: bool = False
    """True where the journal may have lost messages before this one."""
    trimmed: bool = False
    """True where messages before this one are gone by the journal's limits."""
    reset: bool = False
    """True where this is another journal than before: the first of its messages."""

    @property
    def text(self) -> str:
        """The payload as text.

        :raises UnicodeDecodeError: the payload is not UTF-8.
        """
        return self.payload.decode()

    def json(self) -> Any:
        """Return the value that the payload has as JSON.

        :raises ValueError: the payload is not JSON.
        """
        try:
            return msgspec.json.decode(self.payload)
        except RecursionError:
            raise ValueError("the payload nests too deep") from None


def entries_of(found: Backlog, after: int, *, reset: bool, trimmed: bool, gap: bool) -> list[Entry]:
    """Return the messages of an answer.

    :param after: the position for which it was asked.
    :param reset: true if the first is the first of another journal than before.
    :param trimmed: true if messages before the first are gone, as an answer before has said.
    :param gap: true if some may have been lost, as an answer before has said.
    """
    if found.journal is None:
        return []
    entries: list[Entry] = []
    trimmed |= found.trimmed is True
    before = [after, *(message.sequence for message in found.messages)]
    is_hole = [later > earlier + 1 for earlier, later in pairwise(before)]
    # Where the numbers jump there is a hole. If it is none of the later ones, it is the first.
    gap |= found.gap is True and not any(is_hole[1:])
    for message, follows_hole in zip(found.messages, is_hole, strict=True):
        is_first = not entries
        entries.append(
            Entry(
                found.topic,
                found.journal,
                message.sequence,
                message.published,
                message.payload_bytes(),
                gap=(is_first and gap) or (follows_hole and not (is_first and trimmed)),
                trimmed=is_first and trimmed,
                reset=is_first and reset,
            )
        )
    return entries
