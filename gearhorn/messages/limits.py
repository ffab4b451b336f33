# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The limits that a registration brings for its queue."""

from typing import Literal

import msgspec
from msgspec import Struct

from gearhorn import errors
from gearhorn.messages.names import MAX_SECONDS

LEAST_WAITING = 100
"""The least ``max_waiting``. With fewer, each look at a job server would come too late."""

MOST_WAITING = 2**63 - 1
"""The largest integer that every reader of JSON and of a store takes."""

LEAST_IDLE_S = 60
"""The shortest ``remove_idle`` and ``discard_after``, in seconds."""

REFUSE = "refuse"
"""A copy for a full queue fails."""

SKIP = "skip"
"""A copy for a full queue is left out, where the subscriber finds it in a journal."""

OVERFLOWS = (REFUSE, SKIP)

Overflow = Literal["refuse", "skip"]


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a subscriber's registration says of its queue; ``None`` where it says nothing.

    ``max_waiting`` counts jobs. Of it and the configuration's, the smaller counts.
    ``overflow`` and ``remove_idle``, in seconds, replace the configuration's; a
    ``remove_idle`` of 0 is never. An object is true if it says anything.
    """

    max_waiting: int | None = None
    overflow: str | None = None
    remove_idle: float | None = None

    def __post_init__(self) -> None:
        most = self.max_waiting
        if most is not None and not LEAST_WAITING <= most <= MOST_WAITING:
            raise errors.InvalidLimits(f"max_waiting must be {LEAST_WAITING} or more")
        if self.overflow is not None and self.overflow not in OVERFLOWS:
            raise errors.InvalidLimits(f"overflow must be one of {', '.join(OVERFLOWS)}")
        idle = self.remove_idle
        if idle is not None and idle != 0 and not LEAST_IDLE_S <= idle <= MAX_SECONDS:
            raise errors.InvalidLimits(
                f"remove_idle must be 0, for never, or {LEAST_IDLE_S} to {MAX_SECONDS} seconds"
            )

    def __bool__(self) -> bool:
        return self != NO_LIMITS

    def text(self) -> str:
        """Return them as a store keeps them: ``""`` if there are none."""
        return msgspec.json.encode(self).decode() if self else ""

    @classmethod
    def read(cls, text: str) -> "Limits":
        """Return what a store has kept. What another release wrote and this one cannot read
        is none: a list of subscribers is not to fail for it."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, errors.InvalidLimits):
            return NO_LIMITS


NO_LIMITS = Limits()
