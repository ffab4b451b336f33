# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Requests to register, to unregister and to fan out, and notices between daemons."""

import base64
import binascii
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gearhorn import errors
from gearhorn.messages.limits import Limits
from gearhorn.messages.names import (
    PRIORITIES,
    check_id,
    check_seconds,
    check_subscription,
    check_topic,
    check_type,
    check_unique,
)
from gearhorn.messages.starts import start_of
from gearhorn.messages.values import NOT_GIVEN, RAW_FALSE, RAW_TRUE, encode_payload, truth


class Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The base of all requests.

    ``always_report`` has reports of failure sent in WORK_COMPLETE too.
    """

    always_report: Raw = NOT_GIVEN

    def encode(self) -> bytes:
        """Return the request as JSON, without keys that have their default."""
        return msgspec.json.encode(self)


class Register(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to add a subscriber, for ``ttl`` seconds or for good.

    What it says of its limits replaces what it said before. ``start`` says from where on
    the messages of a journal are put into its queue first: see
    :func:`gearhorn.messages.start_of`.
    """

    topic: str
    client_id: str
    ttl: float | None = None
    max_waiting: int | None = None
    overflow: str | None = None
    remove_idle: float | None = None
    start: Raw = NOT_GIVEN

    def __post_init__(self) -> None:
        check_subscription(self.topic, self.client_id)
        if self.ttl is not None:
            check_seconds(self.ttl, "ttl")
        # They refuse what is wrong.
        self.limits()
        start_of(self.start)

    @classmethod
    def of(cls, topic: str, client_id: str, ttl: float | None, limits: Limits) -> "Register":
        """Make a request that brings these limits."""
        return cls(
            topic=topic,
            client_id=client_id,
            ttl=ttl,
            max_waiting=limits.max_waiting,
            overflow=limits.overflow,
            remove_idle=limits.remove_idle,
        )

    def limits(self) -> Limits:
        """Return the limits that it brings."""
        return Limits(
            max_waiting=self.max_waiting, overflow=self.overflow, remove_idle=self.remove_idle
        )


class Unregister(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to remove a subscriber."""

    topic: str
    client_id: str

    def __post_init__(self) -> None:
        check_subscription(self.topic, self.client_id)


class Notice(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A notice to a daemon to drop its list of a topic's subscribers."""

    topic: str

    def __post_init__(self) -> None:
        check_topic(self.topic)


_decode_text = msgspec.json.Decoder(str).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode


MAX_PAYLOADS = 10_000
"""The most messages in one request."""

Content = bytes | tuple[bytes, ...]
"""What receivers get: one message, or several, one after the other."""


class FanOut(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request to send a payload, or several, to every subscriber of the topic.

    ``payload`` is kept as it stands in the request, since a value that is not a
    string is sent byte for byte. Receivers get :meth:`content`. ``payloads`` takes its
    place in the background. ``timeout`` is in seconds. Without ``progress`` no
    WORK_STATUS is sent. ``id`` is the publisher's name for the message, or for all
    messages together, by which one that is sent again is recognised.
    """

    topic: str
    payload: Raw = NOT_GIVEN
    payloads: list[Raw] | None = None
    unique: str | None = None
    background: Raw = NOT_GIVEN
    timeout: float | None = None
    priority: str | None = None
    gather: Raw = NOT_GIVEN
    encoding: str | None = None
    progress: Raw = NOT_GIVEN
    id: str | None = None

    def __post_init__(self) -> None:
        check_topic(self.topic)
        if self.payloads is not None:
            self._check_payloads(self.payloads)
        elif self.payload is NOT_GIVEN:
            raise errors.MissingKey("the key payload is missing")
        if self.id is not None:
            check_id(self.id)
        if self.unique is not None:
            check_unique(self.unique)
        if self.timeout is not None:
            check_seconds(self.timeout, "timeout")
        if self.priority is not None and self.priority not in PRIORITIES:
            raise errors.InvalidPriority(f"priority must be one of {', '.join(PRIORITIES)}")
        if self.encoding is not None and self.encoding != "base64":
            raise errors.InvalidEncoding("encoding must be base64, or be left out")
        if self.timeout is not None or self.gather is not NOT_GIVEN:
            self._check_waiting()

    def _check_waiting(self) -> None:
        for is_given, key in (
            (self.timeout is not None, "timeout"),
            (truth(self.gather), "gather"),
        ):
            if is_given and truth(self.background):
                raise errors.BackgroundConflict(
                    f"{key} goes with a foreground fan-out: a background "
                    "one does not wait for receivers"
                )

    def _check_payloads(self, payloads: list[Raw]) -> None:
        if not 1 <= len(payloads) <= MAX_PAYLOADS:
            raise errors.InvalidPayload(
                f"payloads must hold 1 to {MAX_PAYLOADS} messages, and holds {len(payloads)}"
            )
        if self.payload is not NOT_GIVEN:
            raise errors.BatchConflict("payload and payloads do not go together: send one of them")
        if not truth(self.background):
            raise errors.BatchConflict(
                "payloads goes with background: nobody gathers the answers to several messages"
            )
        if self.unique is not None:
            raise errors.BatchConflict(
                "unique goes with payload: it would make one of all messages of payloads"
            )

    @classmethod
    def of(
        cls,
        topic: str,
        payload: Any,
        *,
        unique: str | None = None,
        background: bool = False,
        timeout: float | None = None,
        priority: str | None = None,
        gather: bool = False,
        progress: bool = True,
        id: str | None = None,  # noqa: A002 - the key's name
    ) -> "FanOut":
        """Make a request whose receivers get ``payload``.

        :param payload: bytes or a string as they are, anything else as JSON.
        :raises RequestError: the daemon would refuse the request.
        """
        for value, what in (
            (topic, "topic"),
            (unique, "unique"),
            (priority, "priority"),
            (id, "id"),
        ):
            check_type(value, what, str, optional=what != "topic")
        check_type(timeout, "timeout", float, optional=True)
        raw, encoding = encode_payload(payload)
        return cls(
            topic=topic,
            payload=raw,
            unique=unique,
            background=RAW_TRUE if background else NOT_GIVEN,
            timeout=timeout,
            priority=priority,
            gather=RAW_TRUE if gather else NOT_GIVEN,
            progress=NOT_GIVEN if progress else RAW_FALSE,
            encoding=encoding,
            id=id,
        )

    @property
    def wants_progress(self) -> bool:
        """True if WORK_STATUS is to tell of progress: unless ``progress`` is false."""
        # In an optional key null is the same as leaving it out.
        return bytes(self.progress) in (b"", b"null") or truth(self.progress)

    def payload_bytes(self) -> bytes:
        """Return the bytes that each receiver gets.

        :raises InvalidPayload: the payload cannot be decoded as ``encoding`` says.
        """
        return _payload_bytes(self.payload, self.encoding)

    def content(self) -> Content:
        """Return the bytes that each receiver gets, of each message.

        :raises InvalidPayload: as :meth:`payload_bytes` does.
        """
        if self.payloads is None:
            return _payload_bytes(self.payload, self.encoding)
        if self.encoding is None:
            try:
                # Most are strings, all of which are read in a fifth of the time.
                texts = _decode_texts(b"[%s]" % b",".join(self.payloads))
            except msgspec.ValidationError:
                pass
            else:
                return tuple([text.encode() for text in texts])
        return tuple([_payload_bytes(raw, self.encoding) for raw in self.payloads])


def _payload_bytes(payload: Raw, encoding: str | None) -> bytes:
    raw = bytes(payload)
    if not raw.startswith(b'"'):
        if encoding is not None:
            raise errors.InvalidPayload("payload must be a string when encoding is base64")
        return raw
    text = _decode_text(raw).encode()
    if encoding is None:
        return text
    try:
        # Python accepts some surplus padding, and each version accepts another.
        if len(text) % 4 or text.endswith(b"==="):
            raise binascii.Error("incorrect padding")
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise errors.InvalidPayload(f"payload is not base64: {error}") from None
