# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Notices to other daemons that the subscribers of a topic have changed."""

import asyncio
from collections.abc import Sequence

from gearhorn import messages
from gearhorn.wire import framing
from gearhorn.wire.batch import Batch, Copy, Listener
from gearhorn.wire.submitter import Submitter


class Notices(Listener):
    """A notice to each of several daemons, on every job server.

    A daemon confirms by ending one of its notices with WORK_COMPLETE.
    """

    def __init__(self, topic: str, worker_ids: Sequence[str]) -> None:
        self.silent = set(worker_ids)
        self.confirmed = asyncio.Event()
        self._topic = topic
        self._worker_ids = worker_ids
        self._batches: list[Batch] = []
        self._copies: set[Copy] = set()

    def send(self, submitter: Submitter, matchmaking_topic: str) -> None:
        """Send the notices to every server that is connected."""
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
                # No unique: a notice must not join an earlier one, which the daemon
                # may have carried out before this change.
                uniques=(b"",),
                groups=None,
                payload=payload,
                longest_queue=max(map(len, queues)),
            )
            self._batches.append(batch)
            submitter.submit(connection, batch)

    def forget(self) -> None:
        """Cancel the notices, and drop answers that still come."""
        for batch in self._batches:
            batch.cancel()
        for copy in self._copies:
            copy.forget()

    # Called by the submitter. A batch or copy that is lost or refused changes
    # nothing: the notices on other servers remain, or the end of all leases.

    def copy_created(self, copy: Copy) -> None:
        self._copies.add(copy)

    def copy_lost(self, copy: Copy) -> None:
        self._copies.discard(copy)

    def copy_answered(self, copy: Copy, packet_type: int, data: bytes, whole: bool) -> None:
        if packet_type == framing.WORK_DATA:
            return
        self._copies.discard(copy)
        # Only a daemon completes a notice: other workers fail a job they do not know.
        if packet_type == framing.WORK_COMPLETE:
            self.silent.discard(copy.key)
            if not self.silent:
                self.confirmed.set()
