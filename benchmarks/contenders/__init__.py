# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The contenders beside which gearhorn is measured, each through its usual Python client."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable

from benchmarks.contenders.bare import Bare, TwoHops
from benchmarks.contenders.base import Contender
from benchmarks.contenders.gear_loop import GearLoop
from benchmarks.contenders.gearhorn import Gearhorn, GearhornThreads
from benchmarks.contenders.nats import JetStream, NatsCore
from benchmarks.contenders.rabbitmq import RabbitMQ
from benchmarks.contenders.redis_pubsub import RedisPubSub
from benchmarks.contenders.redis_streams import RedisStreamsBatched, RedisStreamsEach

GEARHORN = Gearhorn()
BARE = Bare()
TWO_HOPS = TwoHops()
PEERS: tuple[Contender, ...] = (
    GearhornThreads(),
    GearLoop(),
    RabbitMQ(),
    NatsCore(),
    JetStream(),
    RedisPubSub(),
    RedisStreamsEach(),
    RedisStreamsBatched(),
)

UNACKNOWLEDGED = frozenset(peer.name for peer in PEERS if not peer.acknowledged)

INSTALL_HELP = """\
On Debian, as root:

    apt-get install gearman-job-server redis-server nats-server rabbitmq-server

starts them as services too; the benchmarks start servers of their own, and those can be stopped.
In the Python environment that runs the benchmarks:

    pip install pika nats-py

redis-py and gear come with gearhorn."""


def by_name(name: str) -> Contender:
    return next(each for each in (GEARHORN, BARE, TWO_HOPS, *PEERS) if each.name == name)


def names() -> list[str]:
    return [peer.name for peer in PEERS]


@functools.cache
def missing(chosen: frozenset[str] | None) -> dict[str, str]:
    """Return the names of the chosen peers that cannot run, and why."""
    found = {peer.name: peer.missing() for peer in _chosen(chosen)}
    return {name: why for name, why in found.items() if why is not None}


def available(chosen: frozenset[str] | None) -> list[Contender]:
    """Return the chosen peers that can run."""
    absent: Collection[str] = missing(chosen)
    return [peer for peer in _chosen(chosen) if peer.name not in absent]


def _chosen(chosen: frozenset[str] | None) -> Iterable[Contender]:
    return [peer for peer in PEERS if chosen is None or peer.name in chosen]
