# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The answers to requests."""

import base64

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gearhorn import errors

MAX_LISTED_FAILURES = 1000
"""The most failed receivers that a report names; it counts them all."""

# The reasons for which a copy fails. Reports give no others.
TIMEOUT = "timeout"
"""The receiver did not answer in time; it may still get the copy."""

RECEIVER_FAILED = "receiver_failed"
"""The receiver answered WORK_FAIL."""

RECEIVER_EXCEPTION = "receiver_exception"
"""The receiver answered WORK_EXCEPTION."""

SERVER_LOST = "server_lost"
"""The job server was lost after it took the copy, before the answer came."""

NOT_QUEUED = "not_queued"
"""The job server answered the copy with an ERROR packet, as for a full queue."""

RESULT_TOO_LARGE = "result_too_large"
"""The receiver answered, with a result of more bytes than the daemon gathers."""

REASONS = (
    TIMEOUT,
    RECEIVER_FAILED,
    RECEIVER_EXCEPTION,
    SERVER_LOST,
    NOT_QUEUED,
    RESULT_TOO_LARGE,
)


class Report(Struct, frozen=True, kw_only=True):
    """The base of all answers."""

    def encode(self) -> bytes:
        """Return the answer as JSON."""
        return msgspec.json.encode(self)


class Refusal(Report, frozen=True, kw_only=True):
    """The answer to a request that was refused.

    ``error`` is the code, ``message`` a sentence for people.
    """

    error: str
    message: str

    @classmethod
    def of(cls, error: errors.GearhornError) -> "Refusal":
        return cls(error=error.code, message=str(error))


class Subscription(Report, frozen=True, kw_only=True):
    """The answer to a registration or a removal."""

    topic: str
    client_id: str
    queue: str


class NoticeAnswer(Report, frozen=True, kw_only=True):
    """The answer to a notice.

    ``digest`` shows that it comes from the daemon itself: see ``gearhorn.daemon.notices``.
    """

    topic: str
    digest: str


class Bytes(Struct, frozen=True):
    """A receiver's result that is not UTF-8, in base64."""

    base64: str


Result = str | Bytes


def result_of(data: bytes) -> Result:
    """Return a receiver's result as a report carries it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Bytes(base64.b64encode(data).decode())


class FanOutReport(Report, frozen=True, kw_only=True):
    """The outcome of a fan-out.

    ``subscribers`` counts the topic's subscribers. ``delivered`` counts the
    receivers that answered a foreground fan-out, ``queued`` the copies of a
    background one that job servers have queued. If some failed, ``failed_count``
    counts them and ``failed`` has the reason for each of the first thousand, by
    client_id. ``results`` has the gathered results by client_id, each a string,
    or :class:`Bytes` if it is not UTF-8. Fields that do not apply are
    ``msgspec.UNSET``.
    """

    topic: str
    subscribers: int
    delivered: int | UnsetType = UNSET
    queued: int | UnsetType = UNSET
    failed: dict[str, str] = {}
    failed_count: int | UnsetType = UNSET
    results: dict[str, Result] | UnsetType = UNSET
