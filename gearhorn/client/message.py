# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages that a subscriber receives."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from gearhorn import errors, messages
from gearhorn.client.numbers import number_of
from gearhorn.wire.grabber import Job

LOG = logging.getLogger(__name__)

EXITS = (SystemExit, KeyboardInterrupt)
"""What a handler raises to end the program rather than to fail its message."""

Respond = Callable[[Job, bytes | None], None]
"""Ends a job with its result, or as failed if that is ``None``."""


class Message(msgspec.Struct, eq=False):
    """A message: one subscriber's copy of what was published.

    A message is answered once, by :meth:`ack` or :meth:`fail`. One that is not answered
    before its connection ends goes to a subscriber again. A handler need not call
    either: the value that it returns, or the exception that it raises, is the answer.
    """

    _job: Job
    topic: str
    """The topic to which the message was published."""
    client_id: str
    """The client_id of the subscriber whose copy it is."""
    _respond: Respond
    answered: bool = False
    """True once the message is answered."""

    @property
    def payload(self) -> bytes:
        """The payload as bytes."""
        return self._job.data

    @property
    def text(self) -> str:
        """The payload as text.

        :raises UnicodeDecodeError: the payload is not UTF-8.
        """
        return self._job.data.decode()

    def json(self) -> Any:
        """Return the value that the payload has as JSON.

        :raises ValueError: the payload is not JSON.
        """
        try:
            return msgspec.json.decode(self._job.data)
        except RecursionError:
            raise ValueError("the payload nests too deep") from None

    @property
    def unique(self) -> str:
        """The copy's unique, by which Gearman coalesces copies in one queue."""
        return self._job.unique.decode("utf-8", "replace")

    @property
    def journal(self) -> str | None:
        """The id of the journal that has the message, ``None`` if none has."""
        number = number_of(self._job.unique)
        return None if number is None else number.journal

    @property
    def sequence(self) -> int | None:
        """The number of the message in its journal, ``None`` if it has none."""
        number = number_of(self._job.unique)
        return None if number is None else number.sequence

    @property
    def handle(self) -> str:
        """The job server's name for the copy. Other servers may use the same name.

        What was read from a journal, for a subscriber with a position, has none: ``""``.
        """
        return self._job.handle.decode("utf-8", "replace")

    def ack(self, result: Any = None) -> None:
        """Tell the server, and a publisher who waits, that the message is done.

        :param result: bytes or a string are sent as they are, anything else as JSON;
            ``None`` for no result.
        :raises InvalidResult: the result cannot be sent. The message is not answered.
        :raises AlreadyAnswered: the message was answered before.
        """
        data = encode_result(result)
        self._answer_once(data)

    def fail(self) -> None:
        """Tell the server, and a publisher who waits, that the message failed for good.

        :raises AlreadyAnswered: the message was answered before.
        """
        self._answer_once(None)

    def _answer_once(self, data: bytes | None) -> None:
        if self.answered:
            raise errors.AlreadyAnswered("the message was answered before")
        self.answered = True
        self._respond(self._job, data)

    def settle(self, data: bytes | None) -> None:
        """Answer for a handler that has ended, unless it has answered itself."""
        if not self.answered:
            self.answered = True
            self._respond(self._job, data)

    def __repr__(self) -> str:
        name = self.handle or self.sequence
        return (
            f"<Message {name} of topic {self.topic!r} for {self.client_id!r}, "
            f"{len(self.payload)} bytes>"
        )


def job_of(message: Message) -> Job:
    """Return the job that brought ``message``, for the parts of the library."""
    return message._job


def encode_result(result: Any) -> bytes:
    """Return a handler's result as it is sent.

    :raises InvalidResult: the result cannot be sent.
    """
    if result is None:
        return b""
    try:
        return messages.encode_value(result)
    except errors.InvalidPayload as error:
        raise errors.InvalidResult(str(error).replace("a payload", "a result", 1)) from None


def log_failure(message: Message, error: BaseException) -> None:
    """Log the exception that the handler of ``message`` raised."""
    LOG.error("the handler of %r failed", message, exc_info=error)
