# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What users of the library give: checked once, and frozen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from gearhorn import errors, messages
from gearhorn.wire.address import Address, parse_addresses
from gearhorn.wire.connection import ConnectionSettings


@dataclass(frozen=True)
class PublishOptions:
    """How a message is published.

    :param background: do not wait for receivers.
    :param timeout: how long receivers have, in seconds.
    :param priority: of the copies.
    :param gather: the report carries the receivers' results.
    """

    background: bool = False
    timeout: float | None = None
    priority: messages.Priority | None = None
    gather: bool = False


class PublishKeywords(TypedDict, total=False):
    """The same as keywords, for type checkers."""

    background: bool
    timeout: float | None
    priority: messages.Priority | None
    gather: bool


@dataclass(frozen=True)
class SubscribeOptions:
    """How a subscriber receives: see SubscriberBase. Times are in seconds."""

    servers: Sequence[Address]
    wire: ConnectionSettings
    ttl: float | None
    register: bool
    unregister: bool
    concurrency: int
    drain_timeout: float
    max_message_bytes: int
    register_function: str
    unregister_function: str

    def __post_init__(self) -> None:
        if self.ttl is not None:
            check_seconds(self.ttl, "ttl")
        check_count(self.concurrency, "concurrency")
        if self.drain_timeout != 0:
            check_seconds(self.drain_timeout, "drain_timeout")
        check_seconds(self.wire.connect_timeout, "connect_timeout")
        check_count(self.max_message_bytes, "max_message_bytes")
        check_function(self.register_function, "register_function")
        check_function(self.unregister_function, "unregister_function")


def servers_of(servers: str | Iterable[str]) -> Sequence[Address]:
    """The job servers that a user names: a list, or one string with commas.

    :raises InvalidServer: one is no address, or there is none.
    """
    try:
        texts: list[object] = [*(servers.split(",") if isinstance(servers, str) else servers)]
    except TypeError:
        raise errors.InvalidServer("job servers must be a list or a string") from None
    named = [text for text in texts if isinstance(text, str)]
    if len(named) != len(texts):
        raise errors.InvalidServer("the address of a job server must be a string")
    return parse_addresses(named)


def check_seconds(seconds: float, what: str) -> None:
    """Refuse what is no duration.

    :raises WrongType, InvalidSeconds: with the reason.
    """
    messages.check_type(seconds, what, float)
    messages.check_seconds(seconds, what)


def check_count(count: int, what: str) -> None:
    """Refuse what is no number above zero.

    :raises WrongType, ConfigurationError: with the reason.
    """
    messages.check_type(count, what, int)
    if count < 1:
        raise errors.ConfigurationError(f"{what} must be at least 1")


def check_function(name: str, what: str) -> None:
    """Refuse what cannot be a Gearman function.

    :raises WrongType, ConfigurationError: with the reason.
    """
    messages.check_type(name, what, str)
    try:
        messages.check_topic(name)
    except (errors.InvalidTopic, errors.NameTooLong):
        raise errors.ConfigurationError(
            f"{what} must be the name of a function: not empty, not too long, Unicode text "
            "and without control characters"
        ) from None
