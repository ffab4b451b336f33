# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Messages to publish, checked and made into requests. Nothing is sent here."""

import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

import msgspec

from gearhorn import errors, messages
from gearhorn.client.parameters import PublishOptions, check_count, check_seconds
from gearhorn.messages.values import RAW_TRUE

REPORT_GRACE_S = 5.0
"""Seconds that the report of a fan-out may take after the receivers' time is up."""
_UNIQUE_BYTES = 18
_ID_BYTES = 15
MOST_OTHER_BYTES = 8192
"""More than the bytes of a request beside its payload."""

Outgoing: TypeAlias = (
    tuple[str, Any] | tuple[str, Any, str | None] | tuple[str, Any, str | None, str | None]
)
"""A message to publish: a topic, a payload and, if wanted, a unique and an id."""


class Publication(NamedTuple):
    """A fan-out that is checked and ready to be sent."""

    topic: str
    request: messages.FanOut
    patience: float
    """The longest wait for its report, in seconds."""
    bundles: bool = False
    """True if it may be sent in one request with others."""

    @property
    def size(self) -> int:
        """The bytes of its payload, as it stands in the request."""
        return len(memoryview(self.request.payload))

    def data(self) -> bytes:
        """Return the request as it is sent, with an id.

        By that a second attempt is known: in a journal, and by its copies in queues.
        """
        request = self.request
        if request.id is None:
            request = msgspec.structs.replace(request, id=secrets.token_urlsafe(_ID_BYTES))
        return request.encode()

    def data_for_old_daemon(self) -> bytes:
        """Return the request as a daemon takes it that knows no ``id``."""
        return without_id(self.request).encode()

    @classmethod
    def together(cls, publications: "Sequence[Publication]") -> "Publication":
        """Return one request for messages of one topic that may be sent together."""
        first = publications[0]
        request = messages.FanOut(
            topic=first.topic,
            payloads=[publication.request.payload for publication in publications],
            background=RAW_TRUE,
        )
        return cls(first.topic, request, min(each.patience for each in publications))


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
            id=id_,
            background=background,
            timeout=None if background and options.timeout is None else seconds,
            priority=options.priority,
            gather=options.gather,
            progress=options.progress,
        )
        bundles = (
            background
            and id_ is None
            and unique is None
            and request.encoding is None
            and options.priority in (None, "normal")
        )
        patience = seconds if background else seconds + REPORT_GRACE_S
        publication = Publication(topic, request, patience, bundles)
        if publication.size > self._max_message_bytes - MOST_OTHER_BYTES:
            self._check_size(len(publication.data()))
        return publication

    def _check_size(self, size: int) -> None:
        if size > self._max_message_bytes:
            raise errors.MessageTooLarge(
                f"the request has {size} bytes; it may have {self._max_message_bytes}"
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
    if unique is None:
        unique = secrets.token_urlsafe(_ID_BYTES) if request.id is None else _digest(request.id)
    return msgspec.structs.replace(request, id=None, unique=unique)


def _digest(message_id: str) -> str:
    return blake2b(message_id.encode(), digest_size=_UNIQUE_BYTES).hexdigest()
