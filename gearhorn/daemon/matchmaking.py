# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Matchmaking: the daemons' entries, and the confirmation of changes.

The live daemons are the subscribers of the matchmaking topic. A change of a topic's
subscribers may be answered once every daemon has confirmed that it dropped the
topic's list, or once every list that was read before the change is too old to be
used, whichever comes first: see :meth:`Matchmaking.confirm`. ``Matchmaking._keep``
does what this asks of each daemon.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping

import async_timeout

from gearhorn import clock, errors, messages
from gearhorn.daemon.leases import Leases
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.metrics import BY_HAND, EXPIRED, KILLED, LATE, RESTARTED, SILENT, Counts
from gearhorn.daemon.notices import Notices, answer_to, new_secret
from gearhorn.daemon.refusals import Refusals
from gearhorn.daemon.trust.agreement import Agreement
from gearhorn.store.base import Change, DaemonEntry, Store
from gearhorn.store.patience import Patience
from gearhorn.tasks import OnFailed, Tasks, end, wait_until
from gearhorn.wire.grabber import Job
from gearhorn.wire.submitter import Submitter

LOG = logging.getLogger(__name__)

_decode = messages.RequestDecoder(messages.Notice)


class _Round:
    """A confirmation that has not begun, and the future that all its waiters share."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Matchmaking:
    """This daemon's entry, and its dealings with other daemons.

    :param topic: the matchmaking topic.
    """

    def __init__(
        self,
        store: Store,
        patience: Patience,
        lists: ListCache,
        submitter: Submitter,
        refusals: Refusals,
        agreement: Agreement,
        *,
        worker_id: str,
        topic: str,
        leases: Leases,
        counts: Counts | None = None,
    ) -> None:
        self._store = store
        self._counts = Counts() if counts is None else counts
        self._patience = patience
        self._lists = lists
        self._submitter = submitter
        self._refusals = refusals
        self._agreement = agreement
        self._worker_id = worker_id
        self._topic = topic
        self._leases = leases
        # One for as long as the daemon runs: a store that goes back has no other.
        self._secret = new_secret()
        self._missed_at = -math.inf
        """When the own entry was last found missing. Those of others may be gone as well."""
        self._renewal_due = asyncio.Event()
        self._tasks = Tasks(lambda error: self.on_failed(error))
        self._joined = False
        self._told = ""
        """The settings with which the entry was made."""
        self._next_rounds: dict[str, _Round] = {}
        self._rounds: dict[str, asyncio.Task[None]] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        """The renewal number of each entry, and the time at which it was first seen."""
        self.entries: dict[str, DaemonEntry] = {}
        """The entries of all daemons, at the last look at them."""
        self.on_failed: OnFailed = lambda error: None
        """Called with an unexpected error, after which the entry is not renewed."""
        self.on_removed: Callable[[str], None] = lambda worker_id: None
        """Called with the worker id of an entry that this daemon removed."""
        self.on_own_topic: Callable[[], None] = lambda: None
        """Called when the daemons' own topic has changed, as it does with new patterns."""

    def take(self, job: Job) -> None:
        """Take a notice: drop the list that it names."""
        notice = self._refusals.decoded(job, _decode)
        if notice is not None:
            self._drop(notice.topic)
            self._counts.notices_received += 1
            self._refusals.done(job, answer_to(notice.topic, job.unique, self._secret).encode())

    def _drop(self, topic: str) -> None:
        """Drop the list of ``topic``; of the own topic, which patterns change, all lists."""
        if topic == self._topic:
            self._lists.drop_all()
            self.on_own_topic()
        else:
            self._lists.drop(topic)

    # The entry of this daemon.

    async def join(self) -> None:
        """Make the entry.

        The function that takes notices must be registered before this. Lists are kept
        only after it.
        """
        await self._patience.call(self._claim, self._join)
        await self._daemons()

    def start(self) -> None:
        """Keep the entry from now on."""
        self._joined = True
        self._tasks.keep(self._keep(), "the entry of this daemon")

    async def _join(self, worker_id: str) -> None:
        self._told = self._agreement.text
        await self._store.join(worker_id, self._told, self._secret)

    @property
    def longest_list(self) -> float:
        """The time after which no daemon uses a list from before it."""
        return self._agreement.longest_list

    async def _daemons(self) -> dict[str, DaemonEntry]:
        """Return all entries; whoever reads them compares the settings too."""
        daemons = await self._patience.call(self._store.daemons)
        self._agreement.check(daemons)
        self.entries = dict(daemons)
        return daemons

    def renew_soon(self) -> None:
        """Renew the entry now: the store may not know it, or has it with other settings."""
        self._renewal_due.set()

    def store_went_back(self) -> None:
        """Drop all lists: changes of which this daemon was told are gone, and maybe its entry."""
        self._lists.keep_none()
        self.renew_soon()

    async def _keep(self) -> None:
        """Renew the entry for ever; if it is gone, drop all lists and join again.

        Others remove an entry when they have seen the same renewal number for
        ``daemon_ttl``. So an entry stands for that long from the time at which its
        renewal was asked for. No list is kept that could be used later than that.
        """
        while True:
            await wait_until(self._renewal_due, self._leases.renewal_interval)
            self._renewal_due.clear()
            try:
                await self._renew()
            except Exception:
                # It is tried again at the next interval. Lists are kept no longer than
                # the last renewal allows.
                LOG.exception("unexpected error while the entry was renewed")

    async def _renew(self) -> None:
        if self._told != self._agreement.text:
            # The entry may be barred, which joining ends: so no list outlives that.
            self._lists.keep_none()
            await self.join()
            return
        if await self._patience.call(self._claim, self._renewed):
            return
        self._missed_at = clock.now()
        LOG.warning(
            "the entry of this daemon, %s, is gone from the store: "
            "dropping all cached lists and joining again",
            self._worker_id,
        )
        self._counts.rejoins += 1
        self._lists.keep_none()
        await self.join()

    async def _renewed(self, worker_id: str) -> bool:
        return await self._store.renew(worker_id, self._secret)

    async def _claim(self, operation: Callable[[str], Awaitable[bool | None]]) -> bool:
        """Join or renew once; allow lists for a while, counted from before the call."""
        before = clock.now()
        if await operation(self._worker_id) is False:
            return False
        self._lists.keep_until(before + self._leases.certain_entry)
        return True

    async def close(self) -> None:
        """Stop confirming and renewing; jobs that wait for it are not answered."""
        await end(self._rounds.values())
        await self._tasks.cancel()

    async def leave(self) -> None:
        """Remove the entry, if it was made, and drop all lists before."""
        if not self._joined:
            return
        self._lists.keep_none()
        try:
            await self._store.leave(self._worker_id)
            return
        except errors.StoreError as error:
            fault = error
        # Not in the handler: oslo.log would add the exception once more.
        LOG.warning("could not leave, another daemon will remove the entry: %s", fault)

    # Other daemons.

    async def confirm(self, change: Change) -> None:
        """Return once every live daemon honours ``change``.

        Changes of a topic that come during a round are all confirmed by the next
        round.
        """
        waiting = self._next_rounds.get(change.topic)
        if waiting is None:
            waiting = self._next_rounds[change.topic] = _Round(change)
        else:
            waiting.change = max(waiting.change, change)
        if change.topic not in self._rounds:
            self._rounds[change.topic] = asyncio.get_running_loop().create_task(
                self._confirm_rounds(change.topic)
            )
        await asyncio.shield(waiting.done)

    async def _confirm_rounds(self, topic: str) -> None:
        try:
            while topic in self._next_rounds:
                this = self._next_rounds.pop(topic)
                try:
                    await self._confirm(this.change)
                except asyncio.CancelledError:
                    this.done.cancel()
                    raise
                except Exception as error:
                    this.done.set_exception(error)
                else:
                    this.done.set_result(None)
        finally:
            del self._rounds[topic]

    async def _confirm(self, change: Change) -> None:
        stored = clock.now()
        self._drop(change.topic)
        daemons = await self._daemons()
        own = daemons.pop(self._worker_id, None)
        if own is None or not own.renewal:
            self._missed_at = clock.now()
        others = {worker_id: entry.secret for worker_id, entry in daemons.items()}
        cause = await self._tell(others, change.topic, stored + self.longest_list)
        # A store that was restarted, failed over or lost keys may have lost entries.
        # Daemons that were not told can then still use lists that they read before.
        lost_at = max(self._store.run_changed_at, self._missed_at)
        if cause is None and lost_at + self.longest_list >= stored:
            cause = RESTARTED
        if cause is not None:
            self._counts.by_lease[cause] += 1
            await clock.sleep_until(stored + self.longest_list)
        await self._patience.call(self._store.confirm, change)
        self._counts.confirmations.note(clock.now() - stored)

    async def _tell(
        self, others: Mapping[str, str | None], topic: str, deadline: float
    ) -> str | None:
        """Send notices; return why not all were confirmed before ``deadline``.

        :param others: the secret of each daemon, by worker id.
        """
        if not others:
            return None
        if clock.now() >= deadline:
            # The store was away for so long that no confirmation is needed.
            return LATE
        notices = Notices(topic, others)
        notices.send(self._submitter, self._topic)
        try:
            async with async_timeout.timeout(deadline - clock.now()):
                await notices.confirmed.wait()
            return None
        except asyncio.TimeoutError:
            # Logged below, not in the handler: oslo.log would add the exception.
            pass
        finally:
            notices.forget()
            self._counts.told(len(others), len(notices.silent))
        notices.complain()
        return SILENT

    async def remove_by_hand(self, worker_id: str) -> bool:
        """Remove an entry for an operator; return true if it was removed.

        The daemon may be alive and use its lists. Until these are too old, the entry is
        barred and stands, and the daemon is still told of changes.
        """
        renewal = await self._patience.call(self._store.bar, worker_id)
        if renewal is None:
            return False
        barred = clock.now()
        # Its lists may last longer than those of any daemon seen so far.
        await self._daemons()
        await clock.sleep_until(barred + self.longest_list)
        removed = await self._patience.call(self._store.remove_daemon, worker_id, renewal)
        if removed:
            LOG.info("daemon %s was removed by hand", worker_id)
            self._removed(worker_id, BY_HAND)
        return removed

    async def remove_all(self) -> None:
        """Remove every entry: their daemons are known to be dead."""
        for worker_id, daemon in (await self._patience.call(self._store.daemons)).items():
            await self._patience.call(self._store.remove_daemon, worker_id, daemon.renewal)
            LOG.info("daemon %s was killed: removed its entry", worker_id)
            self._removed(worker_id, KILLED)

    def _removed(self, worker_id: str, how: str) -> None:
        self._counts.removed[how] += 1
        self.on_removed(worker_id)

    @property
    def confirming(self) -> int:
        """The number of topics with a change that is being confirmed."""
        return len(self._rounds)

    def is_known(self, worker_id: str) -> bool:
        """Return true if a daemon had an entry at the last look."""
        return worker_id in self._seen

    async def reap_daemons(self) -> None:
        """Look at all entries, and remove those not renewed for ``daemon_ttl``.

        That of the entry counts as well, and the longer of the two.
        """
        daemons = await self._daemons()
        now = clock.now()
        self._seen = {
            worker_id: self._first_seen(worker_id, daemon, now)
            for worker_id, daemon in daemons.items()
        }
        for worker_id, (renewal, since) in list(self._seen.items()):
            daemon_ttl = self._agreement.daemon_ttl(daemons[worker_id])
            if worker_id == self._worker_id or now - since < daemon_ttl:
                continue
            if await self._patience.call(self._store.remove_daemon, worker_id, renewal):
                LOG.warning(
                    "daemon %s has not renewed its entry for more than %g seconds: removed it",
                    worker_id,
                    daemon_ttl,
                )
                del self._seen[worker_id]
                self._removed(worker_id, EXPIRED)

    def _first_seen(self, worker_id: str, daemon: DaemonEntry, now: float) -> tuple[int, float]:
        known = self._seen.get(worker_id)
        if known is not None and known[0] == daemon.renewal:
            return known
        return daemon.renewal, now
