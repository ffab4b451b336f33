# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Which node of a cluster serves a slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from redis import exceptions

from gearhorn import clock
from gearhorn.store.redis_cluster import Cluster, Node

ONE, TWO = Node("one", 1), Node("two", 2)
Rows = Sequence[Sequence[Any]]


class Told(Cluster):
    """A cluster whose nodes tell what they are given here; the others do not answer."""

    def __init__(self, nodes: Sequence[Node], rows: Mapping[Node, Rows]) -> None:
        super().__init__(nodes, {})
        self.rows = rows
        self.asked: list[Node] = []

    async def _slots_as_seen_by(self, node: Node) -> Rows:
        self.asked.append(node)
        if node not in self.rows:
            raise exceptions.ConnectionError(f"{node.host} is away")
        return self.rows[node]


async def test_it_is_asked_once() -> None:
    cluster = Told([ONE], {ONE: [[0, 99, ["one", 1, "id"]], [100, 199, ["two", 2, "id"]]]})
    assert await cluster.node_of(100) == TWO
    assert await cluster.node_of(100) == TWO
    assert cluster.asked == [ONE]
    cluster.forget()
    assert await cluster.node_of(99) == ONE


@pytest.mark.parametrize("host", [None, "", "?"])
async def test_a_node_that_does_not_know_its_name_is_where_it_was_asked(host: str | None) -> None:
    cluster = Told([ONE], {ONE: [[0, 99, [host, 7000, "id"]]]})
    assert await cluster.node_of(5) == ("one", 7000)


async def test_nodes_that_were_told_of_are_asked_when_the_first_ones_are_gone() -> None:
    rows = [[0, 99, ["one", 1, "id"], ["two", 2, "id"]]]
    cluster = Told([ONE], {ONE: rows})
    await cluster.node_of(5)
    cluster.rows = {TWO: [[0, 99, ["two", 2, "id"]]]}
    cluster.forget()
    assert await cluster.node_of(5) == TWO


async def test_a_call_that_fails_late_leaves_the_node_that_others_have_found() -> None:
    cluster = Told([ONE], {ONE: [[0, 99, ["one", 1, "id"]]]})
    begun = clock.now()
    node = await cluster.node_of(5)
    cluster.forget(begun)
    assert cluster.serves(5, node)
    cluster.forget(clock.now())
    assert not cluster.serves(5, node)


async def test_a_slot_that_nobody_serves_is_named() -> None:
    cluster = Told([ONE], {ONE: [[0, 99, ["one", 1, "id"]]]})
    with pytest.raises(exceptions.ConnectionError, match="no node of the cluster serves slot 100"):
        await cluster.node_of(100)


async def test_calls_that_are_told_alike_of_a_move_leave_the_connections_of_each_other() -> None:
    cluster = Told([ONE], {ONE: [[0, 99, ["one", 1, "id"]]]})
    before = await cluster.node_of(5)
    assert cluster.serves(5, before)
    cluster.moved(5, Node("two", 2))
    assert not cluster.serves(5, before)
    node = await cluster.node_of(5)
    cluster.moved(5, Node("two", 2))
    assert cluster.serves(5, node)
    # Back at the first: a connection from before has not been asked for its run since.
    cluster.moved(5, Node("one", 1))
    assert not cluster.serves(5, before)
