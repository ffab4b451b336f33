# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The requests that gearhorn takes and the answers that it gives.

``requests`` and ``pages`` hold a frozen class for each request, checked when it is
made. ``decoding`` reads a request from the bytes of a job and names the key that is
wrong. ``reports`` and ``pages`` hold the answers. ``names`` has the one rule for
names and all limits of requests, ``limits`` those of a queue, ``marks`` the functions
that show which store a daemon uses, ``values`` reads and writes JSON values, and
``defaults`` holds the defaults of both sides. doc/source/reference/protocol.rst
describes every key.

Invariants:

* No I/O, no clock and no state: the daemon and the client library share this
  package, and refuse the same things with the same codes.
* A request that exists is sound; nobody has to check its values again.
* A payload that is not a string is kept byte for byte as it stands in the request.

Rejected: JSON schemas (slower by far, and their errors name no code); pydantic.
"""

from gearhorn.messages.decoding import RequestDecoder, asks, topic_in, wants_report
from gearhorn.messages.defaults import (
    DRAIN_TIMEOUT_S,
    FANOUT_TIMEOUT_S,
    MATCHMAKING_TOPIC,
    MAX_MESSAGE_BYTES,
    FunctionNames,
)
from gearhorn.messages.limits import (
    LEAST_IDLE_S,
    LEAST_WAITING,
    MOST_WAITING,
    NO_LIMITS,
    OVERFLOWS,
    REFUSE,
    SKIP,
    Limits,
    Overflow,
)
from gearhorn.messages.marks import Mark, Marks, is_mark
from gearhorn.messages.names import (
    MAX_QUEUE_BYTES,
    MAX_SECONDS,
    MAX_UNIQUE_BYTES,
    PRIORITIES,
    Priority,
    check_seconds,
    check_subscription,
    check_topic,
    check_type,
    check_unique,
    printable,
    queue_name,
    topics_of,
)
from gearhorn.messages.pages import (
    DAEMONS,
    ENDED,
    MAX_PAGE,
    QUERIES,
    STATUS,
    SUBSCRIBERS,
    TOPICS,
    DaemonRow,
    EndedRow,
    Page,
    Query,
    Row,
    StatusRow,
    SubscriberRow,
    TopicRow,
)
from gearhorn.messages.reports import (
    MAX_LISTED_FAILURES,
    NOT_QUEUED,
    OK,
    QUEUE_FULL,
    REASONS,
    RECEIVER_EXCEPTION,
    RECEIVER_FAILED,
    RESULT_TOO_LARGE,
    SERVER_LOST,
    TIMEOUT,
    Bytes,
    FanOutReport,
    NoticeAnswer,
    Refusal,
    Report,
    Result,
    Subscription,
    result_of,
    written_result,
)
from gearhorn.messages.requests import (
    MAX_PAYLOADS,
    Content,
    FanOut,
    Notice,
    Register,
    Request,
    Unregister,
)
from gearhorn.messages.values import encode_value, truth

__all__ = [
    "DAEMONS",
    "DRAIN_TIMEOUT_S",
    "ENDED",
    "FANOUT_TIMEOUT_S",
    "LEAST_IDLE_S",
    "LEAST_WAITING",
    "MATCHMAKING_TOPIC",
    "MAX_LISTED_FAILURES",
    "MAX_MESSAGE_BYTES",
    "MAX_PAGE",
    "MAX_PAYLOADS",
    "MAX_QUEUE_BYTES",
    "MAX_SECONDS",
    "MAX_UNIQUE_BYTES",
    "MOST_WAITING",
    "NOT_QUEUED",
    "NO_LIMITS",
    "OK",
    "OVERFLOWS",
    "PRIORITIES",
    "QUERIES",
    "QUEUE_FULL",
    "REASONS",
    "RECEIVER_EXCEPTION",
    "RECEIVER_FAILED",
    "REFUSE",
    "RESULT_TOO_LARGE",
    "SERVER_LOST",
    "SKIP",
    "STATUS",
    "SUBSCRIBERS",
    "TIMEOUT",
    "TOPICS",
    "Bytes",
    "Content",
    "DaemonRow",
    "EndedRow",
    "FanOut",
    "FanOutReport",
    "FunctionNames",
    "Limits",
    "Mark",
    "Marks",
    "Notice",
    "NoticeAnswer",
    "Overflow",
    "Page",
    "Priority",
    "Query",
    "Refusal",
    "Register",
    "Report",
    "Request",
    "RequestDecoder",
    "Result",
    "Row",
    "StatusRow",
    "SubscriberRow",
    "Subscription",
    "TopicRow",
    "Unregister",
    "asks",
    "check_seconds",
    "check_subscription",
    "check_topic",
    "check_type",
    "check_unique",
    "encode_value",
    "is_mark",
    "printable",
    "queue_name",
    "result_of",
    "topic_in",
    "topics_of",
    "truth",
    "wants_report",
    "written_result",
]
