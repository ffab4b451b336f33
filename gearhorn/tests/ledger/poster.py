# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Publishes with background jobs of ``fanout``, which the job server alone acknowledges."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import random
import signal
import threading
from pathlib import Path

from gearhorn.tests.builders import message
from gearhorn.tests.ledger.actor import PublisherPart, part
from gearhorn.tests.ledger.record import Acknowledged, Attempt, Unanswered, Writer, now
from gearhorn.tests.peer import Peer, ServerError


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
        payload = name.encode() + b"\n" + os.urandom(100)
        request = message(
            self._topic, base64.b64encode(payload).decode(), encoding="base64", background=True
        )
        digest = hashlib.sha1(payload).hexdigest()
        by = self._part.name
        self._writer.write(
            Attempt(
                at=now(), by=by, message=name, topic=self._topic, digest=digest, background=True
            )
        )
        try:
            if self._peer is None:
                host, port = random.choice(self._part.servers).split(":")
                self._peer = Peer(int(port), host, timeout_s=self._part.patience)
            self._peer.start("fanout", request, background=True, unique=name)
        except (OSError, ServerError) as error:
            reason = f"{type(error).__name__}: {error}"
            self._writer.write(Unanswered(at=now(), by=by, message=name, reason=reason))
            self._close()
            return
        self._writer.write(Acknowledged(at=now(), by=by, message=name, failed=[], queued=True))

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
