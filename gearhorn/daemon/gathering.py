# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The results of receivers that a report carries, within bounds."""

from gearhorn import messages


class Room:
    """How many bytes of results all deliveries together may still gather."""

    def __init__(self, max_bytes: int) -> None:
        self.free = max_bytes


class Results:
    """The results of receivers, as far as there is room for them."""

    def __init__(self, max_bytes: int, room: Room) -> None:
        self.complete: dict[str, messages.Result] = {}
        self._max_bytes = max_bytes
        self._room = room
        self._taken = 0
        self._parts: dict[str, bytearray | None] = {}
        """What came so far; ``None`` where it is too large. Not the parts as they
        are: a million empty ones are nothing to send and much to keep."""

    def add(self, key: str, data: bytes, whole: bool) -> None:
        """Add a part that is not the last; ``whole`` if nothing of it was thrown away."""
        parts = self._parts.setdefault(key, bytearray())
        if parts is None:
            return
        if whole and self._take(len(data)):
            parts += data
        else:
            self._release(len(parts))
            self._parts[key] = None

    def close(self, key: str, data: bytes, whole: bool) -> bool:
        """Add the last part; whether the result is there."""
        if key in self._parts:
            self.add(key, data, whole)
            parts = self._parts.pop(key)
            if parts is None:
                return False
            data = bytes(parts)
        elif not whole or not self._take(len(data)):
            return False
        self.complete[key] = messages.result_of(data)
        return True

    def give_back(self) -> None:
        """Let other deliveries have the room."""
        self._release(self._taken)

    def _take(self, size: int) -> bool:
        """Take room; false if there is not so much."""
        if size > self._max_bytes - self._taken or size > self._room.free:
            return False
        self._taken += size
        self._room.free -= size
        return True

    def _release(self, size: int) -> None:
        self._taken -= size
        self._room.free += size
