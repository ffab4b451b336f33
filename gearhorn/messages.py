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

import base64
import binascii
import math
import re
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from gearhorn import errors

MAX_QUEUE_BYTES = 512
"""Gearman has 64 KiB for a function name; status lines stay readable at this."""

MAX_UNIQUE_BYTES = 48
"""gearmand cuts a unique at 64 bytes; the rest is room for the daemon's suffix."""

MAX_SECONDS = 10 * 365 * 86400
"""The longest ttl and timeout, in seconds."""

MAX_LISTED_FAILURES = 1000
"""How many failed receivers a report names; it counts them all."""

MAX_PAGE = 1000
"""How many rows one answer to a query holds."""

PRIORITIES = ("high", "normal", "low")

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

_control_character = re.compile(r"[\x00-\x1f\x7f-\x9f]").search
_SHOWN_CHARACTERS = 100
"""How much of a key a message shows: a key can be as long as a request."""
_NOT_GIVEN = Raw()
_RAW_TRUE = Raw(b"true")


def queue_name(topic: str, client_id: str) -> str:
    """The Gearman function in which a subscriber receives a topic."""
    return f"{topic}_{client_id}"


def topics_of(queue: str) -> list[str]:
    """The topics that a queue can belong to: it may be cut at each ``_``."""
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
    # A topic this long leaves no room for "_" and one byte of client_id.
    if size > MAX_QUEUE_BYTES - 2:
        raise errors.NameTooLong(
            f"{what} has {size} bytes; a queue name, topic and client_id "
            f"joined by _, may have {MAX_QUEUE_BYTES}"
        )


def check_topic(topic: str) -> None:
    """Refuse what cannot be a topic.

    :raises InvalidTopic, NameTooLong: with the reason.
    """
    _check_name(topic, "topic", errors.InvalidTopic)


def check_subscription(topic: str, client_id: str) -> None:
    """Refuse what cannot be a subscription.

    :raises InvalidTopic, InvalidClientId, NameTooLong: with the reason.
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
    """Refuse what Gearman cannot coalesce on.

    :raises InvalidUnique: with the reason.
    """
    if unique == "-":
        # gearmand reads it as "coalesce on the payload".
        raise errors.InvalidUnique('unique must not be "-"')
    if _control_character(unique):
        raise errors.InvalidUnique("unique must not hold a control character")
    try:
        size = len(unique.encode())
    except UnicodeEncodeError:
        raise errors.InvalidUnique("unique must be Unicode text") from None
    if not 1 <= size <= MAX_UNIQUE_BYTES:
        raise errors.InvalidUnique(f"unique has {size} bytes; it may have 1 to {MAX_UNIQUE_BYTES}")


def check_seconds(seconds: float, what: str) -> None:
    """Refuse what is no duration.

    :raises InvalidSeconds: with the reason.
    """
    if not (0 < seconds <= MAX_SECONDS) or math.isnan(seconds):
        raise errors.InvalidSeconds(f"{what} must be above 0 and at most {MAX_SECONDS} seconds")


def check_type(value: object, what: str, kind: type, *, optional: bool = False) -> None:
    """Refuse a value of another type than a request's key takes.

    :raises WrongType: with the reason.
    """
    if optional and value is None:
        return
    sound = isinstance(value, (int, float) if kind is float else kind)
    if not sound or isinstance(value, bool):
        raise errors.WrongType(f"{what} must be {_TYPE_NAMES[kind]}")


def encode_value(value: Any) -> bytes:
    """``value`` as bytes: bytes and strings as they are, anything else as JSON.

    :raises InvalidPayload: it cannot be written so.
    """
    if isinstance(value, bytes):
        return value
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, (bytearray, memoryview)):
            return bytes(value)
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise errors.InvalidPayload(f"a payload must be bytes, text or JSON: {error}") from None


def _encode_payload(payload: Any) -> tuple[Raw, str | None]:
    """The payload as it stands in a request, and its encoding."""
    data = encode_value(payload)
    is_json = not isinstance(payload, (str, bytes, bytearray, memoryview))
    # A JSON string, as a date makes one, would reach receivers without its quotes.
    if is_json and not data.startswith(b'"'):
        return Raw(data), None
    try:
        return Raw(msgspec.json.encode(data.decode())), None
    except UnicodeDecodeError:
        return Raw(b'"%s"' % base64.b64encode(data)), "base64"


_FALSE = frozenset((b"", b"false", b"null", b'""'))
_TRUE = frozenset((b"true", b"1"))


def truth(value: Raw) -> bool:
    """Whether a JSON value counts as true.

    All do but false, 0, "", null, [] and {}; one that was left out is false.
    """
    text = bytes(value)
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text[0] in b"[{":
        return bool(text[1:-1].strip())
    if text[0] == ord('"'):
        return True
    return float(text) != 0


class Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What every request shares."""

    def encode(self) -> bytes:
        """The request as JSON, without what is left at its default."""
        return msgspec.json.encode(self)


class Register(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Adds a subscriber; with ``ttl`` (seconds) for that long only."""

    topic: str
    client_id: str
    ttl: float | None = None

    def __post_init__(self) -> None:
        check_subscription(self.topic, self.client_id)
        if self.ttl is not None:
            check_seconds(self.ttl, "ttl")


class Unregister(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Removes a subscriber."""

    topic: str
    client_id: str

    def __post_init__(self) -> None:
        check_subscription(self.topic, self.client_id)


class Notice(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Tells a daemon to drop its cached list of a topic's subscribers."""

    topic: str

    def __post_init__(self) -> None:
        check_topic(self.topic)


class FanOut(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sends the payload to every subscriber of the topic.

    ``payload`` is kept as it stands in the request, since a value that is no
    string is sent byte for byte; :meth:`payload_bytes` is what receivers get.
    """

    topic: str
    payload: Raw
    unique: str | None = None
    background: Raw = _NOT_GIVEN
    timeout: float | None = None
    priority: str | None = None
    gather: Raw = _NOT_GIVEN
    encoding: str | None = None
    always_report: Raw = _NOT_GIVEN

    def __post_init__(self) -> None:
        check_topic(self.topic)
        if self.unique is not None:
            check_unique(self.unique)
        if self.timeout is not None:
            check_seconds(self.timeout, "timeout")
        if self.priority is not None and self.priority not in PRIORITIES:
            raise errors.InvalidPriority(f"priority must be one of {', '.join(PRIORITIES)}")
        if self.encoding is not None and self.encoding != "base64":
            raise errors.InvalidEncoding("encoding must be base64, or be left out")
        if truth(self.background):
            if self.timeout is not None:
                raise errors.BackgroundConflict(
                    "timeout goes with a foreground fan-out: a background "
                    "one does not wait for receivers"
                )
            if truth(self.gather):
                raise errors.BackgroundConflict(
                    "gather goes with a foreground fan-out: a background "
                    "one does not wait for receivers"
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
    ) -> "FanOut":
        """A request that brings ``payload`` to its receivers.

        :param payload: bytes or a string as they are, anything else as JSON.
        :raises RequestError: the daemon would refuse the request.
        """
        for value, what in ((topic, "topic"), (unique, "unique"), (priority, "priority")):
            check_type(value, what, str, optional=what != "topic")
        check_type(timeout, "timeout", float, optional=True)
        raw, encoding = _encode_payload(payload)
        return cls(
            topic=topic,
            payload=raw,
            unique=unique,
            background=_RAW_TRUE if background else _NOT_GIVEN,
            timeout=timeout,
            priority=priority,
            gather=_RAW_TRUE if gather else _NOT_GIVEN,
            encoding=encoding,
        )

    def payload_bytes(self) -> bytes:
        """What each receiver gets.

        :raises InvalidPayload: the payload is not as ``encoding`` says.
        """
        raw = bytes(self.payload)
        if not raw.startswith(b'"'):
            if self.encoding is not None:
                raise errors.InvalidPayload("payload must be a string when encoding is base64")
            return raw
        text = _decode_text(raw).encode()
        if self.encoding is None:
            return text
        try:
            # Python lets padding pass that completes nothing, and each version other padding.
            if len(text) % 4 or text.endswith(b"==="):
                raise binascii.Error("incorrect padding")
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise errors.InvalidPayload(f"payload is not base64: {error}") from None


TOPICS = "topics"
SUBSCRIBERS = "subscribers"
DAEMONS = "daemons"
STATUS = "status"
QUERIES = (TOPICS, SUBSCRIBERS, DAEMONS, STATUS)


class Query(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Asks for a page of what the store holds, or how a daemon is.

    :param topic: whose subscribers are asked for.
    :param after: the key of the last row of the page before.
    :param limit: how many rows the page has at the most.
    """

    query: str
    topic: str | None = None
    after: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.query not in QUERIES:
            raise errors.InvalidQuery(f"query must be one of {', '.join(QUERIES)}")
        if self.query == SUBSCRIBERS:
            if self.topic is None:
                raise errors.InvalidQuery("the query subscribers needs a topic")
            check_topic(self.topic)
        elif self.topic is not None:
            raise errors.InvalidQuery("topic goes with the query subscribers")
        if self.limit is not None and not 1 <= self.limit <= MAX_PAGE:
            raise errors.InvalidQuery(f"limit must be from 1 to {MAX_PAGE}")
        if self.after is not None:
            if self.query == STATUS:
                raise errors.InvalidQuery("the query status has one page; leave after out")
            try:
                self.after.encode()
            except UnicodeEncodeError:
                raise errors.InvalidQuery("after must be Unicode text") from None


_decode_text = msgspec.json.Decoder(str).decode
_decode_keys = msgspec.json.Decoder(dict[str, Raw]).decode

R = TypeVar("R", bound=Request)

_TYPE_NAMES = {str: "a string", float: "a number", int: "an integer"}


class RequestDecoder:
    """Reads requests of one class out of the bytes of a job.

    :param request_class: what the requests of this function are.
    """

    def __init__(self, request_class: type[Request]) -> None:
        self._class = request_class
        self._decode = msgspec.json.Decoder(request_class).decode

    def __call__(self, data: bytes) -> Any:
        """The request in ``data``.

        :raises RequestError: the subclass says what is wrong.
        """
        try:
            if not data.isascii():
                # msgspec passes over the inside of a Raw value.
                data.decode()
            try:
                return self._decode(data)
            except msgspec.ValidationError:
                return self._decode_slowly(data)
        except UnicodeDecodeError as error:
            raise errors.InvalidJSON(
                f"the request is not UTF-8: {error.reason} at byte {error.start}"
            ) from None
        except RecursionError:
            raise errors.InvalidJSON("the request nests too deep") from None
        except msgspec.DecodeError as error:
            raise errors.InvalidJSON(f"the request is not JSON: {error}") from None

    def _decode_slowly(self, data: bytes) -> Any:
        """Look again at what msgspec refused, to name the key.

        What it refused may be a duplicate: the last of those counts, and
        once only that one is left, the request may be sound.
        """
        try:
            given = _decode_keys(data)
        except msgspec.ValidationError:
            raise errors.NotAnObject("the request must be a JSON object") from None
        fields = {field.encode_name: field for field in msgspec.structs.fields(self._class)}
        for key in given:
            if key not in fields:
                raise errors.UnknownKey(
                    f"unknown key {key[:_SHOWN_CHARACTERS]!r}; known are {', '.join(fields)}"
                )
        for name, field in fields.items():
            if field.required and name not in given:
                raise errors.MissingKey(f"the key {name} is missing")
        for name, raw in given.items():
            kind = fields[name].type
            try:
                msgspec.json.decode(raw, type=kind)
            except msgspec.ValidationError:
                raise errors.WrongType(f"{name} must be {_type_name(kind)}") from None
        return self._decode(msgspec.json.encode(given))


def _type_name(kind: Any) -> str:
    """What a user calls the type of a field, optional or not."""
    alternatives = getattr(kind, "__args__", (kind,))
    return next(name for t, name in _TYPE_NAMES.items() if t in alternatives)


def wants_report(data: bytes) -> bool:
    """Whether a request that was refused asks for ``always_report``."""
    try:
        return truth(_decode_keys(data).get("always_report", _NOT_GIVEN))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


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


class TopicRow(Struct, frozen=True):
    """A topic that has subscribers."""

    topic: str
    subscribers: int


class SubscriberRow(Struct, frozen=True):
    """A subscriber of a topic.

    ``expires_in`` is in seconds, ``None`` for never. Where it is not above
    zero the subscription has ended and is about to be removed.
    """

    client_id: str
    queue: str
    expires_in: float | None


class DaemonRow(Struct, frozen=True):
    """A daemon that has an entry in the store.

    ``age`` is how many seconds ago it renewed the entry. A barred one was
    removed by hand, and stands until no list that it read can be in use.
    """

    worker_id: str
    age: float
    barred: bool


class StatusRow(Struct, frozen=True, kw_only=True):
    """How the daemon is that answers. Times are in seconds."""

    worker_id: str
    version: str
    uptime: float
    store_fault: str | None
    """The code of what is wrong with the store."""
    servers: dict[str, bool]
    """Each job server that it was told of, and whether it is connected."""
    fanouts: int
    """Fan-outs in hand."""
    requests: int
    """Registrations, removals and queries in hand, this one too."""
    cached_topics: int
    functions: dict[str, str]
    """What its functions are called, by the name of the option."""
    matchmaking_topic: str
    cache_ttl: float
    daemon_ttl: float


Row = TypeVar("Row")


class Page(Report, Generic[Row], frozen=True, kw_only=True):
    """The answer to a query.

    ``next`` is what to give as ``after`` for the next page; ``None`` where
    this is the last.
    """

    query: str
    rows: Sequence[Row]
    next: str | None = None


Priority = Literal["high", "normal", "low"]
