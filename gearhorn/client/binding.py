# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Bindings of queues to handlers."""

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from gearhorn import errors, messages
from gearhorn.client.message import Message
from gearhorn.client.parameters import StartAt, start_of
from gearhorn.client.retries import NO_RETRIES, RetryPolicy

Handler = Callable[[Message], Any]
"""Takes a message and returns its result. If it raises, the message has failed."""


class Binding:
    """The queue of a topic and a client_id, and the handler of its messages.

    :param policy: what to do when the handler raises.
    :param start: where in a journal it begins.
    :raises InvalidStart: it cannot begin there.
    :raises WrongType, InvalidTopic, InvalidClientId, NameTooLong: topic or client_id
        is not valid.
    :raises ConfigurationError: the topic is its own dead-letter topic.
    """

    __slots__ = ("begins", "client_id", "handler", "policy", "queue", "start", "topic")

    def __init__(
        self,
        topic: str,
        client_id: str,
        policy: RetryPolicy = NO_RETRIES,
        start: StartAt | None = None,
    ) -> None:
        messages.check_type(topic, "topic", str)
        messages.check_type(client_id, "client_id", str)
        messages.check_subscription(topic, client_id)
        if topic == policy.dead_letter:
            raise errors.ConfigurationError(
                f"the dead letters of {topic!r} would come back to it: name another topic"
            )
        self.topic = topic
        self.client_id = client_id
        self.queue = messages.queue_name(topic, client_id)
        self.handler: Handler | None = None
        self.policy = policy
        self.begins: messages.Start
        self.start: Raw
        """The same, as a registration says it."""
        self.begins, self.start = start_of(start)
