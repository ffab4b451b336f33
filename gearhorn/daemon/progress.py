# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Progress: once a second the publishers of foreground fan-outs are told how far those are."""

import asyncio

from gearhorn.daemon.foreground import ForegroundDelivery

PROGRESS_S = 1.0
"""Seconds between two reports of progress to the publisher of a foreground fan-out."""


class Progress:
    """The foreground fan-outs under way whose publishers want to be told of progress."""

    def __init__(self) -> None:
        self._started: dict[ForegroundDelivery, float] = {}
        """The fan-outs, and their starts on the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    def follow(self, delivery: ForegroundDelivery) -> None:
        """Tell of the progress of ``delivery`` from now on."""
        loop = asyncio.get_running_loop()
        self._started[delivery] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(PROGRESS_S, self._tell)

    def ended(self, delivery: ForegroundDelivery) -> None:
        """Tell no more of ``delivery``, if it was told of."""
        self._started.pop(delivery, None)

    def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time() - PROGRESS_S
        for delivery, started in self._started.items():
            if started > before:
                break
            delivery.progress()
        self._timer = None
        if self._started:
            self._timer = loop.call_later(PROGRESS_S, self._tell)
