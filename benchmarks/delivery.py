# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages published by this process and acknowledged by another, through any contender."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks import workload
from benchmarks.contenders.base import Contender, Publish, Receipts
from benchmarks.figures import Measured, Spent
from benchmarks.processes import Process, ServerError, directory, running
from benchmarks.stopwatch import Stopwatch

_POLL_S = 0.0005


class Delivery:
    """A publisher in this process, and subscribed receivers in another."""

    def __init__(
        self, subscribers: int, publish: Publish, receipts: Receipts, receiver: Process
    ) -> None:
        self.publish = publish
        self._subscribers = subscribers
        self._receipts = receipts
        self._receiver = receiver

    def acknowledged(self, messages: int, until: float) -> tuple[float, int]:
        """Wait until so many messages have reached all, but not beyond `until`.

        Return the time of the last receipt, and the number of receipts.
        """
        while True:
            at, count = self._receipts.read()
            if count >= messages * self._subscribers or time.monotonic() > until:
                return at, count
            self._receiver.check()
            time.sleep(_POLL_S)


@contextlib.contextmanager
def delivering(contender: Contender, subscribers: int) -> Iterator[Delivery]:
    client_ids = workload.client_ids(subscribers)
    command = [sys.executable, "-m", "benchmarks.receiver"]
    with contender.serving(client_ids) as address, directory() as place:
        receipts = Receipts.create(place / "receipts")
        settings = {
            "contender": contender.name,
            "address": address,
            "client_ids": client_ids,
            "receipts": str(place / "receipts"),
        }
        given = json.dumps(settings).encode()
        with running(command, place / "log", given=given, name="receiver") as receiver:
            receiver.wait_until(lambda: receipts.read()[1] >= 0)
            with contender.publishing(address, client_ids) as publish:
                yield Delivery(subscribers, publish, receipts, receiver)


def deliveries_a_second(
    contender: Contender, subscribers: int, payload: bytes, messages: int, limit_s: float
) -> Measured:
    """Measure from before the first message is published to after the last acknowledgement.

    One message is sent beforehand, so that everything is connected. After `limit_s` the measuring
    stops, and the deliveries acknowledged until then count.
    """
    with delivering(contender, subscribers) as delivery:
        with Stopwatch() as watch:
            start = time.monotonic()
            delivery.publish(payload, 1, start + limit_s)
            at, before = delivery.acknowledged(1, start + limit_s)
        if before == 0:
            raise ServerError(f"{contender.name} delivered nothing in {limit_s:g} s")
        if before < subscribers:
            return Measured(before / (at - start), watch.spent(before))
        with Stopwatch() as watch:
            start = time.monotonic()
            published = delivery.publish(payload, messages, start + limit_s)
            at, count = delivery.acknowledged(1 + published, start + limit_s)
        deliveries = count - before
        return Measured(deliveries / (at - start), watch.spent(deliveries))


def latencies_s(
    contender: Contender, subscribers: int, payload: bytes, messages: int, limit_s: float
) -> tuple[Sequence[float], Spent]:
    """Measure from before each message is published to its last receipt, one at a time.

    Return also the time spent on one message, in which the publisher looks for receipts.
    """
    waits_s = []
    with delivering(contender, subscribers) as delivery, Stopwatch() as watch:
        until = time.monotonic() + limit_s
        for sent in range(1, messages + 2):
            start = time.monotonic()
            delivery.publish(payload, 1, until)
            at, count = delivery.acknowledged(sent, until)
            if count < sent * subscribers:
                break
            waits_s.append(at - start)
    if not waits_s:
        raise ServerError(f"{contender.name} delivered nothing in {limit_s:g} s")
    # Without the first, which finds connections that have not been used.
    return waits_s[1:] or waits_s, watch.spent(len(waits_s))
