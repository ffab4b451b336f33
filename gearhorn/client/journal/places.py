# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How far a subscriber has come in a topic's journals, and how that is written."""

from collections import deque
from collections.abc import Iterable

import msgspec

from gearhorn import errors

VERSION = 1
KNOWN = 2
"""The journals of a topic whose places are kept: a failover may bring the older one back."""
MOST_FAILED = 1000
"""The failures that are remembered, for copies that come again."""
MOST_AHEAD = 1000
"""The messages shown before their turn that are remembered."""


class Place:
    """How far a subscriber has come in one journal.

    :param journal: its id; ``None`` before the first message.
    :param start: where it began. Copies up to there are not numbered for it.
    :param position: the sequence up to which everything is handled.
    :param ahead: what is handled beyond that.
    """

    __slots__ = ("_failed", "ahead", "journal", "position", "start")

    def __init__(
        self, journal: str | None, start: int = 0, position: int = 0, ahead: Iterable[int] = ()
    ) -> None:
        self.journal = journal
        self.start = start
        self.position = position
        self.ahead = set(ahead)
        self._failed: deque[int] = deque(maxlen=MOST_FAILED)

    def is_handled(self, sequence: int) -> bool:
        """Return true if a message was handled, and not only found here at the start."""
        return self.start < sequence <= self.position or sequence in self.ahead

    def has_failed(self, sequence: int) -> bool:
        """Return true if a message that was handled is known to have failed."""
        return sequence in self._failed

    def move(self, position: int) -> None:
        """Go on to ``position``, and past what was handled beyond it."""
        self.position = max(self.position, position)
        while self.position + 1 in self.ahead:
            self.position += 1
        if self.ahead:
            self.ahead = {sequence for sequence in self.ahead if sequence > self.position}

    def handled(self, sequence: int, *, failed: bool) -> None:
        """Note that a message was handled, in its turn or before it."""
        if failed:
            self._failed.append(sequence)
        if sequence > self.position:
            self.ahead.add(sequence)
            self.move(self.position)
            if len(self.ahead) > MOST_AHEAD:
                self.ahead.remove(min(self.ahead))

    def after(self, sequence: int) -> "Place":
        """Return the place as it is once a message is handled."""
        place = Place(self.journal, self.start, self.position, self.ahead)
        place.handled(sequence, failed=False)
        return place


class _Written(msgspec.Struct, omit_defaults=True):
    journal: str | None
    start: int
    position: int
    ahead: list[int] = []


class _AllWritten(msgspec.Struct):
    version: int
    places: list[_Written]
    """Today's journal first."""


def encode(places: Iterable[Place]) -> bytes:
    """Return the places as they are written, today's first."""
    written = [
        _Written(place.journal, place.start, place.position, sorted(place.ahead))
        for place in places
    ]
    return msgspec.json.encode(_AllWritten(VERSION, written))


def decode(data: bytes) -> list[Place]:
    """Return the places that were written.

    :raises PositionUnreadable: they are not what :func:`encode` makes.
    """
    try:
        found = msgspec.json.decode(data, type=_AllWritten)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.PositionUnreadable(f"the position is no position: {error}") from None
    if found.version != VERSION or not found.places:
        raise errors.PositionUnreadable(
            f"the position is of version {found.version}: this release reads {VERSION}"
        )
    return [Place(each.journal, each.start, each.position, each.ahead) for each in found.places]
