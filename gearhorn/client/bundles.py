# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages for one topic in one request: those that wait while another is on its way.

Nothing is held back to wait for more. A message goes at once if no other of its topic is on
its way; what comes meanwhile goes together once that is answered. So one that is alone
is as quick as ever, and many cost a fraction of what they cost one by one.

Of a topic all messages go in order, also those that go alone: in the foreground, or with
an id, a unique, a priority or an encoding of their own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import UNSET

from gearhorn import errors, messages
from gearhorn.client.answers import partial_failure
from gearhorn.client.caller import Call, OnProgress
from gearhorn.client.publications import MOST_OTHER_BYTES, Publication

Outcome: TypeAlias = messages.FanOutReport | errors.GearhornError
OnDone = Callable[[Outcome], object]

MOST_MESSAGES = 1000
"""The most messages in one request."""
MOST_BYTES = 1 << 20
"""About the most bytes of them."""

ALONE_S = 60.0
"""Seconds for which single messages are sent to daemons of which one knows no bundles."""


class Item:
    """A message that is sent, or waits until it is.

    :param on_done: called with its own report, or its error.
    :ivar deadline: until when it waits, on the loop's clock.
    :ivar call: the request that carries it alone.
    """

    __slots__ = ("call", "cancelled", "deadline", "on_done", "on_progress", "publication")

    def __init__(
        self, publication: Publication, on_done: OnDone, on_progress: OnProgress | None = None
    ) -> None:
        self.publication = publication
        self.on_done = on_done
        self.on_progress = on_progress
        self.deadline = 0.0
        self.call: Call | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Stop waiting for its report, and do not send it if it has not been sent."""
        self.cancelled = True
        if self.call is not None:
            self.call.cancel()


class _Line:
    """The messages of one topic."""

    __slots__ = ("under_way", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Item] = deque()
        self.under_way = False
        """True while one that can be in a bundle, or a bundle, is on its way."""


class Bundles:
    """Sends messages, several in one request where they wait for the same topic.

    :param send: sends one request, and calls its ``on_done`` with the outcome.
    :param max_message_bytes: the largest request that the daemons take.
    """

    def __init__(self, send: Callable[[Item], object], max_message_bytes: int) -> None:
        self._send = send
        # Of a request with several there is a comma for each, and little else.
        self._most_bytes = min(MOST_BYTES, max_message_bytes - MOST_OTHER_BYTES - MOST_MESSAGES)
        self._lines: dict[str, _Line] = {}
        self._alone_until = 0.0

    def start(self, item: Item) -> Item:
        """Send a message, or have it wait for the end of another."""
        publication = item.publication
        line = self._lines.get(publication.topic)
        if line is None:
            if not publication.bundles or self._is_alone():
                self._hand_over(item)
            else:
                line = self._lines[publication.topic] = _Line()
                self._send_next(line, [item])
        elif not line.waiting and not publication.bundles:
            self._hand_over(item)
        else:
            item.deadline = asyncio.get_running_loop().time() + publication.patience
            line.waiting.append(item)
        return item

    def _is_alone(self) -> bool:
        return bool(self._alone_until) and asyncio.get_running_loop().time() < self._alone_until

    def _go_on(self, topic: str, line: _Line) -> None:
        """Send what has waited, as far as it can go."""
        waiting = line.waiting
        now = asyncio.get_running_loop().time()
        while waiting:
            item = waiting[0]
            bundles = item.publication.bundles and not self._is_alone()
            if item.cancelled:
                waiting.popleft()
            elif item.deadline <= now:
                waiting.popleft().on_done(errors.NoAnswer("no daemon answered in time"))
            elif not bundles:
                self._hand_over(waiting.popleft())
            elif not line.under_way:
                self._send_next(line, self._taken(waiting))
            else:
                return
        if not line.under_way and self._lines.get(topic) is line:
            del self._lines[topic]

    def _taken(self, waiting: deque[Item]) -> list[Item]:
        """Take the messages that follow each other and fit into one request."""
        items: list[Item] = []
        size = 0
        while waiting and len(items) < MOST_MESSAGES:
            item = waiting[0]
            size += item.publication.size
            if not item.publication.bundles or (items and size > self._most_bytes):
                break
            waiting.popleft()
            if not item.cancelled:
                items.append(item)
        return items

    def _send_next(self, line: _Line, items: Sequence[Item]) -> None:
        """Send these together; what waits follows once they are answered."""
        line.under_way = True
        topic = items[0].publication.topic

        def done(outcome: Outcome) -> None:
            line.under_way = False
            if len(items) == 1:
                items[0].on_done(outcome)
            elif isinstance(outcome, errors.RequestError):
                self._send_each(items, outcome)
            else:
                for item, its_outcome in zip(items, outcomes(outcome, len(items)), strict=True):
                    item.on_done(its_outcome)
            self._go_on(topic, line)

        publications = [item.publication for item in items]
        together = publications[0] if len(items) == 1 else Publication.together(publications)
        self._hand_over(Item(together, done))

    def _send_each(self, items: Sequence[Item], error: errors.RequestError) -> None:
        """Send each message by itself: one of them was refused, or bundles are not known."""
        if isinstance(error, errors.UnknownKey):
            self._alone_until = asyncio.get_running_loop().time() + ALONE_S
        for item in items:
            if not item.cancelled:
                self._hand_over(item)

    def _hand_over(self, item: Item) -> None:
        try:
            self._send(item)
        except errors.ClientError as error:
            item.on_done(error)


def outcomes(outcome: Outcome, count: int) -> list[Outcome]:
    """Return the outcome of each message of a bundle."""
    if isinstance(outcome, errors.PartialFailure):
        report = outcome.report
        assert isinstance(report, messages.FanOutReport)
    elif isinstance(outcome, errors.GearhornError):
        # One for each: whoever raises it adds a traceback.
        return [_copied(outcome) for _ in range(count)]
    else:
        report = outcome
    failed = _failed_of(report, count)
    skipped = _skipped_of(report, failed)
    return [_own_outcome(report, index, failed[index], skipped[index]) for index in range(count)]


def _copied(error: errors.GearhornError) -> errors.GearhornError:
    copied = type(error)(*error.args)
    copied.code, copied.report = error.code, error.report
    return copied


def _failed_of(report: messages.FanOutReport, count: int) -> list[dict[str, str]]:
    """Return the reasons by receiver of each message."""
    failed: list[dict[str, str]] = [{} for _ in range(count)]
    listed = 0
    for first, last, client_id, reason in report.failures or ():
        for index in range(first, min(last + 1, count)):
            failed[index][client_id] = reason
            listed += 1
    if listed < (report.failed_count or 0):
        # Not all runs were listed. It is not known which message failed for whom.
        return [dict(report.failed) for _ in range(count)]
    return failed


def _skipped_of(report: messages.FanOutReport, failed: Sequence[dict[str, str]]) -> list[int]:
    """Return how many copies of each message were skipped, as far as it is known.

    A report counts them all together. A queue that is full all the time takes one of each
    message, and one that becomes full on the way takes one of each of the last.
    """
    left = report.skipped or 0
    rooms = [report.subscribers - len(its_failed) for its_failed in failed]
    skipped = [0] * len(rooms)
    while left > 0 and any(rooms):
        open_ones = [index for index, room in enumerate(rooms) if room]
        for index in open_ones[-left:]:
            skipped[index] += 1
            rooms[index] -= 1
        left -= min(left, len(open_ones))
    return skipped


def _own_outcome(
    report: messages.FanOutReport, index: int, failed: dict[str, str], skipped: int
) -> Outcome:
    sequence = report.sequence
    own = messages.FanOutReport(
        topic=report.topic,
        subscribers=report.subscribers,
        queued=report.subscribers - len(failed) - skipped,
        failed=failed,
        failed_count=len(failed) or UNSET,
        skipped=skipped or UNSET,
        journal=report.journal,
        sequence=sequence + index if isinstance(sequence, int) else sequence,
        duplicate=report.duplicate,
    )
    return partial_failure(own) if failed else own
