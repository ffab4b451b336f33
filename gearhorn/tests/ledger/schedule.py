# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The schedule of faults, drawn from a seed, and the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LASTS: Mapping[str, tuple[float, float]] = {
    # To a process. A freeze is shorter or longer than cache_ttl and daemon_ttl.
    "kill": (0.1, 3.0),
    "freeze": (0.2, 8.0),
    # What it was sent in the meantime is lost with it.
    "freeze and kill": (0.2, 5.0),
    "restart": (0.1, 2.0),
    # To the network.
    "cut": (0.1, 3.0),
    "reset": (0.0, 0.5),
    "stall": (0.2, 5.0),
    "stall and cut": (0.2, 5.0),
    "delay": (0.5, 4.0),
    "truncate": (0.5, 3.0),
    "stall in a request": (0.5, 4.0),
    # To the slot of a cluster.
    "move": (0.1, 1.0),
    "fail over": (0.1, 1.0),
}
"""Each kind of fault, and for how many seconds it lasts."""
TO_PROCESSES = ("kill", "freeze", "freeze and kill", "restart")
ARMED = ("truncate", "stall in a request")
"""Those that happen after so many bytes."""
LOSING = ("freeze and kill", "stall and cut")
"""Those that take with them what was sent in the meantime."""
DOUBLES = 0.1
"""The share of faults that are one of these, with a daemon killed before it is over.

Whoever answers before a copy is queued then loses it.
"""
TO_SLOTS = ("move", "fail over")
TO_NETWORK = tuple(kind for kind in LASTS if kind not in (*TO_PROCESSES, *TO_SLOTS))
MAX_BYTES = 3_000
"""After how many bytes at the most a connection is truncated, or stalls."""


class Fault(NamedTuple):
    """One fault of a round. Times are in seconds from the start of the round."""

    number: int
    begins: float
    ends: float
    kind: str
    target: str
    after_bytes: int


def kinds_of(target: str) -> Sequence[str]:
    """Return the kinds of fault for a target; names of the network begin with ``net``."""
    if target.startswith("net"):
        return TO_NETWORK
    if target == "slot":
        return TO_SLOTS
    if target.startswith(("publisher", "poster")):
        return ("kill", "freeze", "freeze and kill")
    return TO_PROCESSES


class Schedule:
    """Draws rounds of faults.

    :param targets: what can be hit, and how often in proportion to the others.
    :param pause: how long after one fault the next begins, on the average, in seconds.
    """

    def __init__(self, seed: int, targets: Mapping[str, float], pause: float) -> None:
        # Of its own: whatever else is drawn, the schedule is the same.
        self._random = random.Random(seed)
        self._targets = targets
        self._pause = pause
        self._count = 0
        self._untried = [(target, kind) for target in targets for kind in kinds_of(target)]
        self._random.shuffle(self._untried)

    def round(self, count: int) -> list[Fault]:
        """The next faults; none hits a target that is not whole again."""
        busy: dict[str, float] = {}
        faults: list[Fault] = []
        begins = 0.0
        while len(faults) < count:
            begins += self._random.expovariate(1 / self._pause)
            double = self._random.random() < DOUBLES and len(faults) + 1 < count
            target, kind = self._draw_losing() if double else self._draw()
            begins = max(begins, busy.get(target, 0.0))
            fault = self._fault(begins, kind, target, busy)
            faults.append(fault)
            if double:
                daemon = self._random.choice(self._named("daemon"))
                dies = max(self._random.uniform(begins, fault.ends), busy.get(daemon, 0.0))
                faults.append(self._fault(dies, "kill", daemon, busy))
        return faults

    def _fault(self, begins: float, kind: str, target: str, busy: dict[str, float]) -> Fault:
        ends = busy[target] = begins + self._random.uniform(*LASTS[kind])
        after_bytes = int(self._random.triangular(0, MAX_BYTES, 0))
        self._count += 1
        return Fault(self._count - 1, begins, ends, kind, target, after_bytes)

    def _draw(self) -> tuple[str, str]:
        # Half of them are what was not tried yet, so that everything is.
        if self._untried and self._random.random() < 0.5:
            return self._untried.pop()
        (target,) = self._random.choices(list(self._targets), list(self._targets.values()))
        return target, self._random.choice(kinds_of(target))

    def _draw_losing(self) -> tuple[str, str]:
        target = self._random.choice(self._named("gearmand", "net-daemon"))
        return target, next(kind for kind in LOSING if kind in kinds_of(target))

    def _named(self, *beginnings: str) -> list[str]:
        return [target for target in self._targets if target.startswith(beginnings)]
