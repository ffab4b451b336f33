# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What gearhorn asks of a store.

A store keeps, for all daemons that share it:

* the set of client_ids of each topic, each perhaps with an expiry;
* who holds each queue name, since two subscriptions can make the same one;
* the version of each topic whose latest change nobody has confirmed yet;
* an entry for each live daemon.

Each method that changes something does so in one atomic step, and may be
called again after a :class:`~gearhorn.errors.StoreError` without harm: what
the first call did is then found done, and its changes are still listed as
unconfirmed. Methods raise :class:`~gearhorn.errors.StoreError` subclasses
only, and :class:`~gearhorn.errors.QueueTaken` where that is said. They must
be called from the thread that runs the event loop.
"""

import abc
import math
from collections.abc import Sequence
from typing import NamedTuple


class Change(NamedTuple):
    """A change of a topic's set that not every daemon is known to know of.

    Versions come from one counter that only rises, over all topics.
    """

    topic: str
    version: int


class Members(NamedTuple):
    """A topic's subscribers, read for a daemon.

    ``reader_known`` tells whether that daemon's entry stood in the store at
    the same moment: only then is it told of later changes.
    """

    client_ids: Sequence[str]
    reader_known: bool


class DaemonEntry(NamedTuple):
    """A daemon's entry.

    ``renewal`` is another number after each renewal, from the same counter
    as versions, and negative once the entry is barred. ``age`` is for people:
    seconds since the last renewal by the store's clock.
    """

    renewal: int
    age: float


class TopicSize(NamedTuple):
    """A topic and how many subscribers it has."""

    topic: str
    subscribers: int


class SubscriberExpiry(NamedTuple):
    """A subscriber, and in how many seconds it expires, if it does.

    Not above zero: it has expired, and stays a member until it is reaped.
    """

    client_id: str
    expires_in: float | None


class Store(abc.ABC):
    """The interface that every store implements."""

    run_changed_at: float = -math.inf
    """When, on :func:`gearhorn.clock.now`, the process that answers was first
    seen to be another: a restart or a failover, in which entries of daemons
    may have been lost. ``-inf`` where that cannot have happened: this object
    made the store, another daemon vouched for the process (:meth:`vouch`), or
    the store is no process."""

    @abc.abstractmethod
    async def open(self) -> None:
        """Connect, and take or make the identity of the store.

        From then on every method raises ``StoreReplaced`` if the store that
        answers has another identity or none: it was emptied or swapped.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Give up the connections. Never raises."""

    @abc.abstractmethod
    async def vouch(self) -> None:
        """Note in the store that the process that answers has done so for long.

        To be called once no list is in use any more that was read from another
        one. Whoever opens the store while it still answers then has
        ``run_changed_at`` at ``-inf``. A store that is no process has nothing
        to note.
        """

    # Subscriptions.

    @abc.abstractmethod
    async def add(self, topic: str, client_id: str, ttl: float | None) -> Sequence[Change]:
        """Add a subscriber, or renew it, or make it permanent.

        :param ttl: in how many seconds it expires unless renewed; ``None``
            for never.
        :returns: the unconfirmed changes of every topic that the queue can
            belong to, made now or before, by whomever: to be confirmed before
            an answer. Of every topic, because an expired subscriber that held
            the queue name is reaped in the same step, and a call that is
            repeated no longer knows whose it was.
        :raises QueueTaken: another subscriber, not expired, holds the queue
            name.
        """

    @abc.abstractmethod
    async def remove(self, topic: str, client_id: str) -> Sequence[Change]:
        """Remove a subscriber, if it is there.

        :returns: as :meth:`add` does.
        """

    @abc.abstractmethod
    async def members(self, topic: str, reader: str) -> Members:
        """The subscribers of a topic, expired ones too, in any order.

        Who was added before the call and not removed since is in it.

        :param reader: the worker id of the daemon that asks.
        """

    @abc.abstractmethod
    async def reap(self, limit: int) -> Sequence[Change]:
        """Remove subscribers that have expired, ``limit`` at the most.

        Each only if it is expired at that moment, by the store's clock.

        :returns: the unconfirmed change of each topic that lost one.
        """

    @abc.abstractmethod
    async def unconfirmed(self, limit: int) -> Sequence[Change]:
        """Changes that nobody has confirmed, ``limit`` at the most."""

    @abc.abstractmethod
    async def confirm(self, change: Change) -> None:
        """Every live daemon knows of ``change``.

        Does nothing if the topic has changed since.
        """

    # Daemons.

    @abc.abstractmethod
    async def join(self, worker_id: str) -> None:
        """Make a daemon's entry, or make it anew."""

    @abc.abstractmethod
    async def renew(self, worker_id: str) -> bool:
        """Renew a daemon's entry; false if it is gone or barred."""

    @abc.abstractmethod
    async def leave(self, worker_id: str) -> None:
        """Remove a daemon's entry, if it is there."""

    @abc.abstractmethod
    async def daemons(self) -> dict[str, DaemonEntry]:
        """The entries of all daemons, barred ones too, by worker id."""

    @abc.abstractmethod
    async def bar(self, worker_id: str) -> int | None:
        """Let a daemon's entry be renewed no more, and let it stand.

        :meth:`members` then tells that daemon that it is not known. It may
        join again, which lifts the bar.

        :returns: the renewal number that the entry now has, for
            :meth:`remove_daemon`; ``None`` if there is no entry.
        """

    @abc.abstractmethod
    async def remove_daemon(self, worker_id: str, renewal: int) -> bool:
        """Remove an entry if its renewal number is still ``renewal``.

        :returns: whether it is gone, now or already.
        """

    # For operators.

    @abc.abstractmethod
    async def topics(self, after: str, limit: int) -> Sequence[TopicSize]:
        """Topics that have subscribers, in the order of their UTF-8 bytes.

        :param after: the last topic of the page before; "" for the first.
        """

    @abc.abstractmethod
    async def subscribers(self, topic: str, after: str, limit: int) -> Sequence[SubscriberExpiry]:
        """Subscribers of a topic, in the order of their UTF-8 bytes."""
