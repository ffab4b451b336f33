# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Waiting for a store that is away."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from gearhorn import clock, errors

LOG = logging.getLogger(__name__)

MAX_REASONS = 10
"""The number of reasons for one fault that are logged."""

FIRST_DELAY = 0.05
LONGEST_DELAY = 2.0

_ADVICE: dict[type[errors.StoreError], str] = {
    errors.StoreAway: (
        "The store is away; jobs wait until it answers. Check that it runs and can be reached"
    ),
    errors.StoreFull: (
        "The store takes no changes; jobs wait until it does. Give it memory "
        "or disk, or make it writable"
    ),
    errors.StoreMisconfigured: (
        "The store refuses; jobs wait until it does not. Correct its URL and "
        "password in the configuration, or the store itself"
    ),
    errors.StoreReplaced: (
        "The store was emptied or is another one; jobs wait. Restore its data, or accept "
        "it as it is with gearhorn-fanout --accept-store"
    ),
    errors.StoreIncomplete: (
        "A part of the store is gone and cannot be rebuilt; jobs wait. Restore its data, or "
        "accept what is left: gearhorn-fanout --accept-store. Set maxmemory-policy noeviction"
    ),
}
_OTHER = "The store fails; jobs wait until it does not"


def advice_on(fault: errors.StoreError) -> str:
    """Return what a fault means, and what to do about it."""
    return _ADVICE.get(type(fault), _OTHER)


_P = ParamSpec("_P")
_T = TypeVar("_T")


class Patience:
    """A wrapper of calls to a store, which repeats them until they succeed.

    One object serves all calls of one store. It logs a line when the first of
    them fails, one when the kind of failure changes, one for each new reason, and
    one when none fails any more. One call that succeeds does not end a fault while
    others still fail: a store that is full can be read.
    """

    def __init__(self) -> None:
        self.fault: errors.StoreError | None = None
        """The error for which calls wait; ``None`` while none does."""
        self.on_replaced: Callable[[], object] = lambda: None
        """Called whenever a call finds that the store is another one."""
        self._since = 0.0
        self._past_s = 0.0
        """The seconds of all faults that are over."""
        self._reasons: set[str] = set()
        """The reasons that were logged since then."""
        self._waiting: Counter[type[errors.StoreError]] = Counter()

    @property
    def fault_seconds(self) -> float:
        """The seconds for which there was a fault, the present one included."""
        return self._past_s + (0.0 if self.fault is None else clock.now() - self._since)

    @property
    def waiting(self) -> int:
        """The number of calls that wait for the end of a fault."""
        return self._waiting.total()

    async def call(
        self,
        operation: Callable[_P, Awaitable[_T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Call ``operation(*args)`` until the store does it, and return the result.

        An exception that is not a StoreError is raised: QueueTaken is an answer.
        """
        delay = FIRST_DELAY
        waits_for: type[errors.StoreError] | None = None
        try:
            while True:
                begun = clock.now()
                try:
                    result = await operation(*args, **kwargs)
                except errors.StoreError as error:
                    fault = error
                except errors.QueueTaken:
                    self._works(waits_for, begun)
                    waits_for = None
                    raise
                else:
                    self._works(waits_for, begun)
                    waits_for = None
                    return result
                # Not in the handler: oslo.log would add the exception that is being
                # handled to the line, which has it already.
                self._fails(fault, waits_for)
                waits_for = type(fault)
                # Jitter keeps the calls from coming back all at once.
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(2 * delay, LONGEST_DELAY)
        finally:
            # Not None only if the call was cancelled.
            self._leave(waits_for)

    def _fails(
        self,
        error: errors.StoreError,
        before: type[errors.StoreError] | None,
    ) -> None:
        kind = type(error)
        if kind is errors.StoreReplaced:
            self.on_replaced()
        is_new = not self._waiting[kind]
        self._leave(before)
        self._waiting[kind] += 1
        reason = str(error)
        if self.fault is None:
            self._since = clock.now()
            self._reasons.clear()
        elif not is_new or type(self.fault) is kind:
            if reason not in self._reasons and len(self._reasons) < MAX_REASONS:
                self._reasons.add(reason)
                LOG.warning("The store still fails: %s", reason)
            return
        self.fault = error
        self._reasons.add(reason)
        LOG.error("%s: %s", advice_on(error), reason)

    def _works(self, before: type[errors.StoreError] | None, begun: float) -> None:
        self._leave(before)
        # A call that began before the fault tells nothing about it.
        if self.fault is not None and begun >= self._since and not self._waiting.total():
            self.fault = None
            lasted = clock.now() - self._since
            self._past_s += lasted
            LOG.info("The store is back after %.1f seconds", lasted)

    def _leave(self, kind: type[errors.StoreError] | None) -> None:
        if kind is not None:
            self._waiting[kind] -= 1
