# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The functions of one connection, and their turns."""

from collections import Counter
from collections.abc import Iterable

_FADING = 0.9
_FORGOTTEN = 0.01


class Turn:
    """The functions that one connection has registered, and how much each had of late."""

    __slots__ = (
        "functions",
        "leaving",
        "needed",
        "returned",
        "served",
        "since",
        "tried",
        "used",
    )

    def __init__(self, functions: Iterable[bytes]) -> None:
        self.functions = dict.fromkeys(functions)
        """The functions, from those moved longest ago to those moved last."""
        self.leaving: set[bytes] = set()
        """The functions to leave once none of their jobs is held."""
        self.returned: set[bytes] = set()
        """The functions whose jobs were given back, which the server is to be told by then."""
        self.needed: bool | None = None
        """True if the server does not take turns by itself; ``None`` until it is known."""
        self.tried = False
        """True once the server is being tried, or has been."""
        self.since = 0.0
        """The time at which the turn began; 0 while there is none."""
        self.served: Counter[bytes] = Counter()
        """The jobs of each function in this turn."""
        self.used: dict[bytes, float] = {}
        """The jobs of each function in earlier turns, fading."""

    @property
    def has_to_go(self) -> bool:
        """True while the server is to be told of functions once their jobs are answered."""
        return bool(self.leaving or self.returned)

    def end(self) -> None:
        """Forget all turns: every function was empty, and nobody is owed one."""
        self.since = 0.0
        self.served.clear()
        self.used.clear()

    def next(self, now: float) -> None:
        """Begin the next turn."""
        self.since = now
        used = {name: count * _FADING for name, count in self.used.items()}
        for name, count in self.served.items():
            used[name] = used.get(name, 0.0) + count
        self.used = {name: count for name, count in used.items() if count > _FORGOTTEN}
        self.served.clear()

    def move(self, held: set[bytes], most: int) -> list[bytes]:
        """Put the functions first that had the fewest jobs, and return them in that order.

        :param held: the functions whose jobs are held, which cannot be moved.
        :param most: the most functions that are moved.
        """
        free = [name for name in self.functions if name not in held]
        moved = sorted(free, key=lambda name: self.used.get(name, 0.0))[:most]
        for name in moved:
            del self.functions[name]
        self.functions.update(dict.fromkeys(moved))
        return moved
