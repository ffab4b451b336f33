# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The settings of a daemon."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gearhorn import messages
from gearhorn.daemon.fanout import Order
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.leases import Leases
from gearhorn.daemon.open_fanouts import OpenBounds
from gearhorn.messages import FunctionNames
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings

Create = Literal["first", "never", "always"]
"""When an empty store is made a new one."""


@dataclass(frozen=True)
class DaemonSettings:
    """The settings of a daemon as plain values. Times are in seconds."""

    servers: Sequence[Address]
    store_url: str
    worker_name: str = field(default_factory=socket.gethostname)
    """The beginning of the daemon's worker id."""
    wire: ConnectionSettings = field(default_factory=ConnectionSettings)
    functions: FunctionNames = field(default_factory=FunctionNames)
    key_prefix: str = "gearhorn:"
    store_timeout: float = 5.0
    create: Create = "first"
    state_dir: Path | None = None
    """The directory in which the store is remembered over a restart."""
    fanout_timeout: float = messages.FANOUT_TIMEOUT_S
    order: Order = "receiver"
    max_timeout: float = 3600.0
    """The longest timeout that a request may ask for."""
    max_in_flight: int = 1000
    max_open_fanouts: int = OpenBounds.fanouts
    max_open_copies: int = OpenBounds.copies
    max_message_bytes: int = messages.MAX_MESSAGE_BYTES
    generate_unique: bool = True
    matchmaking_topic: str = messages.MATCHMAKING_TOPIC
    leases: Leases = field(default_factory=Leases)
    max_cached_topics: int = 10_000
    limits: LimitSettings = field(default_factory=LimitSettings)
    drain_timeout: float = messages.DRAIN_TIMEOUT_S
    queue_interval: float | None = None
    """The seconds between two samples of the queues, ``None`` for none."""
    top_topics: int = 20
    """The topics with most waiting that are shown by name."""
    alone: bool = False
    """True if no other daemon shares the store: whoever has an entry is dead."""
