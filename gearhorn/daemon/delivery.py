# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The copies of one fan-out, from its list of subscribers to its report."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import UNSET

from gearhorn import clock, messages
from gearhorn.daemon.attendance import Owner, Watched
from gearhorn.daemon.gathering import Results, Room
from gearhorn.daemon.journal.numbered import Numbered
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.open_fanouts import Place
from gearhorn.daemon.placement import Share, divide
from gearhorn.daemon.recipients import Recipients
from gearhorn.wire import framing
from gearhorn.wire.address import Address
from gearhorn.wire.batch import Batch, Copy, Listener
from gearhorn.wire.grabber import Job
from gearhorn.wire.submitter import Submitter

OnAllQueued = Callable[[str, Numbered, int, int], None]


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
    on_stuck: Callable[["Delivery"], None]
    """Called when no job server is connected; :meth:`Delivery.resume` is due
    when one is."""
    on_end: Callable[["Delivery"], None]
    on_all_failed: Callable[[str, int, str], None]
    """Called with the topic, the number of copies and the reason of the first."""
    on_left: Callable[[str], None]
    """Called with the topic of one whose publisher has left, before it ends."""
    on_all_queued: OnAllQueued = lambda *_: None
    """Called with the topic, the number, the subscribers and the skipped copies of a message
    with an id, in the background, of which no copy failed."""


class Delivery(Listener):
    """The base of both kinds of delivery: placing copies and ending.

    :param token: the beginning of the uniques that are generated for the copies;
        empty for copies without a unique.
    :param number: the message's place in the topic's journal, if that has one. Its copies
        carry that in their uniques, and nothing else.
    """

    foreground: bool

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
        self._unplaced: list[Share] = []
        self._failed = dict(recipients.refused)
        self._failed_count = recipients.refused_count
        self._skipped_count = recipients.skipped_count
        if self._failed_count:
            self._counts.reasons[messages.QUEUE_FULL] += self._failed_count
        job.hold(self.abandon)

    def start(self) -> None:
        """Hand the copies to the submitter."""
        recipients = self._recipients
        servers = self._context.submitter.servers
        if not recipients.whole.queues:
            self._end(clock.now())
        elif not servers:
            self._wait_for_server(recipients.whole)
        else:
            for server, share in recipients.shares(tuple(servers)).items():
                self._submit(server, share)

    def resume(self) -> None:
        """Submit the copies that have waited for a server."""
        unplaced, self._unplaced = self._unplaced, []
        for share in unplaced:
            self._place(share)

    def abandon(self) -> None:
        """Stop without an answer: the job is another daemon's now."""
        self._counts.abandoned += 1
        self._cancel()
        self._context.on_end(self)

    def _place(self, share: Share) -> None:
        servers = self._context.submitter.servers
        if not servers:
            self._wait_for_server(share)
            return
        for server, part in divide(share, tuple(servers)).items():
            self._submit(server, part)

    def _wait_for_server(self, share: Share) -> None:
        self._unplaced.append(share)
        self._context.on_stuck(self)

    def _submit(self, server: Address, share: Share) -> None:
        submitter = self._context.submitter
        connection = submitter.servers[server]
        number = self._number
        groups = share.groups
        if number is None:
            uniques = self._uniques(connection.token)
        else:
            uniques = number.uniques(b"." + connection.token if self.foreground else b"")
            groups = number.groups_of(share, self._recipients.group_count)
        batch = Batch(
            self,
            self.topic,
            priority=self._priority,
            foreground=self.foreground,
            queues=share.queues,
            keys=share.client_ids,
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
        return [b"%s-%x" % (self._token, group) for group in range(self._recipients.group_count)]

    # Called by the submitter.

    def batch_created(self, batch: Batch) -> None:
        self._batches.remove(batch)
        batch.count()

    def batch_lost(self, batch: Batch) -> None:
        # Copies that this server had not yet queued go to another one.
        self._batches.remove(batch)
        batch.count()
        if batch.tally is not None:
            batch.tally.resubmitted += len(batch.queues) - batch.created
        share = Share(batch.queues, batch.keys, batch.groups)
        self._place(share.after(batch.created))

    def copy_refused(self, batch: Batch, index: int, *, full: bool) -> None:
        key = batch.keys[index]
        if full and self._number is not None and self._recipients.skipping(key):
            self._skipped_count += 1
        else:
            self._fail(key, messages.QUEUE_FULL if full else messages.NOT_QUEUED)

    # Ending.

    def _fail(self, client_id: str, reason: str) -> None:
        self._failed_count += 1
        self._counts.reasons[reason] += 1
        if self._failed_count <= messages.MAX_LISTED_FAILURES:
            self._failed[client_id] = reason

    def _cancel(self) -> None:
        for batch in self._batches:
            batch.count()
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
        recipients = self._recipients
        took_s = (now or self._context.submitter.heard_at) - self.job.taken
        self._counts.ended(recipients.count, recipients.size_class, failed, took_s)
        if self._skipped_count:
            self._counts.skip(self._skipped_count)
        if log and failed and failed == recipients.count:
            self._context.on_all_failed(self.topic, failed, next(iter(self._failed.values())))
        report = self._report()
        number = self._number
        if number is not None:
            report = number.added_to(report)
            if number.id and not failed:
                self._context.on_all_queued(
                    self.topic, number, recipients.count, self._skipped_count
                )
        if failed and not self._always_report:
            self.job.fail(report)
        else:
            self.job.complete(report)
        self._context.on_end(self)

    def _report(self) -> bytes:
        raise NotImplementedError


class BackgroundDelivery(Delivery):
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
            batch.tally.queued[False] += len(batch.queues) - batch.refused
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


class ForegroundDelivery(Delivery, Owner):
    """A delivery that ends when every receiver has answered, or the time is up."""

    foreground = True

    def __init__(
        self,
        context: Context,
        job: Job,
        request: messages.FanOut,
        payload: bytes,
        recipients: Recipients,
        token: bytes,
        place: Place,
        number: Numbered | None = None,
    ) -> None:
        super().__init__(context, job, request, payload, recipients, token, number)
        self._open_place = place
        self.watched: Watched | None = None
        """Its publisher, as far as that is asked for."""
        self._open: dict[str, Copy | None] = dict.fromkeys(recipients.whole.client_ids)
        """The client_ids whose answers are missing, each with its copy once queued."""
        self._timeout = request.timeout or context.timeout
        self._deadline: asyncio.TimerHandle | None = None
        self._results = Results(context.max_gathered_bytes, context.room)
        self._gather = messages.truth(request.gather)

    def progress(self) -> None:
        """Tell the publisher how many receivers have answered."""
        total = len(self._recipients)
        self.job.progress(total - len(self._open), total)

    def _uniques(self, connection_token: bytes) -> Sequence[bytes]:
        # gearmand joins a submission to a queued job of the same unique even if that
        # job's client is gone and its answer will never come. So a foreground copy
        # shares no unique with a background copy, or with a copy on another connection.
        if self._unique is not None:
            uniques: Sequence[bytes] = (self._unique,)
        else:
            uniques = self._generated_uniques()
        return [unique and b"%s-%s" % (unique, connection_token) for unique in uniques]

    def batch_written(self, batch: Batch) -> None:
        # The receivers' time starts when all copies are on their way.
        if (
            self._deadline is None
            and not self._unplaced
            and all(batch.written == len(batch.queues) for batch in self._batches)
        ):
            self._deadline = asyncio.get_running_loop().call_later(self._timeout, self._time_is_up)

    def batch_created(self, batch: Batch) -> None:
        super().batch_created(batch)
        if not self._batches and not self._unplaced:
            # No copy has to be sent again, however long the answers take.
            self._payload = b""
            self.job.drop_data()
            # What now takes time are receivers, which are to keep no other fan-out waiting.
            self.job.set_aside()

    def copy_refused(self, batch: Batch, index: int, *, full: bool) -> None:
        super().copy_refused(batch, index, full=full)
        self._close(batch.keys[index])

    def copy_created(self, copy: Copy) -> None:
        self._open[copy.key] = copy

    def copy_answered(self, copy: Copy, packet_type: int, data: bytes, whole: bool) -> None:
        key = copy.key
        if packet_type == framing.WORK_COMPLETE:
            if self._gather and not self._results.close(key, data, whole):
                self._fail(key, messages.RESULT_TOO_LARGE)
        elif packet_type == framing.WORK_DATA:
            if self._gather:
                self._results.add(key, data, whole)
            return
        elif packet_type == framing.WORK_FAIL:
            self._fail(key, messages.RECEIVER_FAILED)
        elif packet_type == framing.WORK_EXCEPTION:
            self._fail(key, messages.RECEIVER_EXCEPTION)
        self._close(key)

    def copy_lost(self, copy: Copy) -> None:
        self._fail(copy.key, messages.SERVER_LOST)
        self._close(copy.key)

    def _close(self, key: str) -> None:
        del self._open[key]
        self._open_place.answered()
        if not self._open:
            self._end()

    def _time_is_up(self) -> None:
        for key in self._open:
            self._fail(key, messages.TIMEOUT)
        self._end(clock.now())

    def leave(self) -> None:
        """Give back the place among the open fan-outs, and ask for the publisher no more."""
        self._open_place.leave()
        if self.watched is not None:
            self.watched.done()

    def publisher_left(self) -> None:
        """End as if the time were up: nobody waits for the report."""
        self._context.on_left(self.topic)
        for key in self._open:
            self._fail(key, messages.TIMEOUT)
        self._end(clock.now(), log=False)

    def _cancel(self) -> None:
        super()._cancel()
        if self._deadline is not None:
            self._deadline.cancel()
        for copy in self._open.values():
            if copy is not None:
                copy.forget()
        # The copies know this delivery. Otherwise they would hold each other, and the
        # payload, until Python looks for reference cycles.
        self._open.clear()
        self._results.give_back()

    def _report(self) -> bytes:
        total = len(self._recipients)
        return messages.FanOutReport(
            topic=self.topic,
            subscribers=total,
            delivered=total - self._failed_count - self._skipped_count,
            failed=self._failed,
            failed_count=self._failed_count or UNSET,
            skipped=self._skipped_count or UNSET,
            results=self._results.complete if self._gather else UNSET,
        ).encode()
