# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A message as a subscriber gets it."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from gearhorn import errors, messages
from gearhorn.wire.grabber import Job

LOG = logging.getLogger(__name__)

Respond = Callable[[Job, bytes | None], None]
"""Ends a job with its result, or without one where it failed."""


class Message(msgspec.Struct, eq=False):
    """One subscriber's copy of what was published.

    It is the subscriber's until it is answered, once, by :meth:`ack` or
    :meth:`fail`. One that is not answered before the connection ends goes to
    a subscriber again. A handler need not answer: what it returns or raises
    is the answer.
    """

    _job: Job
    topic: str
    client_id: str
    """Whose copy it is."""
    _respond: Respond
    answered: bool = False

    @property
    def payload(self) -> bytes:
        """What was published, as bytes."""
        return self._job.data

    @property
    def text(self) -> str:
        """The payload as text.

        :raises UnicodeDecodeError: it is no UTF-8.
        """
        return self._job.data.decode()

    def json(self) -> Any:
        """What the payload says in JSON.

        :raises ValueError: it is no JSON.
        """
        try:
            return msgspec.json.decode(self._job.data)
        except RecursionError:
            raise ValueError("the payload nests too deep") from None

    @property
    def unique(self) -> str:
        """The copy's unique: Gearman coalesces copies of one queue by it."""
        return self._job.unique.decode("utf-8", "replace")

    @property
    def handle(self) -> str:
        """What the job server calls the copy; another server may call another so."""
        return self._job.handle.decode("utf-8", "replace")

    def ack(self, result: Any = None) -> None:
        """Tell the server, and a publisher who waits, that it is done.

        :param result: bytes or a string as they are, anything else as JSON;
            ``None`` for no result.
        :raises InvalidResult: the result cannot be sent; nothing is.
        :raises AlreadyAnswered: it was answered before.
        """
        data = encode_result(result)
        self._answer_once(data)

    def fail(self) -> None:
        """Tell the server, and a publisher who waits, that it failed for good.

        :raises AlreadyAnswered: it was answered before.
        """
        self._answer_once(None)

    def _answer_once(self, data: bytes | None) -> None:
        if self.answered:
            raise errors.AlreadyAnswered("the message was answered before")
        self.answered = True
        self._respond(self._job, data)

    def settle(self, data: bytes | None) -> None:
        """Answer for the handler that has ended, unless it did that itself."""
        if not self.answered:
            self.answered = True
            self._respond(self._job, data)

    def __repr__(self) -> str:
        return (
            f"<Message {self.handle} of topic {self.topic!r} for {self.client_id!r}, "
            f"{len(self.payload)} bytes>"
        )


def encode_result(result: Any) -> bytes:
    """A handler's result as it is sent.

    :raises InvalidResult: it cannot be.
    """
    if result is None:
        return b""
    try:
        return messages.encode_value(result)
    except errors.InvalidPayload as error:
        raise errors.InvalidResult(str(error).replace("a payload", "a result", 1)) from None


def log_failure(message: Message, error: BaseException) -> None:
    """Log what the handler of ``message`` raised."""
    LOG.error("the handler of %r failed", message, exc_info=error)
