# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Publishes with background jobs of ``fanout``, which the job server alone acknowledges."""

from __future__ import annotations

import base64
import itertools
import os
import random
import signal
import threading
from pathlib import Path

from gearhorn.tests.ledger.actor import PublisherPart, part
from gearhorn.tests.ledger.record import Acknowledged, Attempt, Unanswered, Writer, digest_of, now
from gearhorn.tests.peer import Peer, ServerError

_MOST_AT_ONCE = 20


class Topic:
    """The messages of one topic; a thread."""

    def __init__(
        self, part: PublisherPart, topic: str, writer: Writer, stopping: threading.Event
    ) -> None:
        self._part = part
        self._topic = topic
        self._writer = writer
        self._stopping = stopping
        # Each start has message ids of its own.
        self._ids = (f"{part.name}.{os.urandom(4).hex()}.{n}" for n in itertools.count())
        self._peer: Peer | None = None

    def run(self) -> None:
        """Publish until it is stopped."""
        while not self._stopping.wait(random.uniform(0, 2 * self._part.pause)):
            self._publish(next(self._ids))
        self._close()

    def _publish(self, name: str) -> None:
        count = 1 if random.random() >= self._part.batches else random.randint(2, _MOST_AT_ONCE)
        names = [name] if count == 1 else [f"{name}.{index}" for index in range(count)]
        payloads = [each.encode() + b"\n" + os.urandom(100) for each in names]
        texts = [base64.b64encode(payload).decode() for payload in payloads]
        keys = {"payload": texts[0]} if count == 1 else {"payloads": texts}
        request = {
            "topic": self._topic,
            "encoding": "base64",
            "background": True,
            # A second run of the job is the same message.
            "id": name,
            **keys,
        }
        by = self._part.name
        for each, payload in zip(names, payloads, strict=True):
            digest = digest_of(payload)
            self._writer.write(
                Attempt(
                    at=now(), by=by, message=each, topic=self._topic, digest=digest, background=True
                )
            )
        try:
            if self._peer is None:
                host, port = random.choice(self._part.servers).split(":")
                self._peer = Peer(int(port), host, timeout_s=self._part.patience)
            self._peer.start("fanout", request, background=True, unique=name)
        except (OSError, ServerError) as error:
            reason = f"{type(error).__name__}: {error}"
            for each in names:
                self._writer.write(Unanswered(at=now(), by=by, message=each, reason=reason))
            self._close()
            return
        for each in names:
            self._writer.write(Acknowledged(at=now(), by=by, message=each, failed=[], queued=True))

    def _close(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None


def main(part: PublisherPart) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    writer = Writer(Path(part.record))
    threads = [
        threading.Thread(target=Topic(part, topic, writer, stopping).run) for topic in part.topics
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(part(PublisherPart))
