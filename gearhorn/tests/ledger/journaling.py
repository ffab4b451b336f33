# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Rounds in which everybody is killed while topics have journals.

Two more kinds of programs take part: subscribers with a position, and readers. With
``appendfsync`` ``always`` Redis is killed with SIGKILL. With ``everysec`` it is cut from its power:
it is killed too, and then the end of its file is gone, which a disk did not have for sure: all that
was written in a moment of up to a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import redis.asyncio

from gearhorn.tests.ledger import journals
from gearhorn.tests.ledger.actor import Actor, FollowerPart, Part
from gearhorn.tests.ledger.forgetting import OPTIONS
from gearhorn.tests.ledger.record import Contents, digest_of, name_of, now
from gearhorn.tests.ledger.runner import Runner
from gearhorn.tests.ledger.scene import Scene
from gearhorn.tests.ledger.schedule import Fault
from gearhorn.tests.servers import Redis

APPENDFSYNC = ("always", "everysec")
STORES = ("redis", "sqlite")
FEW = 100
"""The messages that the journal of the last topic holds; the others hold all."""
_MANY = 1_000_000
_LASTS_S = (0.0, 1.5)
_CUT_S = (0.0, 1.0)
"""How much of what it wrote last a Redis without power has lost."""
_POSTPONED_S = 2.5
"""Redis answers for so long before it writes, while an earlier sync is not done."""

_Journal = tuple[str, str, Sequence[tuple[int, bytes]]]
"""A topic, the id of its journal, and the messages there."""


class JournalScene(Scene):
    """A scene whose topics have journals.

    :param appendfsync: that of Redis.
    :param store: where the journals are: in Redis as all else, or in an SQLite file.
    :param followers: the number of subscribers with a position.
    :param tailers: the number of readers.
    """

    def __init__(
        self,
        record: Path,
        *,
        appendfsync: str = "always",
        store: str = "redis",
        followers: int = 2,
        tailers: int = 1,
        pause: float = 0.1,
        topics: int = 3,
        **options: object,
    ) -> None:
        self._appendfsync = appendfsync
        self._is_in_file = store == "sqlite"
        self.cuts: list[tuple[float, float]] = []
        """Since when Redis may have lost what it was sent, and when it was killed."""
        patterns = f"topic{topics - 1}?max_messages={FEW}, topic*?max_messages={_MANY}"
        given = {
            "daemon_options": {**OPTIONS, "journal.topics": patterns},
            "passing": 5,
            "at_once": 2,
            "posters": 1,
            "ttl": None,
            "renew": 1.0,
            "retries": 3,
            **options,
        }
        super().__init__(record, topics=topics, pause=pause, **given)  # type: ignore[arg-type]
        try:
            for number in range(followers):
                self._add_follower(f"follower-{number}")
            for number in range(tailers):
                name = f"tailer-{number}"
                self._add(name, Actor("tailer", Part(**self._part(name))))
                self.readers.append(name)
        except BaseException:
            self.close()
            raise

    def most(self, topic: str) -> int:
        """Return the most messages that the topic's journal may hold."""
        return FEW if topic == self.topics[-1] else _MANY

    @property
    def file(self) -> Path | None:
        """The file in which the journals are, if they are in one."""
        return self._scratch / "journals.db" if self._is_in_file else None

    @property
    def targets(self) -> dict[str, float]:
        weights = {"redis": 2.0, "follower": 1.5, "subscriber": 0.5}
        return {
            name: weights.get(name.partition("-")[0], weight)
            for name, weight in super().targets.items()
            if name in self.processes
        }

    def begin(self, fault: Fault) -> None:
        if fault.target == "redis" and self._appendfsync != "always":
            self._cut_power()
        else:
            super().begin(fault)

    def _cut_power(self) -> None:
        server = self.redis
        (file,) = (server.directory / "appendonlydir").glob("*.incr.aof")
        safe_bytes = file.stat().st_size
        since = now() - _POSTPONED_S
        time.sleep(random.uniform(*_CUT_S))
        server.kill()
        self.cuts.append((since, now()))
        with file.open("r+b") as opened:
            opened.truncate(safe_bytes)

    def _add_follower(self, name: str) -> None:
        part = FollowerPart(
            **self._part(name),
            positions=str(self._scratch / name),
            max_waiting=100,
            check_interval=0.5,
            renew=1.0,
        )
        self._add(name, Actor("follower", part))
        self.readers.append(name)

    def _new_redis(self) -> Redis:
        return Redis(
            appendonly="yes", appendfsync=self._appendfsync, auto_aof_rewrite_percentage="0"
        )

    def _own_options(self, number: int) -> Mapping[str, object]:
        # All of them may be killed at once.
        own: dict[str, object] = {"service.state_dir": self._scratch / f"state-{number}"}
        return own | ({} if self.file is None else {"journal.url": f"sqlite://{self.file}"})


class Kills:
    """Draws rounds of kills, the same for the same seed; some are orderly ends.

    :param targets: what can be killed, and how often in proportion to the others.
    :param pause: how long after one the next begins, on the average, in seconds.
    """

    def __init__(self, seed: int, targets: Mapping[str, float], pause: float) -> None:
        self._random = random.Random(seed)
        self._targets = targets
        self._pause = pause
        self._count = 0
        self._untried = [*targets]
        self._random.shuffle(self._untried)

    def round(self, count: int) -> list[Fault]:
        """The next kills; none hits a target that is not up again."""
        up_at: dict[str, float] = {}
        faults = []
        begins = 0.0
        for _ in range(count):
            target = self._draw()
            begins += self._random.expovariate(1 / self._pause)
            begins = max(begins, up_at.get(target, 0.0))
            ends = up_at[target] = begins + self._random.uniform(*_LASTS_S)
            may_end = target.startswith(("daemon", "follower", "tailer"))
            kind = "restart" if may_end and self._random.random() < 0.15 else "kill"
            faults.append(Fault(self._count, begins, ends, kind, target, 0))
            self._count += 1
        return faults

    def _draw(self) -> str:
        if self._untried and self._random.random() < 0.5:
            return self._untried.pop()
        (target,) = self._random.choices([*self._targets], [*self._targets.values()])
        return target


class JournalRunner(Runner):
    """Runs a scene with journals."""

    _scene: JournalScene

    def write_store_down(self) -> None:
        scene = self._scene
        for since, began in scene.cuts:
            # As if an older dump was brought back.
            self.forgot("restored", began=began, since=since)
        scene.cuts.clear()
        super().write_store_down()

    def write_journals_down(self) -> None:
        for contents in self._contents():
            self._writer.write(contents)

    def missing(self) -> list[str]:
        return super().missing() or journals.unseen(self._entries, self._contents())

    def _contents(self) -> Sequence[Contents]:
        # Not through the package, which could be wrong in the same way twice.
        file = self._scene.file
        found = asyncio.run(self._read()) if file is None else self._read_file(file)
        return [
            Contents(
                at=now(),
                by="runner",
                topic=topic,
                journal=journal,
                after=0,
                most=self._scene.most(topic),
                messages=[
                    (sequence, name_of(payload), digest_of(payload))
                    for sequence, payload in payloads
                ],
            )
            for topic, journal, payloads in found
        ]

    async def _read(self) -> Sequence[_Journal]:
        scene = self._scene
        found = []
        async with redis.asyncio.Redis(port=scene.redis.port) as client:
            for topic in scene.topics:
                head = f"{scene.key_prefix}journal_head:{topic}"
                # Its types are those of all protocols and settings.
                journal: Any = await client.hget(head, "id")
                entries: Any = await client.xrange(f"{scene.key_prefix}journal:{topic}")
                payloads = [(int(id_.partition(b"-")[0]), each[b"p"]) for id_, each in entries]
                found.append((topic, journal.decode(), payloads))
        return found

    def _read_file(self, file: Path) -> Sequence[_Journal]:
        found = []
        with contextlib.closing(sqlite3.connect(file, timeout=20)) as db:
            for topic in self._scene.topics:
                number, journal = db.execute(
                    "SELECT journal, id FROM journals WHERE topic = ?", (topic,)
                ).fetchone()
                rows = db.execute(
                    "SELECT sequence, payload FROM journal_messages WHERE journal = ?"
                    " ORDER BY sequence",
                    (number,),
                )
                found.append((topic, journal, rows.fetchall()))
        return found
