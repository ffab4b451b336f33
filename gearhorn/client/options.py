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
"""What a subscriber is told, as plain values."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gearhorn import errors, messages
from gearhorn.client.message import Message
from gearhorn.wire.servers import Server, Settings, parse_servers

Handler = Callable[[Message], Any]
"""Takes a message; what it returns is the result, what it raises a failure."""


@dataclass(frozen=True)
class Options:
    """Plain values, checked. Times are in seconds."""

    servers: Sequence[Server]
    wire: Settings
    ttl: float | None
    register: bool
    unregister: bool
    concurrency: int
    drain_timeout: float
    max_message_bytes: int
    register_function: str
    unregister_function: str


def servers_of(servers: str | Iterable[str]) -> Sequence[Server]:
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
    return parse_servers(named)


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


class Route:
    """A topic and a client_id whose messages are received, and by whom."""

    __slots__ = ("client_id", "handler", "queue", "topic")

    def __init__(self, topic: str, client_id: str) -> None:
        messages.check_type(topic, "topic", str)
        messages.check_type(client_id, "client_id", str)
        messages.check_subscription(topic, client_id)
        self.topic = topic
        self.client_id = client_id
        self.queue = messages.queue_name(topic, client_id)
        self.handler: Handler | None = None
