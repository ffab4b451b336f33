# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The options of publishers and subscribers, checked once and frozen."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

import msgspec
from msgspec import Raw

from gearhorn import errors, messages
from gearhorn.client.journal.file_position import Position
from gearhorn.messages.values import NOT_GIVEN
from gearhorn.wire.address import Address, parse_addresses
from gearhorn.wire.connection import ConnectionSettings

StartAt: TypeAlias = Literal["new", "first", "last"] | Mapping[str, Any]
"""Where a subscriber begins in a journal: ``{"after": sequence, "journal": id}`` is a place."""

CHECK_INTERVAL_S = 30.0


@dataclass(frozen=True)
class PositionOptions:
    """The options of a subscriber with a position.

    :param check_interval: seconds between two questions if something was left out.
    """

    position: Position
    on_missed: Callable[[Any], Any] | None
    check_interval: float
    read_function: str
    query_function: str

    def __post_init__(self) -> None:
        for method in ("read", "write"):
            if not callable(getattr(self.position, method, None)):
                raise errors.ConfigurationError(
                    "position must have the methods read and write: see FilePosition"
                )
        check_seconds(self.check_interval, "check_interval")
        check_function(self.read_function, "read_function")
        check_function(self.query_function, "query_function")


@dataclass(frozen=True)
class PublishOptions:
    """The options of a message to publish.

    :param background: do not wait for receivers.
    :param timeout: seconds that receivers have to answer.
    :param priority: the priority of the copies.
    :param gather: have the report carry the receivers' results.
    :param progress: have the daemon tell once a second how many have answered.
    """

    background: bool = False
    timeout: float | None = None
    priority: messages.Priority | None = None
    gather: bool = False
    progress: bool = True


class PublishKeywords(TypedDict, total=False):
    """The same options as keywords, for type checkers."""

    background: bool
    timeout: float | None
    priority: messages.Priority | None
    gather: bool
    progress: bool


@dataclass(frozen=True)
class SubscribeOptions:
    """The options of a subscriber, as for SubscriberBase. Times are in seconds."""

    servers: Sequence[Address]
    wire: ConnectionSettings
    ttl: float | None
    limits: messages.Limits
    renew: float
    register: bool
    unregister: bool
    concurrency: int
    drain_timeout: float
    max_message_bytes: int
    register_function: str
    unregister_function: str
    fanout_function: str
    position: PositionOptions | None = None

    def __post_init__(self) -> None:
        if self.ttl is not None:
            check_seconds(self.ttl, "ttl")
        check_seconds(self.renew, "renew")
        check_count(self.concurrency, "concurrency")
        if self.position is not None and self.concurrency != 1:
            raise errors.ConfigurationError(
                "a position goes with a concurrency of 1: it is of the last message in order"
            )
        if self.drain_timeout != 0:
            check_seconds(self.drain_timeout, "drain_timeout")
        check_seconds(self.wire.connect_timeout, "connect_timeout")
        check_count(self.max_message_bytes, "max_message_bytes")
        check_function(self.register_function, "register_function")
        check_function(self.unregister_function, "unregister_function")
        check_function(self.fanout_function, "fanout_function")


def servers_of(servers: str | Iterable[str]) -> Sequence[Address]:
    """Return the addresses in a list, or in one string with commas.

    :raises InvalidServer: an address is not valid, or there is none.
    """
    try:
        texts: list[object] = [*(servers.split(",") if isinstance(servers, str) else servers)]
    except TypeError:
        raise errors.InvalidServer("job servers must be a list or a string") from None
    named = [text for text in texts if isinstance(text, str)]
    if len(named) != len(texts):
        raise errors.InvalidServer("the address of a job server must be a string")
    return parse_addresses(named)


def limits_of(
    max_waiting: int | None, overflow: str | None, remove_idle: float | None
) -> messages.Limits:
    """Return the limits that registrations bring.

    :raises WrongType: a value has the wrong type.
    :raises InvalidLimits: a value is out of range.
    """
    messages.check_type(max_waiting, "max_waiting", int, optional=True)
    messages.check_type(overflow, "overflow", str, optional=True)
    messages.check_type(remove_idle, "remove_idle", float, optional=True)
    return messages.Limits(max_waiting=max_waiting, overflow=overflow, remove_idle=remove_idle)


def check_seconds(seconds: float, what: str) -> None:
    """Refuse a value that is not a number of seconds in range.

    :raises WrongType: it is not a number.
    :raises InvalidSeconds: it is out of range.
    """
    messages.check_type(seconds, what, float)
    messages.check_seconds(seconds, what)


def check_count(count: int, what: str) -> None:
    """Refuse a value that is not an integer above zero.

    :raises WrongType: it is not an integer.
    :raises ConfigurationError: it is not above zero.
    """
    messages.check_type(count, what, int)
    if count < 1:
        raise errors.ConfigurationError(f"{what} must be at least 1")


def check_function(name: str, what: str) -> None:
    """Refuse a value that cannot be the name of a Gearman function.

    :raises WrongType: it is not a string.
    :raises ConfigurationError: it breaks the rule for names.
    """
    messages.check_type(name, what, str)
    try:
        messages.check_topic(name)
    except (errors.InvalidTopic, errors.NameTooLong):
        raise errors.ConfigurationError(
            f"{what} must be the name of a function: not empty, not too long, Unicode text "
            "and without control characters"
        ) from None


def start_of(start: StartAt | None) -> tuple[messages.Start, Raw]:
    """Return where a subscriber begins, and that as its registration says it.

    :raises InvalidStart: nothing begins there.
    :raises WrongType: it is not a string or a mapping.
    """
    if start is None or start == messages.NEW:
        return messages.Start(messages.NEW), NOT_GIVEN
    if not isinstance(start, (str, Mapping)):
        raise errors.WrongType("start must be a string or a mapping")
    try:
        raw = Raw(msgspec.json.encode(start if isinstance(start, str) else dict(start)))
    except (TypeError, ValueError) as error:
        raise errors.InvalidStart(f"start cannot be sent: {error}") from None
    return messages.start_of(raw), raw
