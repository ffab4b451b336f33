# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon's clock."""

import asyncio
import time


def now() -> float:
    """Seconds on a clock that no one sets and that counts suspension.

    A lease must run out while the machine sleeps, which time.monotonic()
    does not notice on Linux; elsewhere it is the best there is.
    """
    return _read(_CLOCK)


async def sleep_until(when: float) -> None:
    """Return once :func:`now` is at ``when`` or later."""
    # The loop's own clock stands still while the machine sleeps: look again.
    while (remaining := when - now()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(remaining)


_read = time.clock_gettime
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
