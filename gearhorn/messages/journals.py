# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Journals: the requests that read one, and the answers."""

import base64
from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType

from gearhorn import errors
from gearhorn.messages.names import MAX_SEQUENCE, check_topic
from gearhorn.messages.reports import Report
from gearhorn.messages.requests import Request

READ_LIMIT = 100
"""The messages of one answer, unless a request says otherwise."""

MAX_READ_LIMIT = 1000

READ_BYTES = 1 << 20
"""The bytes of payloads in one answer, unless a request says otherwise."""

MAX_READ_BYTES = 16 << 20

MAX_WAIT_S = 300
"""The longest that a reader may wait for a message, in seconds."""

QUEUE_STOPPED = "queue_full"
UNSUBSCRIBED = "unsubscribed"
REPLACED = "replaced"
STOPS = (QUEUE_STOPPED, UNSUBSCRIBED, REPLACED)
"""Why a replay ended early: the queue is full; the subscription has ended; the journal has
another id."""


class Read(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request for the messages of a journal that come after a position.

    :param after: the sequence of the last message that is known.
    :param journal: the id of the journal that it belongs to.
    :param limit: the most messages in the answer.
    :param max_bytes: the most bytes of their payloads; one message always fits.
    :param wait: seconds to wait for a message if there is none.
    """

    topic: str
    after: int | None = None
    journal: str | None = None
    limit: int | None = None
    max_bytes: int | None = None
    wait: float | None = None

    def __post_init__(self) -> None:
        check_topic(self.topic)
        for value, least, most, what in (
            (self.after, 0, MAX_SEQUENCE, "after"),
            (self.limit, 1, MAX_READ_LIMIT, "limit"),
            (self.max_bytes, 1, MAX_READ_BYTES, "max_bytes"),
            (self.wait, 0, MAX_WAIT_S, "wait"),
        ):
            if value is not None and not least <= value <= most:
                raise errors.InvalidPosition(f"{what} must be from {least} to {most}")


class JournalMessage(Struct, frozen=True):
    """A message of a journal. ``published`` is in Unix seconds, by the store's clock."""

    sequence: int
    published: float
    payload: str
    encoding: str | UnsetType = UNSET

    @classmethod
    def of(cls, sequence: int, published: float, payload: bytes) -> "JournalMessage":
        """Return a message as an answer carries it."""
        try:
            return cls(sequence, published, payload.decode())
        except UnicodeDecodeError:
            return cls(sequence, published, base64.b64encode(payload).decode(), "base64")

    def payload_bytes(self) -> bytes:
        """Return the bytes that receivers got."""
        if self.encoding is UNSET:
            return self.payload.encode()
        return base64.b64decode(self.payload)


class Backlog(Report, frozen=True, kw_only=True):
    """The answer to a :class:`Read`, of one moment.

    ``journal`` is ``None`` before the first message. ``first`` is ``last`` + 1 where there is
    none. ``trimmed``: messages after the position are gone. ``gap``: the store may have lost
    some. ``reset``: the position is that of another journal, and counts as 0.
    """

    topic: str
    journal: str | None
    first: int
    last: int
    messages: Sequence[JournalMessage]
    trimmed: bool | UnsetType = UNSET
    gap: bool | UnsetType = UNSET
    reset: bool | UnsetType = UNSET


class JournalRow(Struct, frozen=True):
    """A topic's journal. ``age`` is that of its oldest message, in seconds, if it has one."""

    topic: str
    journal: str
    first: int
    last: int
    messages: int
    bytes: int
    age: float | None
