# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
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
