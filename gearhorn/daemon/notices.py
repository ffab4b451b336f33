# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Telling other daemons that a topic's set has changed."""

import asyncio
from collections.abc import Sequence

from gearhorn import messages
from gearhorn.wire import framing
from gearhorn.wire.batch import Batch, Copy, Listener
from gearhorn.wire.submitter import Submitter


class Notices(Listener):
    """One notice to each of several daemons, on every job server.

    A daemon has confirmed when one of its notices ended in WORK_COMPLETE.
    """

    def __init__(self, topic: str, worker_ids: Sequence[str]) -> None:
        self.silent = set(worker_ids)
        self.confirmed = asyncio.Event()
        self._topic = topic
        self._worker_ids = worker_ids
        self._batches: list[Batch] = []
        self._copies: set[Copy] = set()

    def send(self, submitter: Submitter, matchmaking_topic: str) -> None:
        """Send them to every server that is connected."""
        queues = [
            messages.queue_name(matchmaking_topic, worker_id).encode()
            for worker_id in self._worker_ids
        ]
        payload = messages.Notice(topic=self._topic).encode()
        for connection in submitter.servers.values():
            batch = Batch(
                self,
                matchmaking_topic,
                priority="high",
                foreground=True,
                queues=queues,
                keys=self._worker_ids,
                # No unique: a notice must not join an earlier one that the
                # daemon answered before this change.
                uniques=(b"",),
                groups=None,
                payload=payload,
                longest_queue=max(map(len, queues)),
            )
            self._batches.append(batch)
            submitter.submit(connection, batch)

    def forget(self) -> None:
        """Listen no more."""
        for batch in self._batches:
            batch.cancel()
        for copy in self._copies:
            copy.forget()

    # What the submitter tells. A batch or copy that is lost or refused counts
    # for nothing: the other servers' notices do, and without any, time.

    def copy_created(self, copy: Copy) -> None:
        self._copies.add(copy)

    def copy_lost(self, copy: Copy) -> None:
        self._copies.discard(copy)

    def copy_answered(self, copy: Copy, packet_type: int, data: bytes, whole: bool) -> None:
        if packet_type == framing.WORK_DATA:
            return
        self._copies.discard(copy)
        # Anything but a daemon fails a job that it does not know.
        if packet_type == framing.WORK_COMPLETE:
            self.silent.discard(copy.key)
            if not self.silent:
                self.confirmed.set()
