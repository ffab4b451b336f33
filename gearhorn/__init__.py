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
    from gearhorn.client.message import Message
    from gearhorn.client.publisher import Publisher
    from gearhorn.client.subscriber import Subscriber
    from gearhorn.errors import GearhornError
    from gearhorn.messages import FanOutReport
    from gearhorn.wire.tls import tls_context

# Imported at first use: the daemon needs none of these, and a program that needs an
# error class needs no sockets.
_PLACES = {
    "AsyncPublisher": "gearhorn.client.async_publisher",
    "AsyncSubscriber": "gearhorn.client.async_subscriber",
    "FanOutReport": "gearhorn.messages",
    "GearhornError": "gearhorn.errors",
    "Message": "gearhorn.client.message",
    "Publisher": "gearhorn.client.publisher",
    "Subscriber": "gearhorn.client.subscriber",
    "tls_context": "gearhorn.wire.tls",
}

__all__ = [
    "AsyncPublisher",
    "AsyncSubscriber",
    "FanOutReport",
    "GearhornError",
    "Message",
    "Publisher",
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
