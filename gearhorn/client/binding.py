# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Bindings of queues to handlers."""

from collections.abc import Callable
from typing import Any

from gearhorn import messages
from gearhorn.client.message import Message

Handler = Callable[[Message], Any]
"""Takes a message and returns its result. If it raises, the message has failed."""


class Binding:
    """The queue of a topic and a client_id, and the handler of its messages.

    :raises WrongType, InvalidTopic, InvalidClientId, NameTooLong: topic or client_id
        is not valid.
    """

    __slots__ = ("client_id", "handler", "queue", "topic")

    def __init__(self, topic: str, client_id: str) -> None:
        messages.check_type(topic, "topic", str)
        messages.check_type(client_id, "client_id", str)
        messages.check_subscription(topic, client_id)
        self.topic = topic
        self.client_id = client_id
        self.queue = messages.queue_name(topic, client_id)
        self.handler: Handler | None = None
