# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The time that a store takes for the calls of a daemon, whichever store it is."""

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gearhorn import clock, errors
from gearhorn.store.base import Store
from gearhorn.store.journal import Journals

OPERATIONS = (
    "open",
    "vouch",
    "look",
    "add",
    "remove",
    "members",
    "lists",
    "reap",
    "unconfirmed",
    "confirm",
    "join",
    "renew",
    "leave",
    "daemons",
    "bar",
    "remove_daemon",
    "topics",
    "subscribers",
    "holders",
    "ended",
    "discardable",
    "take",
    "release",
    "unserved",
    "served",
    "idle",
    "looked",
    "end_idle",
    "patterns",
    "offer_patterns",
)
"""The methods of a store that ask it something, but for what only an operator's word does."""

JOURNAL_OPERATIONS = ("open", "append", "heads", "read_all", "rows", "topics", "memory", "trim")
"""Those of a store of journals, without those that are made of these, and the watch."""

OnCall = Callable[[str, float, str | None], None]


def time_calls(store: Store | Journals, operations: Sequence[str], on_call: OnCall) -> None:
    """Have ``on_call`` told of each call's method, seconds, and code if it failed.

    (Rejected: a store that wraps another, whose methods only pass on; and
    taking the time in each implementation.)
    """
    for operation in operations:
        setattr(store, operation, _timed(operation, getattr(store, operation), on_call))


def _timed(
    operation: str, method: Callable[..., Awaitable[Any]], on_call: OnCall
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        begun = clock.now()
        code = None
        try:
            return await method(*args, **kwargs)
        except errors.StoreError as error:
            code = error.code
            raise
        finally:
            on_call(operation, clock.now() - begun, code)

    return call
