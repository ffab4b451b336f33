# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The defaults of daemons and clients."""

from dataclasses import dataclass

MATCHMAKING_TOPIC = "__matchmaking"
"""The topic to which the daemons subscribe."""

FANOUT_TIMEOUT_S = 60.0
"""Seconds that a foreground fan-out waits for its receivers."""

DRAIN_TIMEOUT_S = 30.0
"""Seconds that a daemon or a subscriber, when stopped, has to finish its jobs."""

MAX_MESSAGE_BYTES = 64 << 20
"""The largest fan-out request, and the largest message that a subscriber takes."""


@dataclass(frozen=True)
class FunctionNames:
    """The names of the daemon's functions."""

    register: str = "register_fanout_subscriber"
    subscribe: str = "subscribe_fanout"
    unregister: str = "unregister_fanout_subscriber"
    unsubscribe: str = "unsubscribe_fanout"
    fanout: str = "fanout"
    query: str = "fanout_query"
    read: str = "fanout_read"
