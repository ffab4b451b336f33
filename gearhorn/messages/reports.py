# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The answers to requests."""

import base64

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gearhorn import errors

MAX_LISTED_FAILURES = 1000
"""How many failed receivers a report names; it counts them all."""

# Why a copy failed, as a report gives it: a closed list.
TIMEOUT = "timeout"
"""The receiver had not answered when the time was up; it may still get the copy."""

RECEIVER_FAILED = "receiver_failed"
"""The receiver answered WORK_FAIL."""

RECEIVER_EXCEPTION = "receiver_exception"
"""The receiver answered WORK_EXCEPTION."""

SERVER_LOST = "server_lost"
"""The job server was lost after it took the copy and before the answer came."""

NOT_QUEUED = "not_queued"
"""The job server answered the copy with an ERROR packet: a full queue, for one."""

RESULT_TOO_LARGE = "result_too_large"
"""The receiver answered, but its result has more bytes than the daemon gathers."""

REASONS = (
    TIMEOUT,
    RECEIVER_FAILED,
    RECEIVER_EXCEPTION,
    SERVER_LOST,
    NOT_QUEUED,
    RESULT_TOO_LARGE,
)


class Report(Struct, frozen=True, kw_only=True):
    """What every report shares."""

    def encode(self) -> bytes:
        """The report as JSON."""
        return msgspec.json.encode(self)


class Refusal(Report, frozen=True, kw_only=True):
    """Why a request was not taken."""

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


class Bytes(Struct, frozen=True):
    """A receiver's result that is no UTF-8, as ``{"base64": ...}``."""

    base64: str


Result = str | Bytes


def result_of(data: bytes) -> Result:
    """A receiver's result as a report carries it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Bytes(base64.b64encode(data).decode())


class FanOutReport(Report, frozen=True, kw_only=True):
    """What became of a fan-out.

    ``delivered`` counts the receivers that answered a foreground fan-out,
    ``queued`` the copies of a background one that are safely queued. Only
    where some failed: ``failed_count`` counts all of them, ``failed`` names
    the first thousand.
    """

    topic: str
    subscribers: int
    delivered: int | UnsetType = UNSET
    queued: int | UnsetType = UNSET
    failed: dict[str, str] = {}
    failed_count: int | UnsetType = UNSET
    results: dict[str, Result] | UnsetType = UNSET
