# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The numbers that a store has told a daemon, by which the daemon notices one that went back.

Each change and each renewal has a number, from a counter that only rises, and the store
notes it under the daemon's worker id in the same step. A call that finds less there than
the daemon was told, or a counter below that, talks to an older state of the store: an old
dump was brought back, a failover lost the last writes, or the server became the replica
of an older copy, at which all connections stay open. What the store answered since is
gone then, and its own numbers count from there on.
"""

import logging
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from gearhorn import clock, errors

LOG = logging.getLogger(__name__)

NONCES = 10**9
"""A version is the counter times this, and a nonce. So the version of a change that was
lost is not that of a later one, and any program can read it as a number."""


class WentBack(errors.StoreError):
    """The store is older than what it has answered. Stores deal with it themselves."""


class Told(NamedTuple):
    """What a daemon knows when it makes a call."""

    epoch: int
    """It changes each time the store went back."""
    own: int
    """The last number under this daemon's worker id."""
    least: int
    """What the counter cannot be below."""
    asked: float
    """The time on :func:`gearhorn.clock.now`."""


def new_nonce() -> int:
    return secrets.randbelow(NONCES)


class Numbers:
    """The numbers that a daemon was told.

    :param worker_id: ``""`` for a caller that is no daemon, under which nothing is noted.
    """

    def __init__(self, worker_id: str) -> None:
        self._worker_id = worker_id
        self._identity = ""
        self.epoch = 0
        """It changes each time the store went back."""
        self._own = 0
        self._least = 0
        self._answered = 0.0
        """When the last call that was answered was asked."""

    @property
    def highest(self) -> int:
        """The highest number that is known of, for whoever remembers it over a restart."""
        return self._least

    def expect(self, number: int) -> None:
        """Take a store for one that went back if its counter is below ``number``.

        Call this before the store is opened, with what :attr:`highest` was.
        """
        self._least = max(self._least, number)

    def now(self, identity: str) -> Told:
        """Return what is known for a call to the store of this identity."""
        if identity != self._identity:
            if self._identity:
                self._forget()
            self._identity = identity
        return Told(self.epoch, self._own, self._least, clock.now())

    def answered(self, told: Told, number: int = 0) -> None:
        """Note that a call was answered, and the number that it was given."""
        if told.epoch == self.epoch:
            self._least = max(self._least, number)
            if self._worker_id:
                self._own = max(self._own, number)
            self._answered = max(self._answered, told.asked)

    def left(self) -> None:
        """Note that the store has forgotten this daemon, as it was asked to."""
        self._own = 0

    def go_back(self, told: Told) -> float | None:
        """Let the store's numbers count.

        :returns: when the last call was asked that was answered before; ``None`` if all
            was done already, for another call.
        """
        if told.epoch != self.epoch:
            return None
        self._forget()
        return self._answered

    def _forget(self) -> None:
        self.epoch += 1
        self._own = self._least = 0


def log_went_back(ages: Iterable[float | None], answered: float) -> None:
    """Log that the store went back, and to when: the newest renewal of an entry in it.

    :param ages: the seconds since each entry was renewed.
    :param answered: as :meth:`Numbers.go_back` returned it.
    """
    known = [age for age in ages if age is not None]
    # What is newer than the last answer came after the store went back.
    before = [age for age in known if age >= clock.now() - answered]
    # In seconds, as it is the store's clock that has the time, and this line has one.
    newest = f"{min(before or known):.0f} seconds ago" if known else "at an unknown time"
    LOG.error(
        "The store went back to an older state, by an old dump or a failover that lost writes. "
        "Registrations and removals may be missing since the newest renewal of a daemon in it, "
        "%s. Let subscribers register again",
        newest,
    )
