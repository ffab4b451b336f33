# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The messages that a reader of a journal gets."""

from typing import Any

import msgspec

from gearhorn.client.journal.missing import holes
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
    lacking = {hole.last + 1: hole for hole in holes(found, after)}
    trimmed |= found.trimmed is True
    # Where the clock was behind, the numbers go on.
    gap |= found.gap is True and not lacking
    for message in found.messages:
        is_first = not entries
        hole = lacking.get(message.sequence)
        entries.append(
            Entry(
                found.topic,
                found.journal,
                message.sequence,
                message.published,
                message.payload_bytes(),
                gap=(is_first and gap) or (hole is not None and hole.gap),
                trimmed=is_first and trimmed,
                reset=is_first and reset,
            )
        )
    return entries
