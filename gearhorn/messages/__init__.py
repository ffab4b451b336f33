# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The requests that gearhorn takes and the reports that it gives.

Typed, frozen, checked on construction, and without I/O: the daemon decodes
requests with them and the client library makes requests with them, so both
refuse the same things with the same codes. The wire contract in the
documentation (doc/source/protocol.rst) describes every key.
"""

from gearhorn.messages.decoding import RequestDecoder, wants_report
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
    queue_name,
    topics_of,
)
from gearhorn.messages.queries import (
    DAEMONS,
    MAX_PAGE,
    QUERIES,
    STATUS,
    SUBSCRIBERS,
    TOPICS,
    DaemonRow,
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
    REASONS,
    RECEIVER_EXCEPTION,
    RECEIVER_FAILED,
    RESULT_TOO_LARGE,
    SERVER_LOST,
    TIMEOUT,
    Bytes,
    FanOutReport,
    Refusal,
    Report,
    Result,
    Subscription,
    result_of,
)
from gearhorn.messages.requests import FanOut, Notice, Register, Request, Unregister
from gearhorn.messages.values import encode_value, truth

__all__ = [
    "DAEMONS",
    "MAX_LISTED_FAILURES",
    "MAX_PAGE",
    "MAX_QUEUE_BYTES",
    "MAX_SECONDS",
    "MAX_UNIQUE_BYTES",
    "NOT_QUEUED",
    "PRIORITIES",
    "QUERIES",
    "REASONS",
    "RECEIVER_EXCEPTION",
    "RECEIVER_FAILED",
    "RESULT_TOO_LARGE",
    "SERVER_LOST",
    "STATUS",
    "SUBSCRIBERS",
    "TIMEOUT",
    "TOPICS",
    "Bytes",
    "DaemonRow",
    "FanOut",
    "FanOutReport",
    "Notice",
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
    "check_seconds",
    "check_subscription",
    "check_topic",
    "check_type",
    "check_unique",
    "encode_value",
    "queue_name",
    "result_of",
    "topics_of",
    "truth",
    "wants_report",
]
