# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""How many messages a subscriber fetches ahead of its handlers."""

AHEAD_S = 0.05
"""Seconds of work, about, for which messages are fetched ahead: more would keep a quiet
topic, and other subscribers of the same queue, waiting."""
AHEAD_MAX = 1000
_WEIGHT = 0.05


class Pace:
    """The seconds that a message takes, as an average that favours recent ones."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        # One message for each handler is fetched ahead until more is known.
        self.seconds = AHEAD_S

    def note(self, seconds: float) -> None:
        """Record that a message took ``seconds``. An update lost between threads is harmless."""
        self.seconds += (seconds - self.seconds) * _WEIGHT

    def ahead(self, concurrency: int) -> int:
        """Return the number of messages to fetch ahead."""
        return max(1, min(AHEAD_MAX, int(concurrency * AHEAD_S / max(self.seconds, 1e-9))))
