# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The interface of a store.

A store keeps, for all daemons that share it:

* the client_ids that subscribe to each topic, with an expiry for some;
* the limits that subscribers brought for their queues;
* the holder of each queue name, since two subscriptions can make the same one;
* the version of each topic whose latest change nobody has confirmed yet;
* an entry for each live daemon;
* the patterns of the topics that have journals.

Each method that changes something does so in one atomic step. After a
:class:`~gearhorn.errors.StoreError` it may be called again without harm: it
finds done what the first call did, and the changes are still listed as
unconfirmed. Methods raise subclasses of :class:`~gearhorn.errors.StoreError`
only; :meth:`Store.add` also raises :class:`~gearhorn.errors.QueueTaken` and
:class:`~gearhorn.store.endings.BeingDiscarded`. They must be called from the thread
that runs the event loop.
"""

import abc
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gearhorn import clock, errors
from gearhorn.messages import NO_LIMITS, Limits
from gearhorn.store.changes import Change as Change
from gearhorn.store.endings import Endings
from gearhorn.store.identity import Opened, Terms
from gearhorn.store.numbers import Numbers, Told, log_went_back
from gearhorn.store.patterns import SharedPatterns

LONGEST = 50
"""The most subscribers of a topic whose list is read with others: they are not to wait for it."""


class Members(NamedTuple):
    """A topic's subscribers, read for a daemon.

    ``reader_known`` is true if that daemon's entry stood in the store at the same
    moment, and was not barred. Only then is the daemon told of later changes.
    ``limits`` has, by client_id, those of the subscribers that brought any. ``patterns`` is
    the version of the patterns of topics with journals, 0 if there are none.
    """

    client_ids: Sequence[str]
    reader_known: bool
    limits: Mapping[str, Limits] = MappingProxyType({})
    patterns: int = 0


class DaemonEntry(NamedTuple):
    """A daemon's entry.

    ``renewal`` is a new number after each renewal, from the same counter as
    versions, and negative once the entry is barred; 0 if all but the daemon's membership
    of the matchmaking topic is gone from the store. ``age`` is for people: seconds since
    the last renewal, by the store's clock, ``None`` if that is gone. ``settings`` are
    those with which it joined, and ``secret`` the key of its answers to notices, ``None``
    if an older release made the entry.
    """

    renewal: int
    age: float | None
    settings: str | None = None
    secret: str | None = None


class TopicSize(NamedTuple):
    """A topic and the number of its subscribers."""

    topic: str
    subscribers: int


class SubscriberExpiry(NamedTuple):
    """A subscriber, the seconds until it expires, ``None`` for never, and its limits.

    If they are not above zero, it has expired, and stays a member until it is
    reaped.
    """

    client_id: str
    expires_in: float | None
    limits: Limits = NO_LIMITS


class Store(Endings, SharedPatterns):
    """The interface that every store implements."""

    run_changed_at: float = -math.inf
    """The time, on :func:`gearhorn.clock.now`, at which another process was first
    seen to answer: after a restart or a failover, in which entries of daemons may
    have been lost; or at which a store was opened that was accepted in another's place,
    or is in another file than before. ``-inf`` if none of that can have happened: this
    object made the store, or a daemon vouched for it (:meth:`vouch`)."""

    on_went_back: Callable[[], None]
    """Called when the store went back to an older state: an old dump, or a failover that
    lost writes. :attr:`run_changed_at` is the present then."""

    evicts: str | None = None
    """The policy by which a store throws away keys when it is full, if it does so with any."""

    def __init__(self, worker_id: str) -> None:
        self.on_went_back = lambda: None
        self.reaped = 0
        """The subscribers that :meth:`reap` has removed, for the counts."""
        self.numbers = Numbers(worker_id)
        """The numbers that this daemon was told."""

    async def look(self) -> None:
        """Look at how the store runs, and warn of what endangers its data."""

    async def mend(self, *, strike_out: bool = False) -> Mapping[str, int]:
        """Rebuild topics that are gone from the store though other keys still name them.

        A store that cannot lose a part of its data does nothing here.

        :param strike_out: on an operator's word, take a topic that cannot be rebuilt for
            one without subscribers.
        :returns: how many members each now has; none for one that was struck out.
        """
        return {}

    async def _go_back(self, told: Told) -> None:
        """Do what is to be done when a call finds that the store went back."""
        answered = self.numbers.go_back(told)
        if answered is None:
            return
        self.run_changed_at = clock.now()
        self.on_went_back()
        daemons: Mapping[str, DaemonEntry] = {}
        try:
            await self.mend()
        except errors.StoreError:
            # A replica takes no writes; and the caller learns what is wrong by itself.
            pass
        try:
            daemons = await self.daemons()
        except errors.StoreError:
            pass
        log_went_back((entry.age for entry in daemons.values()), answered)

    @abc.abstractmethod
    async def open(self, known: Collection[str] = (), terms: Terms = Terms.MAKE) -> Opened:
        """Connect, and take the identity of the store, or give it one, in one step.

        From then on every method raises
        :class:`~gearhorn.errors.StoreReplaced` if the store that answers has
        another identity, or none: it was emptied or swapped. It may be opened again
        then.

        A store that is accepted, or made although something is known, counts as
        restarted (:attr:`run_changed_at`).

        :param known: the tags of the stores that this may be. It is one of them if it
            has that tag or follows one that has. If none is known, it may be any.
        :raises StoreReplaced: on these terms the store is not to be used, and it is
            as it was; so is what this object takes for its identity.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Close the connections. Never raises."""

    @abc.abstractmethod
    def set_timeout(self, timeout: float) -> None:
        """Give every call that begins from now on so many seconds for an answer."""

    @abc.abstractmethod
    async def vouch(self) -> None:
        """Note in the store that the process that answers, or its file, is the same for long.

        Call this once no list that was read from another process, or from a store in
        whose place this was accepted, is in use. A daemon that opens the store while the
        same process answers then has :attr:`run_changed_at` at ``-inf``.
        """

    # Subscriptions.

    @abc.abstractmethod
    async def add(
        self,
        topic: str,
        client_id: str,
        ttl: float | None,
        limits: Limits = NO_LIMITS,
        despite: str = "",
    ) -> Sequence[Change]:
        """Add a subscriber, renew it, or make it permanent.

        An expired subscriber that holds the queue name is reaped in the same
        step.

        :param ttl: seconds until it expires unless renewed; ``None`` for never.
        :param limits: replace those that it had. That alone is no change of the topic:
            lists that were read before go by the old ones.
        :param despite: the token of a lease that does not count any more.
        :returns: the unconfirmed changes of every topic that the queue can belong
            to, whoever made them and when. They are to be confirmed before the
            registration is answered. Every topic, because a call that is repeated
            no longer knows whose expired subscriber it reaped.
        :raises QueueTaken: another subscriber, not expired, holds the queue name.
        :raises BeingDiscarded: a daemon discards what is in the queue, on another lease.
        """

    @abc.abstractmethod
    async def remove(self, topic: str, client_id: str) -> Sequence[Change]:
        """Remove a subscriber, if it is there.

        :returns: the unconfirmed change of the topic, if there is one. It is to be
            confirmed before the removal is answered.
        """

    @abc.abstractmethod
    async def members(self, topic: str, reader: str) -> Members:
        """Return the subscribers of a topic, expired ones too, in any order.

        Everyone who was added before the call and not removed since is among
        them.

        :param reader: the worker id of the daemon that asks.
        """

    @abc.abstractmethod
    async def lists(self, topics: Sequence[str], reader: str) -> Mapping[str, Members]:
        """Return what :meth:`members` returns of several topics, with as few calls as can be.

        A topic is left out that has to be read by itself: its list is longer than
        :data:`LONGEST`, or something is wrong with it that concerns no other.

        :raises StoreMisconfigured: perhaps because of one of the topics.
        """

    @abc.abstractmethod
    async def reap(self, limit: int) -> Sequence[Change]:
        """Remove at most ``limit`` subscribers that have expired.

        Expiry is judged in the same step, by the store's clock.

        :returns: the unconfirmed change of each topic that lost a subscriber.
        """

    @abc.abstractmethod
    async def end_idle(self, queue: str) -> Sequence[Change]:
        """Remove the subscriber of a queue if that was not served for so long.

        :returns: the unconfirmed change of its topic; none if it is not to end any more.
        """

    @abc.abstractmethod
    async def unconfirmed(self, limit: int) -> Sequence[Change]:
        """Return at most ``limit`` changes that nobody has confirmed."""

    @abc.abstractmethod
    async def confirm(self, change: Change) -> None:
        """Mark ``change`` as known to every live daemon.

        Does nothing if the topic has changed since.
        """

    # Daemons.

    @abc.abstractmethod
    async def join(self, worker_id: str, settings: str, secret: str = "") -> None:
        """Make a daemon's entry, or make it anew if there is one.

        :param settings: a text for the other daemons, which the store does not read.
        """

    @abc.abstractmethod
    async def renew(self, worker_id: str, secret: str = "") -> bool:
        """Renew a daemon's entry, and write its secret anew: the store may have gone back.

        :returns: false if there is no entry, or it is barred.
        """

    @abc.abstractmethod
    async def leave(self, worker_id: str) -> None:
        """Remove a daemon's entry, if it is there."""

    @abc.abstractmethod
    async def daemons(self) -> dict[str, DaemonEntry]:
        """Return the entries of all daemons, barred ones too, by worker id."""

    @abc.abstractmethod
    async def bar(self, worker_id: str) -> int | None:
        """Keep a daemon's entry from being renewed, and let it stand.

        :meth:`members` then tells that daemon that it is not known. The daemon
        may join again, which lifts the bar.

        :returns: the renewal number that the entry now has, for
            :meth:`remove_daemon`; ``None`` if there is no entry.
        """

    @abc.abstractmethod
    async def remove_daemon(self, worker_id: str, renewal: int) -> bool:
        """Remove an entry if its renewal number is still ``renewal``.

        :returns: true if the entry is gone, now or already.
        """

    # For operators.

    @abc.abstractmethod
    async def topics(self, after: str, limit: int) -> Sequence[TopicSize]:
        """Return a page of the topics with subscribers, in the order of their UTF-8 bytes.

        The daemons' own topic is among them.

        :param after: the last topic of the page before; ``""`` for the first page.
        :param limit: the most topics in the page.
        """

    @abc.abstractmethod
    async def subscribers(self, topic: str, after: str, limit: int) -> Sequence[SubscriberExpiry]:
        """Return a page of a topic's subscribers, in the order of their UTF-8 bytes.

        :param after: the last client_id of the page before; ``""`` for the first
            page.
        :param limit: the most subscribers in the page.
        """

    @abc.abstractmethod
    async def holders(self, queues: Sequence[str]) -> Mapping[str, str]:
        """Return the topics to which queues belong, by queue; none for those of nobody.

        :param queues: at most a thousand, as the store does nothing else meanwhile.
        """
