# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A run: rounds of faults, each with the recovery from it and a calm after it."""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
from collections.abc import Callable
from typing import Protocol

import redis.asyncio

from gearhorn.tests.ledger import naming
from gearhorn.tests.ledger.checker import Verdict, check, missing_copies
from gearhorn.tests.ledger.record import (
    AnyEntry,
    Ended,
    FaultBegan,
    FaultEnded,
    Forgot,
    Healed,
    Reader,
    Recovered,
    Stored,
    Writer,
    now,
)
from gearhorn.tests.ledger.recovery import Recovery
from gearhorn.tests.ledger.scene import Scene
from gearhorn.tests.ledger.schedule import ARMED, Fault

_BY = "runner"
_NEVER_LOGGED = ("Traceback (most recent call last)", "unexpected error")
_INTERVAL_S = 0.05
_QUIET_S = 1.5
_END_LIMIT_S = 45.0
"""The time that a process may take to end when it is asked to.

A subscriber with its default settings takes up to 20 seconds beside a job server that is silent.
"""
_TOO_SLOW = f"did not end in {_END_LIMIT_S:g} s when asked to"

Say = Callable[[str], object]


class Rounds(Protocol):
    """Something that draws rounds of faults."""

    def round(self, count: int) -> list[Fault]:
        """Return the next faults."""


def say(line: str) -> None:
    """Tell people at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Runner:
    """Runs a scene.

    :param say: takes lines for people.
    :param recovery_limit_s: how long everything may take to work again after the last fault
        of a round.
    :param calm_s: how long nothing happens after that; messages of this time must not arrive
        twice.
    """

    def __init__(self, scene: Scene, say: Say, *, recovery_limit_s: float, calm_s: float) -> None:
        self._scene = scene
        self._say = say
        self._limit_s = recovery_limit_s
        self._calm_s = calm_s
        self._writer = Writer(scene.record / "runner.jsonl")
        self._reader = Reader(scene.record)
        self._entries: list[AnyEntry] = []
        self._round = 0
        self.down: set[str] = set()
        """The processes that a fault has ended."""

    def run(self, schedule: Rounds, *, faults: int, per_round: int) -> Verdict:
        """Have so many faults, and judge what came of them."""
        self.wait_until_it_works()
        for number in range(-(-faults // per_round)):
            self._fail(schedule.round(min(per_round, faults - number * per_round)))
            self.heal()
            self.write_store_down()
            self.wait(self._calm_s)
        return self.finish()

    def wait_until_it_works(self) -> None:
        """Return when all have started."""
        started = now()
        missing = self.recover(started)
        if missing:
            raise AssertionError(f"it does not work without faults either: {missing}")
        self._say(f"everything works after {now() - started:.1f} s")

    def reset_everything(self) -> None:
        """Reset all connections, and wait until everything works again."""
        for name, proxy in self._scene.proxies.items():
            self.begin("reset", name, self._round)
            proxy.reset()
        self.heal()

    def heal(self) -> None:
        """Write down that a round is over, and how everybody recovers."""
        healed = now()
        self._writer.write(Healed(at=healed, by=_BY, round=self._round))
        missing = self.recover(healed)
        self._writer.write(Recovered(at=now(), by=_BY, round=self._round, missing=missing))
        self._say(f"round {self._round}: works after {now() - healed:.1f} s {missing or ''}")
        self._round += 1

    def _fail(self, faults: list[Fault]) -> None:
        """Have the faults begin and end when it is their time."""
        started = now()
        due: list[tuple[float, int, bool, Fault]] = []
        for fault in faults:
            heapq.heappush(due, (fault.begins, fault.number, True, fault))
            heapq.heappush(due, (fault.ends, fault.number, False, fault))
        begun: set[int] = set()
        while due:
            at, number, begins, fault = heapq.heappop(due)
            self.wait(started + at - now())
            if fault.target in self.down if begins else number not in begun:
                # An orderly end before it takes longer.
                heapq.heappush(due, (at + 0.1, number, begins, fault))
            elif begins:
                begun.add(number)
                self._say(
                    f"  {at:5.1f} {fault.kind} {fault.target} for {fault.ends - at:.1f} s"
                    f"{f' after {fault.after_bytes} bytes' if fault.kind in ARMED else ''}"
                )
                if fault.kind != "freeze":
                    self.down.add(fault.target)
                self.begin(fault.kind, fault.target, number)
                self._scene.begin(fault)
            elif (hindrance := self._scene.hindrance(fault)) and at < fault.ends + _END_LIMIT_S:
                heapq.heappush(due, (at + 0.1, number, False, fault))
            else:
                if hindrance:
                    self.ended(fault.target, f"{_TOO_SLOW} ({hindrance})")
                self._scene.end(fault)
                self.down.discard(fault.target)
                self._writer.write(FaultEnded(at=now(), by=_BY, number=number))
                if fault.target == "redis":
                    self.write_store_down()

    def begin(self, kind: str, target: str, number: int = 0) -> float:
        """Write down that a fault begins; the time of that."""
        fault = FaultBegan(at=now(), by=_BY, number=number, kind=kind, target=target)
        self._writer.write(fault)
        return fault.at

    def forgot(self, kind: str, *, began: float, since: float = 0.0) -> None:
        """Write down that the store lost what was answered since then."""
        self._writer.write(Forgot(at=now(), by=_BY, began=began, since=since, kind=kind))

    def recover(self, since: float) -> list[str]:
        """Wait until everything works, or the time is up; what does not work."""
        scene = self._scene
        receivers = [*scene.standing, *scene.readers]
        recovery = Recovery(since, scene.publishers, scene.topics, receivers)
        recovery.feed([entry for entry in self._entries if entry.at > since])
        deadline = now() + self._limit_s
        while recovery.missing and now() < deadline:
            recovery.feed(self.look())
            time.sleep(_INTERVAL_S)
        return recovery.missing

    def wait(self, seconds: float) -> None:
        """Wait, and look at what is written down meanwhile."""
        deadline = now() + seconds
        while (left := deadline - now()) > 0:
            self.look()
            time.sleep(min(_INTERVAL_S, left))

    def look(self) -> list[AnyEntry]:
        """Return the new entries of the record; start processes again that ended by themselves."""
        for name, process in self._scene.processes.items():
            if name not in self.down and process.exit_code is not None:
                self.ended(name, f"ended with {process.exit_code}")
                self._scene.start(process)
        new = self._reader.new()
        self._entries += new
        return new

    def ended(self, name: str, reason: str) -> None:
        """Write down that a process ended, or did something else that it never should."""
        self._writer.write(Ended(at=now(), by=_BY, process=name, reason=reason))

    def write_store_down(self) -> None:
        began = now()
        members = asyncio.run(self._members())
        self._writer.write(Stored(at=now(), by=_BY, began=began, members=members))

    def write_journals_down(self) -> None:
        """Write down what is in the journals at the end; here there are none."""

    async def _members(self) -> dict[str, list[str]]:
        # Not through the package, which could be wrong in the same way twice.
        async with redis.asyncio.Redis(
            port=self._scene.redis.port, decode_responses=True
        ) as client:
            return {
                topic: sorted(
                    map(str, await client.smembers(f"{self._scene.key_prefix}topic:{topic}"))
                )
                for topic in self._scene.topics
            }

    def missing(self) -> list[str]:
        """Return a line for each message that must arrive and has not yet."""
        return missing_copies(self._entries)

    def finish(self) -> Verdict:
        """Stop asking, let everything arrive, and judge."""
        scene = self._scene
        asking = [*scene.publishers, *scene.posters, "registrar"]
        self.down.update(asking)
        for name in asking:
            scene.processes[name].terminate()
        for name in asking:
            try:
                scene.processes[name].wait(_END_LIMIT_S)
            except AssertionError:
                # Its request is not answered.
                self.ended(name, _TOO_SLOW)
                scene.processes[name].kill()
        deadline = now() + self._limit_s
        received = -1
        while now() < deadline:
            # Another look after the last has come: there may be one too many.
            self.wait(_QUIET_S)
            if len(self._entries) == received and not self.missing():
                break
            received = len(self._entries)
        self.write_store_down()
        self.write_journals_down()
        for name, process in scene.processes.items():
            for text in _NEVER_LOGGED:
                if (
                    name.startswith(("daemon", *asking, "subscriber", *scene.readers))
                    and text in process.log
                ):
                    self.ended(name, f"logged {text!r}")
            if name.startswith("daemon"):
                for line in naming.lines(name, process.log):
                    self._writer.write(line)
        self.look()
        return check(
            sorted(self._entries, key=lambda entry: entry.at), recovery_limit_s=self._limit_s
        )
