# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A job server and daemons that are played, a millisecond at a time, with the guard that they have.

While the server answers ``status`` it takes nothing from anybody, as gearmand does.
"""

from __future__ import annotations

import math
import random

from gearhorn.daemon.guard.guard import Asked, Guard
from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.guard.pace import Pace
from gearhorn.daemon.recipients import Recipients
from gearhorn.messages import Limits
from gearhorn.tasks import at_once
from gearhorn.wire.address import Address
from gearhorn.wire.look import Look

SERVER = Address("one.example", 4730)
STEP_S = 0.001
_SERVER_S = 0.5e-6
_OWN_S = 2e-6
"""The seconds that a look takes for each function: the server's and the daemon's."""


class _Asking:
    """A look that was asked for."""

    def __init__(self, asked: Asked, answered_at: float) -> None:
        self.asked = asked
        self.answered_at = answered_at
        self.read_at = math.inf
        self.look: Look | None = None


class Sender:
    """A daemon that sends messages of one topic."""

    def __init__(self, world: World, settings: LimitSettings) -> None:
        self._world = world
        self.guard = Guard(
            settings,
            uncounted_topic="__matchmaking",
            servers=lambda: [SERVER],
            daemons=lambda: len(world.senders),
            max_topics=100,
        )
        self.guard.on_due = self._due
        self.pace = Pace(60.0)
        self._asking: _Asking | None = None
        self.looks = 0

    def _due(self, server: Address, urgent: bool) -> None:
        self.pace.wanted = True
        self.pace.urgent = self.pace.urgent or urgent

    def send(self, messages: int, size: int = 100) -> None:
        depths = self._world.depths
        for _ in range(messages):
            queues = self.guard.admit(self._world.recipients, size).whole.queues
            for queue in queues:
                depths[queue] += 1
            self.guard.count_block(SERVER, len(queues), len(queues) * size)

    def turn(self, now: float) -> None:
        world = self._world
        asking = self._asking
        if asking is None:
            if self.pace.when(now, len(world.senders)) <= now:
                asked = self.guard.asked(SERVER, now, ([], 0))
                self.pace.asked(now)
                self._asking = _Asking(asked, now + world.random.uniform(0.002, 0.010))
        elif asking.look is None and now >= max(asking.answered_at, world.busy_until):
            asking.look = world.answer()
            asking.read_at = now + asking.look.took + asking.look.own
        elif asking.look is not None and now >= asking.read_at:
            self._asking = None
            self.looks += 1
            self.pace.wanted = self.pace.urgent = False
            outcome = at_once(self.guard.take(SERVER, asking.look, asking.asked))
            self.pace.leaves_out = bool(self.guard.seen.server(SERVER).full)
            self.pace.answered(
                now,
                asking.look.took,
                asking.look.own,
                fell=outcome.fell,
                half_full=outcome.half_full,
            )


class World:
    """A server, the subscribers of one topic, and daemons.

    :param functions: the number of functions on the server.
    :param works: the jobs a second of each subscriber's worker, 0 if it has none.
    :param limits: what subscribers brought.
    """

    def __init__(
        self,
        *works: float,
        daemons: int = 1,
        functions: int = 10,
        settings: LimitSettings,
        limits: dict[str, Limits] | None = None,
    ) -> None:
        client_ids = [f"c{number}" for number in range(len(works))]
        self.recipients = Recipients.of("t", client_ids, 0.0, limits or {})
        self.depths = dict.fromkeys((f"t_{name}".encode() for name in client_ids), 0.0)
        self.works = dict(zip(self.depths, works, strict=True))
        self.random = random.Random(1)
        self.functions = functions
        self.senders: list[Sender] = []
        self.senders += [Sender(self, settings) for _ in range(daemons)]
        self.busy_until = 0.0
        self.now = 0.0
        self.peak = 0.0
        self.done = self.could = 0.0

    def answer(self) -> Look:
        """Answer ``status``."""
        took = 3e-5 + self.functions * _SERVER_S
        self.busy_until = self.now + took
        jobs = {queue: int(depth) for queue, depth in self.depths.items() if depth >= 1}
        workers = {queue: 1 for queue, work in self.works.items() if work}
        return Look(jobs, {}, workers, took, self.functions * _OWN_S)

    def run(self, seconds: float, *rates: float, size: int = 100) -> None:
        """Have each daemon send that many messages a second."""
        owed = [0.0] * len(rates)
        for _ in range(round(seconds / STEP_S)):
            self.now += STEP_S
            for number, (sender, rate) in enumerate(zip(self.senders, rates, strict=True)):
                if self.now >= self.busy_until:
                    owed[number] += rate * STEP_S
                    sender.send(int(owed[number]), size)
                    owed[number] %= 1
            for queue, work in self.works.items():
                taken = min(self.depths[queue], work * STEP_S)
                self.depths[queue] -= taken
                self.done += taken
                self.could += work * STEP_S
            self.peak = max(self.peak, *self.depths.values())
            for sender in self.senders:
                sender.turn(self.now)

    @property
    def busy(self) -> float:
        """The part of its time that the workers worked."""
        return self.done / self.could
