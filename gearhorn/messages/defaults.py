# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What both sides take for granted unless they are told otherwise."""

from dataclasses import dataclass

MATCHMAKING_TOPIC = "__matchmaking"
"""The topic whose subscribers the daemons are."""

FANOUT_TIMEOUT_S = 60.0
"""How long a foreground fan-out waits for its receivers."""

DRAIN_TIMEOUT_S = 30.0
"""How long what is in hand may take when a daemon or a subscriber is stopped."""

MAX_MESSAGE_BYTES = 64 << 20
"""The largest request of a fan-out, and the largest message that a subscriber takes."""


@dataclass(frozen=True)
class FunctionNames:
    """What the daemon's functions are called."""

    register: str = "register_fanout_subscriber"
    subscribe: str = "subscribe_fanout"
    unregister: str = "unregister_fanout_subscriber"
    unsubscribe: str = "unsubscribe_fanout"
    fanout: str = "fanout"
    query: str = "fanout_query"
