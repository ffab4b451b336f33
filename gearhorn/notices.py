# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Telling other daemons that a topic's set has changed."""

import asyncio
from collections.abc import Sequence

from gearhorn import messages
from gearhorn.wire import framing
from gearhorn.wire.batch import Batch, Copy
from gearhorn.wire.submitter import Submitter


class Notices:
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

    def batch_written(self, batch: Batch) -> None:
        """See :class:`~gearhorn.wire.batch.Listener`."""

    def batch_created(self, batch: Batch) -> None:
        """See :class:`~gearhorn.wire.batch.Listener`."""

    def batch_lost(self, batch: Batch) -> None:
        """The other servers' notices count; without any, time does."""

    def copy_refused(self, batch: Batch, index: int) -> None:
        """As if lost."""

    def copy_created(self, copy: Copy) -> None:
        """Keep it, to forget it at the end."""
        self._copies.add(copy)

    def copy_lost(self, copy: Copy) -> None:
        """As if the batch were lost."""
        self._copies.discard(copy)

    def copy_answered(self, copy: Copy, packet_type: int, data: bytes) -> None:
        """A daemon confirmed, or something that is none answered for it."""
        if packet_type == framing.WORK_DATA:
            return
        self._copies.discard(copy)
        if packet_type == framing.WORK_COMPLETE:
            self.silent.discard(copy.key)
            if not self.silent:
                self.confirmed.set()
