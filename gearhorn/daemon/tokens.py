# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The tokens with which the uniques of copies begin."""

import itertools
import os
from hashlib import blake2b

from gearhorn.daemon.journal.numbered import Numbered
from gearhorn.wire.job import Job

_DIGEST_BYTES = 12


class Tokens:
    """The tokens of a daemon's fan-outs.

    :param generate: false for copies without a unique, unless the message has an id.
    """

    def __init__(self, *, generate: bool) -> None:
        self.generate = generate
        self._prefix = os.urandom(6).hex().encode()
        self._numbers = itertools.count()

    def token(
        self, job: Job, message_id: str | None, number: Numbered | None, *, background: bool
    ) -> bytes:
        """Return the beginning of the copies' uniques; empty for copies without.

        It is also empty for a message with a number in a journal, which the uniques have.

        If a job with a unique is run a second time after a crash, the token is the
        same again: a copy that is still queued is not queued twice. It is the same for
        every job that brings the message of this id. If the job has no unique, background
        copies still need some, as persistent queues keep only one job without a unique for
        each function. They keep no foreground jobs.
        """
        if number is not None:
            return b""
        if message_id is not None:
            return blake2b(message_id.encode(), digest_size=_DIGEST_BYTES).hexdigest().encode()
        if not self.generate:
            return b""
        if not job.unique:
            if not background:
                return b""
            return b"%s%x" % (self._prefix, next(self._numbers))
        digest = blake2b(digest_size=_DIGEST_BYTES)
        for part in (job.unique, job.handle, str(job.connection.server).encode(), job.data):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.hexdigest().encode()
