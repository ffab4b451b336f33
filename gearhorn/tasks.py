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
"""Tasks in the background that are not lost and do not fail in silence."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

LOG = logging.getLogger(__name__)

_AGAIN_S = 0.2


class Tasks:
    """Holds tasks while they run, since the event loop does not."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``coroutine``; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("unexpected error", exc_info=task.exception())

    async def cancel(self) -> None:
        """Cancel all, and wait until they have ended."""
        await end(self._running)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks`` until they have ended.

    More than once where that takes long: before Python 3.12 a cancellation is
    lost if what ``asyncio.wait_for()``, which redis-py uses, waits for ends in
    the same moment.
    """
    everyone = tuple(tasks)
    pending = {task for task in everyone if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    await asyncio.gather(*everyone, return_exceptions=True)
