# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Failures are counted once for what ends many copies, and by their reasons."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gearhorn import messages
from gearhorn.daemon.metrics import Counts
from gearhorn.tests.unit.test_fanout import Outbox, fan_outs, request, request_of
from gearhorn.tests.unit.test_given_back import Job
from gearhorn.wire import framing
from gearhorn.wire.batch import AwaitedCopies, Batch, Copy

COPIES = messages.MAX_LISTED_FAILURES + 500


class Written(Counter[str]):
    """Counts how often it is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def __setitem__(self, key: str, value: int) -> None:
        self.times += 1
        super().__setitem__(key, value)


class Sent:
    """A fan-out whose copies were submitted."""

    def __init__(self, foreground: bool, data: bytes, subscribers: int = COPIES) -> None:
        self.outbox = Outbox()
        self.outbox.connect()
        counts = Counts()
        self.counts = counts.fanouts[foreground]
        self.counts.reasons = self.reasons = Written()
        job: Any = Job(data)
        fan_outs(self.outbox, subscribers, counts=counts).take(job)
        self.job = job
        (self.batch,) = self.outbox.batches
        self.delivery: Any = self.batch.listener

    def report(self) -> Any:
        ((_, report),) = self.job.answers
        return report


def foreground(subscribers: int = COPIES) -> tuple[Sent, list[Copy]]:
    """A fan-out whose copies are all queued, and these."""
    sent = Sent(True, request(background=False), subscribers)
    batch = sent.batch
    batch.written = batch.count
    sent.delivery.batch_written(batch)
    awaited = AwaitedCopies()
    copies = [Copy(batch, key, b"H:%d" % n, awaited) for n, key in enumerate(batch.keys)]
    for copy in copies:
        awaited.add(copy)
        sent.delivery.copy_created(copy)
    batch.created = batch.count
    sent.delivery.batch_created(batch)
    return sent, copies


def refuse(batch: Batch, copies: int, *, full: bool) -> None:
    """The server refuses the next copies."""
    for _ in range(copies):
        batch.listener.copy_refused(batch, batch.created, full=full)
        batch.refused += 1
        batch.created += 1


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("_time_is_up", messages.TIMEOUT),
        ("publisher_left", messages.TIMEOUT),
        ("copies_lost", messages.SERVER_LOST),
    ],
)
async def test_what_ends_many_copies_counts_once(event: str, reason: str) -> None:
    sent, copies = foreground()
    sent.delivery.copy_answered(copies[0], framing.WORK_FAIL, b"", True)
    end = getattr(sent.delivery, event)
    if event == "copies_lost":
        end(copies[1:])
    else:
        end()

    assert sent.reasons == {messages.RECEIVER_FAILED: 1, reason: COPIES - 1}
    assert sent.reasons.times == 2
    assert sent.counts.failed_copies == COPIES
    report = sent.report()
    assert (report["delivered"], report["failed_count"]) == (0, COPIES)
    # The first are named.
    first = dict.fromkeys((copy.key for copy in copies[: messages.MAX_LISTED_FAILURES]), reason)
    assert report["failed"] == {**first, copies[0].key: messages.RECEIVER_FAILED}


@pytest.mark.parametrize("data", [request(), request_of("1", "2", "3")], ids=["one", "series"])
def test_refusals_of_a_server_count_once_for_each_reason(data: bytes) -> None:
    sent = Sent(False, data, 700)
    batch = sent.batch
    refuse(batch, 400, full=True)
    refuse(batch, 200, full=False)
    batch.created = batch.count
    sent.delivery.batch_created(batch)

    assert sent.reasons == {messages.QUEUE_FULL: 400, messages.NOT_QUEUED: 200}
    assert sent.reasons.times == 2
    assert sent.report()["failed_count"] == sent.counts.failed_copies == 600


async def test_refusals_of_a_server_count_while_others_are_waited_for() -> None:
    sent = Sent(True, request(background=False), 3)
    refuse(sent.batch, 2, full=True)
    sent.batch.created += 1
    sent.delivery.batch_created(sent.batch)

    assert sent.reasons == {messages.QUEUE_FULL: 2}
    assert not sent.job.answers


def test_refusals_count_if_the_server_or_the_job_is_lost_after_them() -> None:
    sent = Sent(False, request(), 5)
    refuse(sent.batch, 2, full=True)
    sent.outbox.servers.clear()
    sent.delivery.batch_lost(sent.batch)
    assert sent.reasons == {messages.QUEUE_FULL: 2}
    sent.outbox.connect()
    sent.delivery.resume()
    refuse(sent.outbox.batches[1], 1, full=False)
    sent.job.lose()

    assert sent.reasons == {messages.QUEUE_FULL: 2, messages.NOT_QUEUED: 1}
    # It has not ended.
    assert (sent.counts.abandoned, sent.counts.copies) == (1, 0)
