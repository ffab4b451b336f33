# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A look at the job servers: which daemons use which store, and which fan-outs wait."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gearhorn import errors
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.messages import Mark, Marks
from gearhorn.tasks import end
from gearhorn.wire import admin
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.status import QueueState

LOG = logging.getLogger(__name__)

GRACE_S = 2.0
"""Seconds that the other job servers have to answer once one has. A daemon does not wait
for one that is frozen, or whose name is not found."""


States = Mapping[str, QueueState]


class Sight(NamedTuple):
    """The state of the job servers at one look.

    :param asked: the servers that answered.
    :param unasked: those that did not.
    :param marks: the marks of live daemons.
    :param waiting: the number of fan-outs that wait, on the servers where some do.
    """

    asked: Sequence[Address]
    unasked: Sequence[Address]
    marks: frozenset[Mark]
    waiting: Mapping[Address, int]

    @property
    def stores(self) -> frozenset[str]:
        """The tags of the stores that live daemons use or wait for."""
        return frozenset(mark.store for mark in self.marks)

    @property
    def served(self) -> frozenset[str]:
        """The tags of the stores that live daemons serve from."""
        return frozenset(mark.store for mark in self.marks if not mark.waits)


class Lookout:
    """Looks at the job servers of a daemon."""

    def __init__(self, settings: DaemonSettings) -> None:
        self._servers = settings.servers
        self._wire = settings.wire
        self._fanout = settings.functions.fanout
        self.marks = Marks(settings.matchmaking_topic, self._fanout)

    def set_wire(self, wire: ConnectionSettings) -> None:
        """Connect as these settings say from now on."""
        self._wire = wire

    async def look(self) -> Sight:
        """Ask all job servers at once."""
        answers = await self._ask_all()
        unasked = [server for server in self._servers if server not in answers]
        marks: set[Mark] = set()
        waiting = {}
        for server, states in answers.items():
            found = self.marks.read(states)
            marks.update(mark for function, mark in found if states[function].workers)
            state = states.get(self._fanout)
            if state is not None and state.total > state.running:
                waiting[server] = state.total - state.running
        return Sight(tuple(answers), unasked, frozenset(marks), waiting)

    async def _ask_all(self) -> Mapping[Address, States]:
        """Return the answers of those that answer in time."""
        answers: dict[Address, States] = {}
        pending = {asyncio.ensure_future(self._ask(server)) for server in self._servers}
        try:
            while pending:
                done, pending = await asyncio.wait(
                    pending,
                    timeout=GRACE_S if answers else None,
                    return_when=asyncio.ALL_COMPLETED if answers else asyncio.FIRST_COMPLETED,
                )
                found = (task.result() for task in done)
                answers.update((server, states) for server, states in found if states is not None)
                if not done:
                    break
        finally:
            await end(pending)
        return answers

    async def _ask(self, server: Address) -> tuple[Address, States | None]:
        beginning = (self.marks.prefix, f"{self._fanout}\t")
        try:
            return server, await admin.queues(server, self._wire, beginning)
        except errors.ServerLost as error:
            LOG.debug("marks were not looked for: %s", error)
            return server, None

    async def names(self, store: str) -> Sequence[str]:
        """Return the worker ids of the daemons that serve from a store."""
        function = self.marks.function(Mark(store))
        found: set[str] = set()
        for server in self._servers:
            try:
                connections = await admin.workers(server, self._wire)
            except errors.ServerLost:
                continue
            found.update(name for name, functions in connections if function in functions.split())
        return sorted(found)
