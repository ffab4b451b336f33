# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The node of a Redis Cluster that serves a slot, and connections to it.

All keys of the subscriptions are in one slot: their prefix has a hash tag. So one pool of
connections is enough, each of which goes to the node that serves the slot at that time
(:class:`ReachedHolder`). A node is asked which one that is; MOVED corrects it.

What a cluster does with a slot is an outage to the callers: a slot that moves, a failover, a
slot that nobody serves. The call is not sent elsewhere (ASK), but fails, and is made again.

The run that counts is that of the node that answered, so it is noted with an answer and not
with a connection. No connection outlives a change of the node: one that was left for a while
would answer later without being asked for its run.

Rejected: redis-py's own client of clusters. It raises errors of its own kind during a failover
("TTL exhausted"), and keeps connections to all nodes, of which one is needed.
"""

import asyncio
import math
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis import crc, exceptions

from gearhorn import clock
from gearhorn.store.redis_connection import Reached


class Node(NamedTuple):
    host: str
    port: int


def tagged(key_prefix: str) -> str:
    """Return the prefix with a hash tag, which puts all keys into one slot.

    One that has a tag already is left as it is.
    """
    _before, _, rest = key_prefix.partition("{")
    tag, closed, _ = rest.partition("}")
    if tag and closed:
        return key_prefix
    # The first braces count, and those with nothing between them make no tag.
    if not key_prefix or key_prefix.startswith("}"):
        return f"{{gearhorn}}{key_prefix}"
    return f"{{{key_prefix}}}"


class Cluster:
    """The nodes of a cluster, and which of them serves a slot.

    :param nodes: some that are asked for the others.
    :param options: of connections to them.
    """

    def __init__(self, nodes: Sequence[Node], options: dict[str, Any]) -> None:
        self._first = nodes
        self._learned: Sequence[Node] = ()
        self._options = options
        self._serving: dict[int, Node] = {}
        self._learned_at = -math.inf
        """When a node was last found to serve, on :func:`gearhorn.clock.now`."""
        self._asking = asyncio.Lock()

    def serves(self, slot: int, node: Node | None) -> bool:
        """Return true if nothing is known that happened to the slot since it was asked for."""
        return self._serving.get(slot) is node

    async def node_of(self, slot: int) -> Node:
        """Return the node that serves a slot."""
        async with self._asking:
            node = self._serving.get(slot)
            if node is None:
                node = self._serving[slot] = await self._ask(slot)
                self._learned_at = clock.now()
            return node

    def moved(self, slot: int, node: Node) -> None:
        # Several calls may be told at once.
        if self._serving.get(slot) != node:
            self._serving[slot] = node
            self._learned_at = clock.now()

    def forget(self, begun: float = math.inf) -> None:
        """Ask again: the node may be down, or cut off from the others.

        :param begun: when the call began that failed; what was learned since is kept, or
            calls that fail late would take the new node from those that have it.
        """
        if self._learned_at < begun:
            self._serving.clear()

    async def _ask(self, slot: int) -> Node:
        fault: Exception | None = None
        nodes = list(dict.fromkeys((*self._first, *self._learned)))
        # In another order each time: one that is cut off takes itself for the one that serves.
        random.shuffle(nodes)
        for asked in nodes:
            try:
                rows = await self._slots_as_seen_by(asked)
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
                fault = error
                continue
            self._learned = [_node(asked, place) for row in rows for place in row[2:]]
            for first, last, holder, *_ in rows:
                if first <= slot <= last:
                    return _node(asked, holder)
            fault = exceptions.ConnectionError(f"no node of the cluster serves slot {slot}")
        assert fault is not None
        raise fault

    async def _slots_as_seen_by(self, node: Node) -> Sequence[Sequence[Any]]:
        connection = Reached(host=node.host, port=node.port, **self._options)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("CLUSTER", "SLOTS")
            rows: Sequence[Sequence[Any]] = await connection.read_response()
            return rows
        finally:
            await connection.disconnect(nowait=True)


def _node(asked: Node, place: Sequence[Any]) -> Node:
    # A node that does not know its name leaves it to who has reached it.
    host, port = place[:2]
    return Node(asked.host if host in (None, "", "?") else host, port)


class ReachedHolder(Reached):
    """A connection to the node that serves a slot."""

    def __init__(self, *, cluster: Cluster, slot: int, **options: Any) -> None:
        super().__init__(**options)
        self._cluster = cluster
        self._slot = slot
        self._node: Node | None = None
        self.on_answer: Callable[[], None] | None = None
        """Called with the first answer, which tells that the node serves the slot."""

    async def connect(self) -> None:
        if self.is_connected and not self._cluster.serves(self._slot, self._node):
            await self.disconnect(nowait=True)
        await super().connect()  # type: ignore[no-untyped-call]

    async def _connect(self) -> None:
        self.on_answer = None
        self._node = await self._cluster.node_of(self._slot)
        self.host, self.port = self._node
        await super()._connect()

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        try:
            response = await super().read_response(*arguments, **options)
        except exceptions.ReadOnlyError as error:
            self._cluster.forget()
            fault: Exception = exceptions.ConnectionError(str(error))
        except exceptions.ResponseError as error:
            if (match := _redirection(error)) is None:
                raise
            if not match["moved"]:
                raise exceptions.TryAgainError(f"slot {self._slot} is being moved") from None
            self._cluster.moved(self._slot, Node(match["host"] or self.host, int(match["port"])))
            fault = exceptions.ConnectionError(f"slot {self._slot} has moved")
        else:
            if self.on_answer is not None:
                note, self.on_answer = self.on_answer, None
                note()
            return response
        # redis-py connects again, and repeats the command once.
        await self.disconnect(nowait=True)
        raise fault


def _redirection(error: exceptions.ResponseError) -> re.Match[str] | None:
    text = str(error)
    # Newer releases of redis-py make a class of the code, and leave it out of the text.
    if isinstance(error, exceptions.AskError):
        text = f"{'MOVED' if isinstance(error, exceptions.MovedError) else 'ASK'} {text}"
    return re.fullmatch(r"((?P<moved>MOVED)|ASK) \d+ (?P<host>.*):(?P<port>\d+)", text)


def slot_of(key: str) -> int:
    return crc.key_slot(key.encode())
