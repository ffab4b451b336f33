# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The answers to requests."""

import base64
import codecs

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from gearhorn import errors

MAX_LISTED_FAILURES = 1000
"""The most failed receivers that a report names; it counts them all."""

OK = "ok"
"""What stands for a code where a request was done."""

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
"""The job server answered the copy with an ERROR packet that says no more."""

QUEUE_FULL = "queue_full"
"""The receiver's queue is full, by a limit of gearhorn or of the job server."""

RESULT_TOO_LARGE = "result_too_large"
"""The receiver answered, with a result of more bytes than the daemon gathers."""

REASONS = (
    TIMEOUT,
    RECEIVER_FAILED,
    RECEIVER_EXCEPTION,
    SERVER_LOST,
    NOT_QUEUED,
    QUEUE_FULL,
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


_CHUNK_BYTES = 1 << 16
_BASE64 = b'{"base64":"%s"}'


def written_result(data: bytes, most: int) -> Raw | None:
    """Return a receiver's result as JSON, or ``None`` if that has more than ``most`` bytes.

    In JSON a control character takes six bytes, and as a string of Python's a single
    character can make every other take four. So large results are written piece by
    piece, and no further than is allowed.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    written = bytearray(b'"')
    try:
        for start in range(0, len(data), _CHUNK_BYTES):
            part = data[start : start + _CHUNK_BYTES]
            text = decoder.decode(part, final=start + _CHUNK_BYTES >= len(data))
            written += msgspec.json.encode(text)[1:-1]
            if len(written) >= most:
                break
    except UnicodeDecodeError:
        written.clear()
        if len(_BASE64) - 2 + (len(data) + 2) // 3 * 4 > most:
            return None
        return Raw(_BASE64 % base64.b64encode(data))
    written += b'"'
    return Raw(written) if len(written) <= most else None


class FanOutReport(Report, frozen=True, kw_only=True):
    """The outcome of a fan-out.

    ``subscribers`` counts the topic's subscribers. ``delivered`` counts the
    receivers that answered a foreground fan-out, ``queued`` the copies of a
    background one that job servers have queued. If some failed, ``failed_count``
    counts them and ``failed`` has the reason for each of the first thousand, by
    client_id. ``skipped``, where it is not 0, counts the copies that were left out because
    their queues are full and the subscribers find them in a journal: no failures.
    ``messages`` counts those of a request with ``payloads``, and copies are ``messages``
    times ``subscribers``. Then ``failed`` has the reason of each receiver's first failure,
    and ``failures`` says which messages failed: the indices of the first and the last of a
    run, client_id and reason.
    ``results`` has the gathered results by client_id, each a string,
    or :class:`Bytes` if it is not UTF-8. Fields that do not apply are
    ``msgspec.UNSET``.
    """

    topic: str
    messages: int | UnsetType = UNSET
    subscribers: int
    delivered: int | UnsetType = UNSET
    queued: int | UnsetType = UNSET
    failed: dict[str, str] = {}
    failed_count: int | UnsetType = UNSET
    failures: list[tuple[int, int, str, str]] | UnsetType = UNSET
    skipped: int | UnsetType = UNSET
    results: dict[str, Result] | UnsetType = UNSET
