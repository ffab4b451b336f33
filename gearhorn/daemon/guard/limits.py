# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The limits of the queues that this daemon sends to."""

from dataclasses import dataclass

from gearhorn import messages


@dataclass(frozen=True)
class LimitSettings:
    """The limits in the configuration. 0 is none."""

    max_waiting: int = 100_000
    """The most jobs in one queue."""
    max_waiting_bytes: int = 256 << 20
    """The most bytes in one queue."""
    warn_waiting: int = 10_000
    """The jobs in one queue from which on the log names it."""
    overflow: str = messages.REFUSE
    """What becomes of a copy for a full queue: one of :data:`gearhorn.messages.OVERFLOWS`."""
    max_total: int = 2_000_000
    """The most jobs in all queues of one job server."""
    max_total_bytes: int = 4 << 30
    """The most bytes in all queues of one job server."""
    remove_idle: float = 0.0
    """Seconds after which a subscription ends whose queue nobody serves."""
    discard_after: float = 0.0
    """Seconds after the end of a subscription from which on what it left is discarded."""
