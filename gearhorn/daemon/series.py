# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The copies of the messages of one request with ``payloads``, and their report."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec import UNSET

from gearhorn import clock, messages
from gearhorn.daemon.delivery import Context, Delivery
from gearhorn.daemon.journal.numbered import Numbered
from gearhorn.daemon.metrics import COPIES_BOUNDS
from gearhorn.daemon.placement import Share, divide
from gearhorn.daemon.recipients import Recipients
from gearhorn.wire.address import Address
from gearhorn.wire.batch import Batch
from gearhorn.wire.grabber import Job
from gearhorn.wire.series import Series

AT_ONCE = 1_000
"""The messages that go out before it is asked again which queues are full."""

Admit = Callable[[int], Recipients]
"""Counts a message of so many bytes, and returns the list without its full queues."""


class _Run(NamedTuple):
    """Messages that follow each other and go to the same queues.

    :param first: the index of the first message in the request.
    """

    first: int
    share: Share
    payloads: Sequence[bytes]


class Failures:
    """The messages of a series that failed, by receiver, in runs of the same reason."""

    def __init__(self) -> None:
        self.first: dict[str, str] = {}
        """The reason of the first failure of each receiver."""
        self._runs: dict[str, list[list[int | str]]] = {}
        self._listed = 0

    def add(self, first: int, last: int, client_id: str, reason: str) -> None:
        """Note that the messages from ``first`` to ``last`` failed for a receiver."""
        if client_id not in self.first and len(self.first) < messages.MAX_LISTED_FAILURES:
            self.first[client_id] = reason
        runs = self._runs.get(client_id)
        if runs and runs[-1][2] == reason and runs[-1][1] == first - 1:
            runs[-1][1] = last
        elif self._listed < messages.MAX_LISTED_FAILURES:
            self._runs.setdefault(client_id, []).append([first, last, reason])
            self._listed += 1

    def rows(self) -> list[tuple[int, int, str, str]]:
        """Return the first and the last index, the receiver and the reason of each run."""
        return [
            (int(first), int(last), client_id, str(reason))
            for client_id, runs in self._runs.items()
            for first, last, reason in runs
        ]


class SeriesDelivery(Delivery[_Run]):
    """A delivery of several messages, which ends when every copy is queued or refused.

    :param payloads: the messages, in their order.
    :param recipients: the whole list.
    :param admit: is asked for each message.
    """

    foreground = False

    def __init__(
        self,
        context: Context,
        job: Job,
        request: messages.FanOut,
        payloads: Sequence[bytes],
        recipients: Recipients,
        token: bytes,
        number: Numbered | None,
        admit: Admit,
    ) -> None:
        super().__init__(context, job, request, b"", recipients, token, number)
        self._payloads = payloads
        self._next = 0
        """The index of the first message that is not handed over."""
        self._admit = admit
        self._copies = len(payloads) * recipients.count
        self._size_class = bisect_left(COPIES_BOUNDS, self._copies)
        self._failures = Failures()
        self._failed = self._failures.first
        # It goes out in several turns, between which no other may come.
        self.holds_lane = len(payloads) > AT_ONCE

    def start(self) -> None:
        self._go_on()
        if not self._batches and not self._unplaced:
            self._end(clock.now())

    def _go_on(self) -> None:
        """Hand over the next messages, until some of them are under way."""
        while self._next < len(self._payloads) and not self._batches and not self._unplaced:
            begin = self._next
            self._next = min(begin + AT_ONCE, len(self._payloads))
            self._start_some(begin, self._payloads[begin : self._next])

    def _start_some(self, begin: int, payloads: Sequence[bytes]) -> None:
        admitted = [self._admit(len(payload)) for payload in payloads]
        first = 0
        for index in range(1, len(payloads) + 1):
            if index == len(payloads) or admitted[index] is not admitted[first]:
                self._start_run(begin + first, payloads[first:index], admitted[first])
                first = index

    def _start_run(self, first: int, payloads: Sequence[bytes], recipients: Recipients) -> None:
        refused = len(payloads) * recipients.refused_count
        if refused:
            self._failed_count += refused
            self._counts.reasons[messages.QUEUE_FULL] += refused
            for client_id, reason in recipients.refused.items():
                self._failures.add(first, first + len(payloads) - 1, client_id, reason)
        self._skipped_count += len(payloads) * recipients.skipped_count
        servers = self._context.submitter.servers
        if not recipients.whole.queues:
            return
        if not servers:
            self._wait_for_server(_Run(first, recipients.whole, payloads))
            return
        for server, share in recipients.shares(tuple(servers)).items():
            self._submit(server, _Run(first, share, payloads))

    def _divided(self, piece: _Run, servers: Sequence[Address]) -> Iterable[tuple[Address, _Run]]:
        for server, share in divide(piece.share, servers).items():
            yield server, piece._replace(share=share)

    def _left_of(self, batch: Batch) -> Iterable[_Run]:
        assert isinstance(batch, Series)
        share = Share(batch.queues, batch.keys, batch.groups)
        first, left = batch.message(batch.created), batch.left()
        # All copies of a message before the first of the next one.
        if begun := batch.created % len(batch.queues):
            yield _Run(first, share.after(begun), left[:1])
            first, left = first + 1, left[1:]
        if left:
            yield _Run(first, share, left)

    def _submit(self, server: Address, piece: _Run) -> None:
        submitter = self._context.submitter
        token, number = self._token, self._number
        groups = piece.share.groups
        if number is not None:
            groups = number.groups_of(piece.share, self._recipients.group_count)

        def unique_of(message: int, group: int) -> bytes:
            if number is not None:
                return number.unique(message, group)
            return b"%s-%x-%x" % (token, message, group) if token else b""

        batch = Series(
            self,
            self.topic,
            priority=self._priority,
            queues=piece.share.queues,
            keys=piece.share.client_ids,
            groups=groups,
            longest_queue=self._recipients.longest_queue,
            first=piece.first,
            payloads=piece.payloads,
            unique_of=unique_of,
        )
        self._batches.add(batch)
        submitter.submit(submitter.servers[server], batch)

    # Called by the submitter.

    def batch_created(self, batch: Batch) -> None:
        super().batch_created(batch)
        self._go_on()
        if not self._batches and not self._unplaced:
            self._end()

    # Ending.

    def _list_refused(self, batch: Batch, index: int, reason: str) -> None:
        assert isinstance(batch, Series)
        message = batch.message(index)
        self._failures.add(message, message, batch.key(index), reason)

    def _report(self) -> bytes:
        failed = self._failed_count
        return messages.FanOutReport(
            topic=self.topic,
            messages=len(self._payloads),
            subscribers=len(self._recipients),
            queued=self._copies - failed - self._skipped_count,
            failed=self._failed,
            failed_count=failed or UNSET,
            failures=self._failures.rows() if failed else UNSET,
            skipped=self._skipped_count or UNSET,
        ).encode()
