# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Reading lists from the store in rounds: what is asked for at the same time is read in one call.

A call of the store costs the daemon much more than its answer, if the topic is small. What is
asked for in one turn of the loop makes a round. While :data:`_ROUNDS` are under way, the next
gathers. A topic that is asked for alone, or that the store leaves out of a round, is read by
itself, and so is each topic of a round that the store refuses: one of them may be the reason.
"""

import asyncio
import copy
from collections.abc import Mapping
from itertools import islice

from gearhorn import errors
from gearhorn.store.base import Members, Store
from gearhorn.tasks import Tasks

_ROUNDS = 4
"""The most rounds that are under way; one that hangs does not hold up the others."""

_TOPICS = 100
"""The most topics in a round. With more the work for each gets no less."""

_Asked = dict[str, list["asyncio.Future[Members | None]"]]


class Rounds:
    """The rounds in which a daemon reads lists.

    :param worker_id: the id of the daemon, in whose name lists are read.
    """

    def __init__(self, store: Store, worker_id: str) -> None:
        self._store = store
        self._worker_id = worker_id
        self._asked: _Asked = {}
        self._under_way = 0
        self._due = False
        self._tasks = Tasks()

    async def members(self, topic: str) -> Members:
        """Return what the store's ``members`` returns, asked for after this was called."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Members | None] = loop.create_future()
        self._asked.setdefault(topic, []).append(future)
        if not self._due and self._under_way < _ROUNDS:
            self._due = True
            # After all that this turn of the loop has to ask for.
            loop.call_soon(self._begin)
        members = await future
        if members is None:
            members = await self._store.members(topic, self._worker_id)
        return members

    async def close(self) -> None:
        """End the rounds that are under way; nobody may wait for them any more."""
        await self._tasks.cancel()

    def _begin(self) -> None:
        self._due = False
        while self._asked and self._under_way < _ROUNDS:
            topics = list(islice(self._asked, _TOPICS))
            asked = {topic: self._asked.pop(topic) for topic in topics}
            if len(asked) == 1:
                _answer(asked, {})
                continue
            self._under_way += 1
            self._tasks.start(self._read(asked))

    async def _read(self, asked: _Asked) -> None:
        try:
            _answer(asked, await self._store.lists(list(asked), self._worker_id))
        except errors.StoreMisconfigured:
            _answer(asked, {})
        except Exception as error:
            for futures in asked.values():
                for future in futures:
                    if not future.done():
                        # Each gets its own: raising it adds to it.
                        future.set_exception(copy.copy(error))
        finally:
            self._under_way -= 1
            self._begin()


def _answer(asked: _Asked, found: Mapping[str, Members]) -> None:
    for topic, futures in asked.items():
        for future in futures:
            if not future.done():
                future.set_result(found.get(topic))
