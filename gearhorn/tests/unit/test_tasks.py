# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Tasks in the background."""

from __future__ import annotations

import asyncio
import contextlib

from gearhorn.tasks import Tasks, end


async def loses_a_cancellation() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    await asyncio.sleep(60)


async def test_a_task_that_loses_a_cancellation_is_ended() -> None:
    tasks = Tasks()
    task = tasks.start(loses_a_cancellation())
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.cancel(), 10)
    assert task.cancelled()


async def test_none_and_those_that_have_ended_are_no_matter() -> None:
    done = asyncio.ensure_future(asyncio.sleep(0))
    await done
    await end(())
    await end([done])
    assert not done.cancelled()
