# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The copies of one fan-out, from its list of subscribers to its report."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from msgspec import UNSET

from gearhorn import clock, messages
from gearhorn.daemon.gathering import Room
from gearhorn.daemon.journal.numbered import Numbered
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.placement import Share, divide
from gearhorn.daemon.recipients import Recipients
from gearhorn.wire.address import Address
from gearhorn.wire.batch import Batch, Listener
from gearhorn.wire.grabber import Job
from gearhorn.wire.submitter import Submitter

Piece = TypeVar("Piece")
"""What has to be placed: queues, and what goes to them."""

OnAllQueued = Callable[[str, Numbered, int, int, int], None]


@dataclass(frozen=True)
class Context:
    """The environment that all deliveries of a daemon share."""

    submitter: Submitter
    counts: Counts
    timeout: float
    """Seconds that a foreground delivery waits for receivers if the request gives
    no timeout."""
    max_gathered_bytes: int
    """The most bytes of results that a report carries."""
    room: Room
    on_stuck: Callable[["Delivery[Any]"], None]
    """Called when no job server is connected; :meth:`Delivery.resume` is due
    when one is."""
    on_end: Callable[["Delivery[Any]"], None]
    on_all_failed: Callable[[str, int, str], None]
    """Called with the topic, the number of copies and the reason of the first."""
    on_left: Callable[[str], None]
    """Called with the topic of one whose publisher has left, before it ends."""
    on_all_queued: OnAllQueued = lambda *_: None
    """Called with the topic, the number, the subscribers, the copies and the skipped ones of
    a message with an id, in the background, of which no copy failed."""


class Delivery(Listener, Generic[Piece]):
    """The base of all deliveries: placing copies and ending.

    :param token: the beginning of the uniques that are generated for the copies;
        empty for copies without a unique.
    :param number: the message's place in the topic's journal, if that has one. Its copies
        carry that in their uniques, and nothing else.
    """

    foreground: bool
    holds_lane = False
    """True if others of its topic wait for its end."""
    _full = _not_queued = 0
    """The copies that job servers have refused and that are not counted yet, by reason."""

    def __init__(
        self,
        context: Context,
        job: Job,
        request: messages.FanOut,
        payload: bytes,
        recipients: Recipients,
        token: bytes,
        number: Numbered | None = None,
    ) -> None:
        self.job = job
        self._number = number
        self.topic = request.topic
        self._context = context
        self._counts = context.counts.fanouts[self.foreground]
        self._priority = request.priority or "normal"
        self._unique = None if request.unique is None else request.unique.encode()
        # The request itself is not kept: all that is raw in it is a view of the job's data.
        self._always_report = messages.truth(request.always_report)
        self._payload = payload
        self._recipients = recipients
        self._token = token
        self._batches: set[Batch] = set()
        self._unplaced: list[Piece] = []
        self._copies = recipients.count
        self._size_class = recipients.size_class
        self._failed = dict(recipients.refused)
        self._failed_count = recipients.refused_count
        self._skipped_count = recipients.skipped_count
        if self._failed_count:
            self._counts.reasons[messages.QUEUE_FULL] += self._failed_count
        job.hold(self.abandon)

    def start(self) -> None:
        """Hand the copies to the submitter."""
        raise NotImplementedError

    def resume(self) -> None:
        """Submit the copies that have waited for a server."""
        unplaced, self._unplaced = self._unplaced, []
        for piece in unplaced:
            self._place(piece)

    def abandon(self) -> None:
        """Stop without an answer: the job is another daemon's now."""
        self._counts.abandoned += 1
        self._count_refused()
        self._cancel()
        self._context.on_end(self)

    def _place(self, piece: Piece) -> None:
        servers = self._context.submitter.servers
        if not servers:
            self._wait_for_server(piece)
            return
        for server, part in self._divided(piece, tuple(servers)):
            self._submit(server, part)

    def _wait_for_server(self, piece: Piece) -> None:
        self._unplaced.append(piece)
        self._context.on_stuck(self)

    def _divided(self, piece: Piece, servers: Sequence[Address]) -> Iterable[tuple[Address, Piece]]:
        """Return the part of each server."""
        raise NotImplementedError

    def _left_of(self, batch: Batch) -> Iterable[Piece]:
        """Return what of a batch the server has not answered."""
        raise NotImplementedError

    def _submit(self, server: Address, piece: Piece) -> None:
        raise NotImplementedError

    # Called by the submitter.

    def batch_created(self, batch: Batch) -> None:
        self._batches.remove(batch)
        batch.count_queued()
        if batch.refused:
            self._count_refused()

    def batch_lost(self, batch: Batch) -> None:
        # Copies that this server had not yet queued go to another one.
        self._batches.remove(batch)
        batch.count_queued()
        self._count_refused()
        if batch.tally is not None:
            batch.tally.resubmitted += batch.count - batch.created
        for piece in self._left_of(batch):
            self._place(piece)

    def copy_refused(self, batch: Batch, index: int, *, full: bool) -> None:
        if full and self._is_skipped(batch.key(index)):
            self._skipped_count += 1
            return
        self._failed_count += 1
        if full:
            self._full += 1
        else:
            self._not_queued += 1
        self._list_refused(batch, index, messages.QUEUE_FULL if full else messages.NOT_QUEUED)

    def _is_skipped(self, client_id: str) -> bool:
        """Return true if a subscriber finds in the journal what its full queue did not take."""
        skipping = self._recipients.skipping
        return self._number is not None and skipping is not None and skipping(client_id)

    # Ending.

    def _fail(self, client_ids: Collection[str], reason: str) -> None:
        """Note that copies have failed, all by the same event."""
        listed = messages.MAX_LISTED_FAILURES - self._failed_count
        if listed > 0:
            self._failed.update(dict.fromkeys(islice(client_ids, listed), reason))
        self._failed_count += len(client_ids)
        self._counts.reasons[reason] += len(client_ids)

    def _list_refused(self, batch: Batch, index: int, reason: str) -> None:
        """Have the report name a copy that a server has refused."""
        if self._failed_count <= messages.MAX_LISTED_FAILURES:
            self._failed[batch.key(index)] = reason

    def _count_refused(self) -> None:
        reasons = self._counts.reasons
        if self._full:
            reasons[messages.QUEUE_FULL] += self._full
        if self._not_queued:
            reasons[messages.NOT_QUEUED] += self._not_queued
        self._full = self._not_queued = 0

    def _cancel(self) -> None:
        for batch in self._batches:
            batch.count_queued()
            batch.cancel()
        self._batches.clear()
        self._unplaced.clear()

    def _end(self, now: float | None = None, *, log: bool = True) -> None:
        """End the job with its report.

        :param now: the time, unless it is a job server that ends the fan-out.
        :param log: false to log nothing if no copy arrived.
        """
        self._cancel()
        failed = self._failed_count
        copies = self._copies
        took_s = (now or self._context.submitter.heard_at) - self.job.taken
        self._counts.ended(copies, self._size_class, failed, self._skipped_count, took_s)
        if failed:
            self._count_refused()
            if log and failed == copies:
                self._context.on_all_failed(self.topic, failed, next(iter(self._failed.values())))
        report = self._report()
        number = self._number
        if number is not None:
            report = number.added_to(report)
            if number.id and not failed:
                self._context.on_all_queued(
                    self.topic, number, len(self._recipients), copies, self._skipped_count
                )
        if failed and not self._always_report:
            self.job.fail(report)
        else:
            self.job.complete(report)
        self._context.on_end(self)

    def _report(self) -> bytes:
        raise NotImplementedError


class OneMessage(Delivery[Share]):
    """A delivery of one message: what has to be placed is a share of its queues."""

    def start(self) -> None:
        recipients = self._recipients
        servers = self._context.submitter.servers
        if not recipients.whole.queues:
            self._end(clock.now())
        elif not servers:
            self._wait_for_server(recipients.whole)
        else:
            for server, share in recipients.shares(tuple(servers)).items():
                self._submit(server, share)

    def _divided(self, piece: Share, servers: Sequence[Address]) -> Iterable[tuple[Address, Share]]:
        return divide(piece, servers).items()

    def _left_of(self, batch: Batch) -> Iterable[Share]:
        yield Share(batch.queues, batch.keys, batch.groups).after(batch.created)

    def _submit(self, server: Address, piece: Share) -> None:
        submitter = self._context.submitter
        connection = submitter.servers[server]
        number = self._number
        groups = piece.groups
        if number is None:
            uniques = self._uniques(connection.token)
        else:
            uniques = number.uniques(b"." + connection.token if self.foreground else b"")
            groups = number.groups_of(piece, self._recipients.group_count)
        batch = Batch(
            self,
            self.topic,
            priority=self._priority,
            foreground=self.foreground,
            queues=piece.queues,
            keys=piece.client_ids,
            uniques=uniques,
            groups=groups if len(uniques) > 1 else None,
            payload=self._payload,
            longest_queue=self._recipients.longest_queue,
        )
        self._batches.add(batch)
        submitter.submit(connection, batch)

    def _uniques(self, connection_token: bytes) -> Sequence[bytes]:
        """Return the unique of each group of copies."""
        raise NotImplementedError

    def _generated_uniques(self) -> Sequence[bytes]:
        if not self._token:
            return (b"",)
        if self._recipients.group_count == 1:
            return (b"%s-0" % self._token,)
        return [b"%s-%x" % (self._token, group) for group in range(self._recipients.group_count)]


class BackgroundDelivery(OneMessage):
    """A delivery that ends when job servers have queued or refused every copy."""

    foreground = False

    def _uniques(self, connection_token: bytes) -> Sequence[bytes]:
        if self._unique is not None:
            return (self._unique,)
        return self._generated_uniques()

    def batch_created(self, batch: Batch) -> None:
        # What the base does, without two calls for each fan-out.
        self._batches.remove(batch)
        if batch.tally is not None:
            batch.tally.queued[False] += batch.count - batch.refused
        if not self._batches and not self._unplaced:
            self._end()

    def _cancel(self) -> None:
        if self._batches or self._unplaced:
            super()._cancel()

    def _report(self) -> bytes:
        recipients = self._recipients
        if (
            self._failed_count == recipients.refused_count
            and self._skipped_count == recipients.skipped_count
        ):
            return recipients.queued_report()
        total = len(recipients)
        return messages.FanOutReport(
            topic=self.topic,
            subscribers=total,
            queued=total - self._failed_count - self._skipped_count,
            failed=self._failed,
            failed_count=self._failed_count or UNSET,
            skipped=self._skipped_count or UNSET,
        ).encode()
