# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages to publish, checked and made into requests. Nothing is sent here."""

import secrets
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

import msgspec

from gearhorn import errors, messages
from gearhorn.client.parameters import PublishOptions, check_count, check_seconds

REPORT_GRACE_S = 5.0
"""Seconds that the report of a fan-out may take after the receivers' time is up."""
_UNIQUE_BYTES = 18

Outgoing: TypeAlias = (
    tuple[str, Any] | tuple[str, Any, str | None] | tuple[str, Any, str | None, str | None]
)
"""A message to publish: a topic, a payload and, if wanted, a unique and an id."""


class Publication(NamedTuple):
    """A fan-out that is checked and ready to be sent."""

    topic: str
    request: messages.FanOut
    data: bytes
    patience: float
    """The longest wait for its report, in seconds."""

    def for_old_daemon(self) -> "Publication":
        """Return the fan-out as a daemon takes it that knows no ``id``."""
        request = without_id(self.request)
        return self._replace(request=request, data=request.encode())


class Preparation:
    """A maker of checked requests, which sends nothing.

    :param timeout: seconds that receivers have to answer a message without a timeout
        of its own.
    :param max_message_bytes: the largest request that the daemons take.
    """

    def __init__(self, timeout: float, max_message_bytes: int) -> None:
        check_seconds(timeout, "timeout")
        check_count(max_message_bytes, "max_message_bytes")
        self._timeout = timeout
        self._max_message_bytes = max_message_bytes

    def __call__(
        self,
        topic: str,
        payload: Any,
        unique: str | None,
        id_: str | None,
        options: PublishOptions,
    ) -> Publication:
        background = options.background
        seconds = self._timeout if options.timeout is None else options.timeout
        request = messages.FanOut.of(
            topic,
            payload,
            unique=unique,
            # By which a second attempt is known: in a journal, and by its copies in queues.
            id=secrets.token_urlsafe(15) if id_ is None else id_,
            background=background,
            timeout=None if background and options.timeout is None else seconds,
            priority=options.priority,
            gather=options.gather,
            progress=options.progress,
        )
        data = request.encode()
        if len(data) > self._max_message_bytes:
            raise errors.MessageTooLarge(
                f"the request has {len(data)} bytes; it may have {self._max_message_bytes}"
            )
        return Publication(
            topic, request, data, seconds if background else seconds + REPORT_GRACE_S
        )


def message_parts(message: Outgoing) -> tuple[str, Any, str | None, str | None]:
    """Return the topic, the payload, the unique and the id of a message.

    :raises WrongType: the message does not have two to four parts.
    """
    if not 2 <= len(message) <= 4:
        raise errors.WrongType(
            "a message must be (topic, payload), (topic, payload, unique) or "
            "(topic, payload, unique, id)"
        )
    topic, payload, unique, id_ = (*message, None, None)[:4]
    return topic, payload, unique, id_


def without_id(request: messages.FanOut) -> messages.FanOut:
    """Return the request for a daemon of the release before, which knows no ``id``.

    Its copies are then recognised by a unique, while they are queued.
    """
    unique = request.unique
    if unique is None and request.id is not None:
        unique = blake2b(request.id.encode(), digest_size=_UNIQUE_BYTES).hexdigest()
    return msgspec.structs.replace(request, id=None, unique=unique)
