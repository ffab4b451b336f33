# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Fan-out for Gearman.

A publisher and a subscriber::

    from gearhorn import Publisher

    with Publisher("localhost") as publisher:
        publisher.publish("officememos", "please go home early today.")

    from gearhorn import Subscriber

    subscriber = Subscriber("localhost", "bob")

    @subscriber.on("officememos")
    def read(memo):
        print(memo.text)

    subscriber.run()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gearhorn.client.async_publisher import AsyncPublisher
    from gearhorn.client.async_subscriber import AsyncSubscriber
    from gearhorn.client.journal.async_reader import AsyncReader
    from gearhorn.client.journal.file_position import FilePosition
    from gearhorn.client.journal.reader import Reader
    from gearhorn.client.message import Message
    from gearhorn.client.publisher import Publisher
    from gearhorn.client.subscriber import Subscriber
    from gearhorn.errors import GearhornError
    from gearhorn.messages import FanOutReport
    from gearhorn.net.tls import tls_context

# Imported at first use: the daemon needs none of these, and a program that needs an
# error class needs no sockets.
_PLACES = {
    "AsyncPublisher": "gearhorn.client.async_publisher",
    "AsyncReader": "gearhorn.client.journal.async_reader",
    "AsyncSubscriber": "gearhorn.client.async_subscriber",
    "FanOutReport": "gearhorn.messages",
    "FilePosition": "gearhorn.client.journal.file_position",
    "GearhornError": "gearhorn.errors",
    "Message": "gearhorn.client.message",
    "Publisher": "gearhorn.client.publisher",
    "Reader": "gearhorn.client.journal.reader",
    "Subscriber": "gearhorn.client.subscriber",
    "tls_context": "gearhorn.net.tls",
}

__all__ = [
    "AsyncPublisher",
    "AsyncReader",
    "AsyncSubscriber",
    "FanOutReport",
    "FilePosition",
    "GearhornError",
    "Message",
    "Publisher",
    "Reader",
    "Subscriber",
    "tls_context",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
