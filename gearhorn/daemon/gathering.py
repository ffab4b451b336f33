# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The results of receivers that a report carries, and the room for them.

They are counted as the report will write them, in JSON.
"""

from typing import cast

import msgspec

from gearhorn import messages

_LARGE = 1 << 12
"""The bytes from which on a result is kept as it will be written. Smaller ones are kept
as strings, which is quicker."""

_encode = msgspec.json.encode
_result_of = messages.result_of


class Room:
    """The bytes of results that all deliveries together may still gather."""

    def __init__(self, max_bytes: int) -> None:
        self.free = self.max_bytes = max_bytes


class Results:
    """The results of one delivery's receivers, as far as there is room."""

    def __init__(self, max_bytes: int, room: Room) -> None:
        self.complete: dict[str, messages.Result] = {}
        self._max_bytes = max_bytes
        self._room = room
        self._taken = 0
        self._parts: dict[str, bytearray | None] = {}
        """The results so far of receivers that send parts; ``None`` if too large.

        Joined at once: a million empty parts are nothing to send and much to keep."""

    def add(self, key: str, data: bytes, whole: bool) -> None:
        """Add a part that is not the last.

        :param whole: false if ``data`` is only the head of the part.
        """
        parts = self._parts.setdefault(key, bytearray())
        if parts is None:
            return
        if whole and self._take(len(data)):
            parts += data
        else:
            self._release(len(parts))
            self._parts[key] = None

    def close(self, key: str, data: bytes, whole: bool) -> bool:
        """Add the last part; return false if the result was too large."""
        if key in self._parts:
            self.add(key, data, whole)
            parts = self._parts.pop(key)
            if parts is None:
                return False
            # Until now it was counted as it came.
            self._release(len(parts))
            data = bytes(parts)
        elif not whole:
            return False
        if len(data) < _LARGE:
            result = _result_of(data)
            size = len(_encode(result))
        else:
            free = min(self._max_bytes - self._taken, self._room.free)
            written = messages.written_result(data, free)
            if written is None:
                return False
            size = len(memoryview(written))
            # It is written as it is, in the place of a result.
            result = cast(messages.Result, written)
        if not self._take(size):
            return False
        self.complete[key] = result
        return True

    def give_back(self) -> None:
        """Give the room back to other deliveries."""
        self._release(self._taken)

    def _take(self, size: int) -> bool:
        """Take room for ``size`` bytes; return false if there is not so much."""
        if size > self._max_bytes - self._taken or size > self._room.free:
            return False
        self._taken += size
        self._room.free -= size
        return True

    def _release(self, size: int) -> None:
        self._taken -= size
        self._room.free += size
