# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The clock of leases."""

import asyncio
import functools
import time
from collections.abc import Callable

now: Callable[[], float] = time.monotonic
"""Return the time in seconds, on a clock that nobody sets and that counts suspension.

A lease must run out while the machine sleeps. On Linux time.monotonic() stands still then;
elsewhere it is the best clock there is.
"""
if hasattr(time, "clock_gettime") and hasattr(time, "CLOCK_BOOTTIME"):
    now = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)


async def sleep_until(when: float) -> None:
    """Return once :func:`now` is at ``when`` or later."""
    # The loop's own clock stands still while the machine sleeps, so look again.
    while (remaining := when - now()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(remaining)
