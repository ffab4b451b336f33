# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Notices to other daemons that the subscribers of a topic have changed.

Any client of a job server may register the function of a daemon, take its notices, and
answer in its place. So each daemon has a secret, which only the store tells the others.
An answer counts if it has the digest of the topic and of a nonce, the unique of the job,
under the secret of the daemon that was told. A digest of the nonce alone would not do: a
stranger could pass a notice on with another topic in it, and have that signed.
"""

import asyncio
import hmac
import logging
import secrets
from collections.abc import Mapping, Sequence

import msgspec

from gearhorn import messages
from gearhorn.wire import framing
from gearhorn.wire.batch import Batch, Copy, Listener
from gearhorn.wire.submitter import Submitter

LOG = logging.getLogger(__name__)

_NONCE_BYTES = 16
_SECRET_BYTES = 32
_decode_answer = msgspec.json.Decoder(messages.NoticeAnswer).decode


def new_secret() -> str:
    """Return a daemon's secret. It is to have one for as long as it runs."""
    return secrets.token_hex(_SECRET_BYTES)


def answer_to(topic: str, nonce: bytes, secret: str) -> messages.NoticeAnswer:
    """Return the answer to a notice of ``topic`` that came with the unique ``nonce``."""
    # No name holds a NUL.
    digest = hmac.new(secret.encode(), topic.encode() + b"\0" + nonce, "sha256").hexdigest()
    return messages.NoticeAnswer(topic=topic, digest=digest)


class Notices(Listener):
    """A notice to each of several daemons, on every job server.

    A daemon confirms by ending one of its notices with WORK_COMPLETE and the right
    digest. Whatever else comes is as if nothing came.

    :param told: the secret of each daemon that is to be told, by worker id; ``None`` if it
        has none, as those of older releases.
    """

    def __init__(self, topic: str, told: Mapping[str, str | None]) -> None:
        self.silent = set(told)
        self.strange: set[str] = set()
        """The daemons in whose function something answered otherwise."""
        self.confirmed = asyncio.Event()
        self._topic = topic
        self._secrets = told
        self._nonce = secrets.token_hex(_NONCE_BYTES).encode()
        self._batches: list[Batch] = []
        self._copies: set[Copy] = set()

    def send(self, submitter: Submitter, matchmaking_topic: str) -> None:
        """Send the notices to every server that is connected."""
        queues = [
            messages.queue_name(matchmaking_topic, worker_id).encode()
            for worker_id in self._secrets
        ]
        payload = messages.Notice(topic=self._topic).encode()
        for connection in submitter.servers.values():
            batch = Batch(
                self,
                matchmaking_topic,
                priority="high",
                foreground=True,
                queues=queues,
                keys=tuple(self._secrets),
                # Of this notice alone: it must not join an earlier one, which the daemon
                # may have carried out before this change.
                uniques=(self._nonce,),
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

    def complain(self) -> None:
        """Log who has not answered, once the time is up."""
        LOG.warning(
            "no word from %s about a change of topic %r: answering it now "
            "that lists read before it are too old to be used",
            ", ".join(sorted(self.silent)),
            self._topic,
        )
        if strange := self.silent & self.strange:
            LOG.warning(
                "what answers in the function of %s is not that daemon, or is of an older release",
                ", ".join(sorted(strange)),
            )

    # Called by the submitter. A batch or copy that is lost or refused changes
    # nothing: the notices on other servers remain, or the end of all leases.

    def copy_created(self, copy: Copy) -> None:
        self._copies.add(copy)

    def copies_lost(self, copies: Sequence[Copy]) -> None:
        self._copies.difference_update(copies)

    def copy_answered(self, copy: Copy, packet_type: int, data: bytes, whole: bool) -> None:
        if packet_type == framing.WORK_DATA:
            return
        self._copies.discard(copy)
        if self._is_from(copy.key, packet_type, data):
            self.silent.discard(copy.key)
            if not self.silent:
                self.confirmed.set()
        else:
            self.strange.add(copy.key)

    def _is_from(self, worker_id: str, packet_type: int, data: bytes) -> bool:
        """Return true if this answer is that of the daemon itself."""
        secret = self._secrets[worker_id]
        if packet_type != framing.WORK_COMPLETE or not secret:
            return False
        try:
            digest = _decode_answer(data).digest
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False
        right = answer_to(self._topic, self._nonce, secret).digest
        return hmac.compare_digest(digest.encode(), right.encode())
