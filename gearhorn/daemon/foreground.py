# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The copies of a fan-out whose receivers' answers are waited for."""

import asyncio
from collections.abc import Sequence

from msgspec import UNSET

from gearhorn import clock, messages
from gearhorn.daemon.attendance import Owner, Watched
from gearhorn.daemon.delivery import Context, OneMessage
from gearhorn.daemon.gathering import Results
from gearhorn.daemon.journal.numbered import Numbered
from gearhorn.daemon.open_fanouts import Place
from gearhorn.daemon.recipients import Recipients
from gearhorn.wire import framing
from gearhorn.wire.batch import Batch, Copy
from gearhorn.wire.grabber import Job


class ForegroundDelivery(OneMessage, Owner):
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
            and all(batch.written == batch.count for batch in self._batches)
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
        self._close(batch.key(index))

    def copy_created(self, copy: Copy) -> None:
        self._open[copy.key] = copy

    def copy_answered(self, copy: Copy, packet_type: int, data: bytes, whole: bool) -> None:
        key = copy.key
        if packet_type == framing.WORK_COMPLETE:
            if self._gather and not self._results.close(key, data, whole):
                self._fail((key,), messages.RESULT_TOO_LARGE)
        elif packet_type == framing.WORK_DATA:
            if self._gather:
                self._results.add(key, data, whole)
            return
        elif packet_type == framing.WORK_FAIL:
            self._fail((key,), messages.RECEIVER_FAILED)
        elif packet_type == framing.WORK_EXCEPTION:
            self._fail((key,), messages.RECEIVER_EXCEPTION)
        self._close(key)

    def copies_lost(self, copies: Sequence[Copy]) -> None:
        keys = [copy.key for copy in copies]
        self._fail(keys, messages.SERVER_LOST)
        for key in keys:
            self._close(key)

    def _close(self, key: str) -> None:
        del self._open[key]
        self._open_place.answered()
        if not self._open:
            self._end()

    def _time_is_up(self) -> None:
        self._fail(self._open, messages.TIMEOUT)
        self._end(clock.now())

    def leave(self) -> None:
        """Give back the place among the open fan-outs, and ask for the publisher no more."""
        self._open_place.leave()
        if self.watched is not None:
            self.watched.done()

    def publisher_left(self) -> None:
        """End as if the time were up: nobody waits for the report."""
        self._context.on_left(self.topic)
        self._fail(self._open, messages.TIMEOUT)
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
