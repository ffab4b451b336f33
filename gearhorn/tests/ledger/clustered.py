# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A scene whose store is a Redis Cluster.

The daemons reach its nodes without a network between, by the addresses that these tell. The slot
of the store is moved to other nodes, and its master and the replica change places. A master that
is killed comes back with its data: no replica takes its place, which could lose what was answered
last (Redis does not wait for a replica).
"""

from __future__ import annotations

import time

import redis

from gearhorn.store.redis_cluster import slot_of, tagged
from gearhorn.tests.clusters import Cluster, Node
from gearhorn.tests.ledger.scene import KEY_PREFIX, Scene
from gearhorn.tests.ledger.schedule import Fault

SLOT = slot_of(tagged(KEY_PREFIX))
_STEP_S = 0.02
"""Between the steps of a move, so that calls come in between."""


class ClusterScene(Scene):
    """Three masters and a replica, in place of the one Redis."""

    key_prefix = tagged(KEY_PREFIX)

    @property
    def redis(self) -> Node:
        return self._cluster.holder(SLOT)

    @property
    def targets(self) -> dict[str, float]:
        nodes = {name: 0.5 if name.startswith("redis") else 1.0 for name in self.processes}
        return {name: weight * nodes.get(name, 1.0) for name, weight in super().targets.items()} | {
            "slot": 4.0
        }

    def _add_store(self) -> None:
        self._cluster = Cluster(
            replica=True,
            appendonly="yes",
            appendfsync="always",
            cluster_node_timeout="1500",
            cluster_replica_no_failover="yes",
        )
        self._stack.callback(self._cluster.close)
        self._cluster.start()
        self.processes |= {f"redis-{n}": node for n, node in enumerate(self._cluster.nodes)}
        self._hit: set[str] = set()
        self._pending: Fault | None = None
        self._target: Node | None = None

    def _store_url(self, number: int) -> str:
        return self._cluster.url

    def begin(self, fault: Fault) -> None:
        if fault.target == "slot":
            self._pending = fault
            self._do_pending()
            return
        if fault.target.startswith("redis"):
            self._hit.add(fault.target)
        super().begin(fault)

    def hindrance(self, fault: Fault) -> str:
        return self._do_pending() if fault.target == "slot" else super().hindrance(fault)

    def end(self, fault: Fault) -> None:
        if fault.target != "slot":
            super().end(fault)
            self._hit.discard(fault.target)

    def _do_pending(self) -> str:
        """Do what is to be done to the slot; return why that cannot be done now."""
        if self._pending is None:
            return ""
        if self._hit:
            return f"{', '.join(sorted(self._hit))} is not there"
        try:
            if self._pending.kind == "fail over":
                self._cluster.fail_over(SLOT)
            else:
                self._target = self._target or self._cluster.other_than(self.redis)
                for _ in self._cluster.move(SLOT, self._target):
                    time.sleep(_STEP_S)
        # A node that was just started has to find the others.
        except (redis.RedisError, OSError, AssertionError) as error:
            return f"{self._pending.kind}: {error!r}"
        self._pending = self._target = None
        return ""
