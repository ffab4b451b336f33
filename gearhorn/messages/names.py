# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The rule for names and numbers, and the limits."""

import math
import re
from typing import Literal

from gearhorn import errors

MAX_QUEUE_BYTES = 512
"""The longest queue name with which lines of gearmand's "status" stay readable.

gearmand 1.1.20 closes the connection at names over 8 KiB.
"""

MAX_UNIQUE_BYTES = 48
"""The longest unique. gearmand cuts it at 64 bytes; the rest is for the daemon's suffix."""

MAX_ID_BYTES = 128
"""The longest id of a message."""

MAX_SEQUENCE = 2**53 - 1
"""Sequences stay within it, so that every reader of JSON takes them as they are."""

MAX_SECONDS = 10 * 365 * 86400
"""The longest ttl and timeout, in seconds."""

PRIORITIES = ("high", "normal", "low")

Priority = Literal["high", "normal", "low"]

TYPE_NAMES = {
    str: "a string",
    float: "a number",
    int: "an integer",
    list[str]: "an array of strings",
    list: "an array",
}

_MOST_NAME_BYTES = MAX_QUEUE_BYTES - 2
"""A longer topic leaves no room for ``_`` and one byte of client_id."""

# Tab and newline in a name forge lines of gearmand's "status", NUL shifts the payload.
_control_character = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


def queue_name(topic: str, client_id: str) -> str:
    """Return the queue of a subscriber: the Gearman function that gets its copies."""
    return f"{topic}_{client_id}"


def topics_of(queue: str) -> list[str]:
    """Return the topics that a queue can belong to: it may be cut at each ``_``."""
    return [queue[:i] for i in range(1, len(queue) - 1) if queue[i] == "_"]


def _check_name(name: str, what: str, error: type[errors.RequestError]) -> None:
    if not name:
        raise error(f"{what} must not be empty")
    if _control_character(name):
        raise error(f"{what} must not hold a control character")
    try:
        size = len(name) if name.isascii() else len(name.encode())
    except UnicodeEncodeError:
        raise error(f"{what} must be Unicode text") from None
    if size > _MOST_NAME_BYTES:
        raise errors.NameTooLong(
            f"{what} has {size} bytes; a queue name, topic and client_id "
            f"joined by _, may have {MAX_QUEUE_BYTES}"
        )


def check_topic(topic: str) -> None:
    """Refuse an invalid topic.

    :raises InvalidTopic: it is empty, holds a control character or is not Unicode.
    :raises NameTooLong: it leaves no room for a client_id in a queue name.
    """
    # Nearly all are such, and each message brings one.
    if topic.isascii() and topic.isprintable() and 0 < len(topic) <= _MOST_NAME_BYTES:
        return
    _check_name(topic, "topic", errors.InvalidTopic)


def check_subscription(topic: str, client_id: str) -> None:
    """Refuse an invalid topic or client_id.

    :raises InvalidTopic, InvalidClientId: one is empty, holds a control character
        or is not Unicode.
    :raises NameTooLong: the queue name has over :data:`MAX_QUEUE_BYTES`.
    """
    check_topic(topic)
    _check_name(client_id, "client_id", errors.InvalidClientId)
    size = len(queue_name(topic, client_id).encode())
    if size > MAX_QUEUE_BYTES:
        raise errors.NameTooLong(
            f"the queue name, topic and client_id joined by _, has {size} "
            f"bytes; it may have {MAX_QUEUE_BYTES}"
        )


def check_unique(unique: str) -> None:
    """Refuse a unique that Gearman cannot coalesce on.

    :raises InvalidUnique: it is empty, ``-``, over :data:`MAX_UNIQUE_BYTES`, or
        holds a control character.
    """
    if unique == "-":
        # gearmand reads it as "coalesce on the payload".
        raise errors.InvalidUnique('unique must not be "-"')
    if _control_character(unique):
        raise errors.InvalidUnique("unique must not hold a control character")
    _check_size(unique, "unique", MAX_UNIQUE_BYTES, errors.InvalidUnique)


def check_id(message_id: str) -> None:
    """Refuse an id that no message can have.

    :raises InvalidId: it is empty, over :data:`MAX_ID_BYTES`, or is not Unicode.
    """
    _check_size(message_id, "id", MAX_ID_BYTES, errors.InvalidId)


def _check_size(text: str, what: str, most: int, refusal: type[errors.RequestError]) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise refusal(f"{what} must be Unicode text") from None
    if not 1 <= size <= most:
        raise refusal(f"{what} has {size} bytes; it may have 1 to {most}")


def check_seconds(seconds: float, what: str) -> None:
    """Refuse a duration that is not above 0, or is over :data:`MAX_SECONDS`.

    :param what: the name of the value, for the text of the error.
    :raises InvalidSeconds: it is out of range.
    """
    if not (0 < seconds <= MAX_SECONDS) or math.isnan(seconds):
        raise errors.InvalidSeconds(f"{what} must be above 0 and at most {MAX_SECONDS} seconds")


def check_type(value: object, what: str, kind: type, *, optional: bool = False) -> None:
    """Refuse a value that is not of type ``kind``: bool is not a number.

    :param what: the name of the value, for the text of the error.
    :param optional: allow ``None``.
    :raises WrongType: the value has another type.
    """
    if optional and value is None:
        return
    sound = isinstance(value, (int, float) if kind is float else kind)
    if not sound or isinstance(value, bool):
        raise errors.WrongType(f"{what} must be {TYPE_NAMES[kind]}")


def printable(value: object) -> str:
    """Return the value, which may come from a stranger, as text of printable characters.

    It can neither move the cursor of a terminal nor end a line.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
