# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The patterns of the topics that have journals, which all daemons of a store share.

They stand in the subscriptions' store, in their order, beside the identity of the store of
the journals, and have a version, which comes with each list that is read
(:attr:`~gearhorn.store.base.Members.patterns`). Whoever writes them changes the matchmaking
topic: they are in force once that change is confirmed, as every daemon has dropped its lists
by then.
"""

import abc
from collections.abc import Sequence
from typing import NamedTuple

from gearhorn.store.changes import Change


class Patterns(NamedTuple):
    """The patterns in their order, and the identity of the store of the journals.

    ``version`` rises each time they are written; 0 if there are none.
    """

    version: int
    patterns: Sequence[str] = ()
    journals: str = ""
    in_force: bool = True
    """False as long as nobody has confirmed the change of the matchmaking topic."""


class Written(NamedTuple):
    """The answer to whoever wants to write patterns.

    ``patterns`` are those that the store has now, written by this call or before.
    ``ignorant`` are daemons of an older release that know of no journals: nothing is written
    while one of them stands. ``changes`` are unconfirmed, and to be confirmed.
    """

    patterns: Patterns
    ignorant: Sequence[str] = ()
    changes: Sequence[Change] = ()


class SharedPatterns(abc.ABC):
    """The part of :class:`~gearhorn.store.base.Store` that is about the patterns."""

    @abc.abstractmethod
    async def patterns(self) -> Patterns:
        """Return the patterns that the store has."""

    async def offer_patterns(self, patterns: Sequence[str], journals: str) -> Written:
        """Write the patterns of a daemon that has some, unless the store has any already."""
        return await self._write_patterns(patterns, journals, over=False)

    async def adopt_patterns(self, patterns: Sequence[str], journals: str) -> Written:
        """Write these patterns, on an operator's word, whatever stands there.

        The same ones, once more, change nothing. None at all are a pattern list, too.
        """
        return await self._write_patterns(patterns, journals, over=True)

    @abc.abstractmethod
    async def _write_patterns(
        self, patterns: Sequence[str], journals: str, *, over: bool
    ) -> Written:
        """Write patterns where there are none, or over others."""
