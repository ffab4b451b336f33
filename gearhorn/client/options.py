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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gearhorn import messages
from gearhorn.client.message import Message
from gearhorn.wire.servers import Server, Settings

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
