# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What ends: subscriptions that nobody serves, and what they leave in their queues.

A *record* of each ended subscription is kept by the name of its queue, the newest
:data:`MOST_RECORDS`. A daemon that discards what is left in the queue takes the record
with a *lease* first, and holds it for longer page by page. While it is held, nobody is
added that has this queue: see :class:`BeingDiscarded`. Adding deletes the record. So a
copy that was sent after a registration was answered is never discarded.

A queue is *idle* from the look on at which something waited in it and nobody served it.
"""

import abc
from collections.abc import Sequence
from typing import NamedTuple

MOST_RECORDS = 100_000


class BeingDiscarded(Exception):
    """A daemon discards what is in the queue: try again.

    The lease no longer counts for whoever has seen the same ``token`` for ``length``
    seconds, on a clock of its own: its holder stops after a third of that.
    """

    def __init__(self, token: str, length: float) -> None:
        super().__init__("what is in the queue is being discarded")
        self.token = token
        self.length = length


class Ended(NamedTuple):
    """A subscription that ended ``ago`` seconds ago, by the store's clock."""

    queue: str
    topic: str
    client_id: str
    ago: float


class Taken(NamedTuple):
    """The answer to a request for a lease.

    ``ignorant`` are daemons of an older release that know of no records. They would add
    a subscription whatever is taken, so nothing is while one of them stands.
    """

    held: bool
    ignorant: Sequence[str] = ()


class Endings(abc.ABC):
    """The part of :class:`~gearhorn.store.base.Store` that is about what ends."""

    # Records.

    @abc.abstractmethod
    async def ended(self, after: str, limit: int) -> Sequence[Ended]:
        """Return a page of the records, in the order of the bytes of their queues.

        Queues that have a subscription by now are left out.

        :param after: the last queue of the page before; ``""`` for the first page.
        """

    @abc.abstractmethod
    async def discardable(self, queues: Sequence[str], age: float) -> Sequence[str]:
        """Return those of the queues whose subscriptions ended ``age`` seconds ago or more."""

    @abc.abstractmethod
    async def take(
        self, queue: str, token: str, *, length: float, age: float, held: str = ""
    ) -> Taken:
        """Take a record, or hold it for longer.

        It is not taken where the queue has a subscription, where it has no record of this
        age, or where another daemon holds it.

        :param token: a text that no other lease has had, without white space.
        :param length: the seconds for which the lease counts.
        :param age: the seconds for which the subscription must have ended.
        :param held: the token of the lease that is held already, to be held for longer
            as ``token``. If it is refused, it is given back.
        """

    @abc.abstractmethod
    async def release(self, queue: str, token: str) -> None:
        """Give a lease back."""

    # Queues that are not served.

    @abc.abstractmethod
    async def unserved(self, queues: Sequence[str], remove_idle: float) -> None:
        """Note that queues are not served; those without a subscription are passed over.

        The time counts from the first of these calls, until :meth:`served`, a
        registration, or another ``remove_idle``.

        :param remove_idle: the seconds after which a subscription ends that brought none
            of its own; 0 for never.
        """

    @abc.abstractmethod
    async def served(self, queues: Sequence[str]) -> None:
        """Note that queues are served."""

    @abc.abstractmethod
    async def idle(self) -> Sequence[str]:
        """Return the queues that are not served."""

    @abc.abstractmethod
    async def looked(self, limit: int) -> Sequence[str]:
        """Note that all job servers were looked at.

        Where nobody had looked for a tenth of the time after which a subscription ends,
        that time begins anew.

        :returns: the queues of at most ``limit`` subscriptions that are to end.
        """
