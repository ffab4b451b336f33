# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A Redis Cluster on loopback ports, whose slots can be moved and whose masters can fail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import redis

from gearhorn.store.redis_cluster import slot_of
from gearhorn.tests.closing import Closing
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Redis

_SLOTS = 16_384
_BATCH = 10
"""The keys that are moved at once, as redis-cli does."""


class Node(Redis):
    """A node of a cluster. Unless told otherwise it is slow to take others for dead."""

    def __init__(self, **directives: str) -> None:
        self.bus_port = free_port()
        own = {
            "cluster_enabled": "yes",
            # Its place is else the port plus 10,000, which outgoing connections may have.
            "cluster_port": str(self.bus_port),
            "cluster_node_timeout": "15000",
            "repl_diskless_sync_delay": "0",
        }
        super().__init__(port=None, **{**own, **directives})

    def call(self, *words: str | int | bytes) -> Any:
        with self.client() as client:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        client = redis.Redis(
            host=self.host,
            port=self.port,
            password=self.directives.get("requirepass"),
            socket_timeout=20,
        )
        try:
            yield client
        finally:
            client.close()

    @property
    def node_id(self) -> str:
        return str(self.call("CLUSTER", "MYID").decode())

    def knows(self, nodes: int) -> bool:
        info = _told(self.call("CLUSTER", "INFO"))
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == nodes

    def is_master(self) -> bool:
        return self.ask("ROLE").startswith("*3\r\n$6\r\nmaster")

    def has_copied(self, key: str, member: str) -> bool:
        """Return true if a set has a member there, on a replica too."""
        with self.client() as client:
            client.execute_command("READONLY")  # type: ignore[no-untyped-call]
            return bool(client.sismember(key, member))


def _told(reply: Any) -> dict[str, str]:
    """The pairs of an answer to INFO, or to CLUSTER INFO."""
    if isinstance(reply, dict):
        return {str(key): str(value) for key, value in reply.items()}
    lines = reply.decode().split()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _is_in_step(replica: Node) -> bool:
    return _told(replica.call("INFO"))["master_link_status"] == "up"


class Cluster(Closing):
    """So many masters that share the slots, and a replica of one of them if there is to be one."""

    def __init__(self, *, masters: int = 3, replica: bool = False, **directives: str) -> None:
        self._masters = masters
        self.nodes = [Node(**directives) for _ in range(masters + replica)]

    @property
    def url(self) -> str:
        addresses = [node.address for node in self.nodes[: self._masters]]
        return f"redis+cluster://{','.join(addresses)}/"

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        first, *others = self.nodes
        masters, replicas = self.nodes[: self._masters], self.nodes[self._masters :]
        share = -(-_SLOTS // len(masters))
        for number, node in enumerate(masters):
            last = min((number + 1) * share, _SLOTS) - 1
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.call("CLUSTER", "ADDSLOTSRANGE", number * share, last)
        for node in others:
            first.call("CLUSTER", "MEET", node.host, node.port, node.bus_port)
        for node in self.nodes:
            eventually(lambda node=node: node.knows(len(self.nodes)), 30)  # type: ignore[misc]
        for node in replicas:
            node.call("CLUSTER", "REPLICATE", first.node_id)
        eventually(self.is_whole, 30)

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    # What is done to a server is done to the node that serves the key, or else to all.

    def ask(self, *words: str) -> str:
        if len(words) > 1 and words[0] not in ("CLIENT", "SCRIPT", "CONFIG"):
            return self.holder(slot_of(words[1])).ask(*words)
        return [node.ask(*words) for node in self.nodes][-1]

    def holder(self, slot: int) -> Node:
        """The master that serves a slot, as the first node that runs and knows one says."""
        node = self._serving(slot)
        assert node is not None, f"no node serves slot {slot}"
        return node

    def _serving(self, slot: int) -> Node | None:
        # A node to which the slot is being moved does not hear that its master was replaced.
        for asked in self.nodes:
            if asked.exit_code is None:
                for first, last, (_, port, *_), *_ in asked.call("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(node for node in self.nodes if node.port == port)
        return None

    @property
    def masters(self) -> Sequence[Node]:
        return [node for node in self.nodes if node.exit_code is None and node.is_master()]

    def other_than(self, node: Node) -> Node:
        """Another master."""
        return next(master for master in self.masters if master is not node)

    def is_whole(self) -> bool:
        """Return true if all nodes know each other, and the replica has all of its master."""
        return all(node.knows(len(self.nodes)) for node in self.nodes) and (
            len(self.nodes) == self._masters or self.replica_is_in_step()
        )

    def replica_is_in_step(self) -> bool:
        """Return true if there is a replica again that has all of its master."""
        running = [node for node in self.nodes if node.exit_code is None]
        return any(not node.is_master() and _is_in_step(node) for node in running)

    def replicate(self, slot: int) -> Node:
        """Have the replica be one of the master of a slot, and return it."""
        eventually(self.replica_is_in_step, 30)
        (replica,) = (node for node in self.nodes if not node.is_master())
        master = self.holder(slot)
        if _told(replica.call("INFO"))["master_port"] != str(master.port):
            replica.call("CLUSTER", "REPLICATE", master.node_id)
            eventually(self.replica_is_in_step, 30)
        own, its = master.node_id, replica.node_id
        # Only then does the master listen to it.
        eventually(lambda: its in str(master.call("CLUSTER", "REPLICAS", own)))
        return replica

    def fail_over(self, slot: int) -> None:
        """Have the replica take the place of the master of a slot, which becomes its replica."""
        self.replicate(slot).call("CLUSTER", "FAILOVER")

    @contextlib.contextmanager
    def nobody_serves(self, slot: int) -> Iterator[None]:
        holder = self.holder(slot)
        for node in self.masters:
            node.call("CLUSTER", "DELSLOTS", slot)
        try:
            yield
        finally:
            holder.call("CLUSTER", "ADDSLOTS", slot)
            eventually(lambda: self._serving(slot) is holder)

    def move(self, slot: int, target: Node) -> Iterator[None]:
        """Move a slot as redis-cli does, which waits after each step for the next.

        One that was broken off can be made again.
        """
        source = self.holder(slot)
        if source is not target:
            # Where another has been made its master meanwhile, the target does not know it.
            target.call("CLUSTER", "SETSLOT", slot, "NODE", source.node_id)
            target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
            source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)
            yield
            place = target.host, target.port
            while keys := source.call("CLUSTER", "GETKEYSINSLOT", slot, _BATCH):
                # Of a key that is in both places the target's was left by a call that failed.
                source.call("MIGRATE", *place, "", 0, 5000, "REPLACE", "KEYS", *keys)
                yield
            target.call("CLUSTER", "SETSLOT", slot, "NODE", target.node_id)
        for node in self.masters:
            node.call("CLUSTER", "SETSLOT", slot, "NODE", target.node_id)
        yield
