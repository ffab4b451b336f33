# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Rounds in which the store forgets, or is another one, while daemons start and stop.

============  ==========================================  ==================================
the store is  by                                          and then
============  ==========================================  ==================================
emptied       ``FLUSHALL``                                an older dump is brought back, or
                                                          the empty store is accepted
evicted from  keys that are deleted one by one            what cannot be rebuilt is accepted
restored      an older dump, with which Redis starts      nothing
swapped       another store at its address, for all       the store is back at its address,
              daemons or for some                         or the other one is accepted
============  ==========================================  ==================================

At each time a daemon runs that knows the store: one that starts waits, or is ready, before the
next is ended. Where none does, only a state directory can tell
(:mod:`gearhorn.daemon.trust.opening`).
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import redis

from gearhorn.store.redis import RedisStore
from gearhorn.tests import forkserver
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.ledger.checker import Verdict
from gearhorn.tests.ledger.record import now
from gearhorn.tests.ledger.recovery import Recovery
from gearhorn.tests.ledger.runner import Runner
from gearhorn.tests.ledger.scene import DAEMON_OPTIONS, KEY_PREFIX, Scene
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Redis

KINDS = ("emptied", "evicted", "restored", "swapped")

OPTIONS: Mapping[str, object] = {
    **DAEMON_OPTIONS,
    "matchmaking.cache_ttl": 0.5,
    "matchmaking.daemon_ttl": 2,
    # A frozen server is not the subject, and a busy machine is no server that is lost.
    "gearman.liveness_timeout": 30,
    "store.timeout": 5,
    "service.drain_timeout": 0.5,
}
_WAITS = "jobs wait. Restore"
"""In the lines of a daemon that waits for somebody to restore or accept the store."""


class ForgetfulScene(Scene):
    """A scene with another store beside the one that is used."""

    def __init__(self, record: Path, *, pause: float = 0.1, **options: object) -> None:
        self._states = record / "states"
        self._states.mkdir(exist_ok=True)
        given = {"daemon_options": OPTIONS, "posters": 1, "ttl": None, "renew": 1.0, **options}
        super().__init__(record, pause=pause, **given)  # type: ignore[arg-type]
        self._add("spare", self._new_redis())
        asyncio.run(self._fill_spare())

    @property
    def spare(self) -> Redis:
        spare = self.processes["spare"]
        assert isinstance(spare, Redis)
        return spare

    @property
    def daemons(self) -> list[str]:
        return [name for name in self.processes if name.startswith("daemon")]

    def daemon(self, name: str) -> Daemon:
        daemon = self.processes[name]
        assert isinstance(daemon, Daemon)
        return daemon

    def _new_redis(self) -> Redis:
        # It keeps what SAVE writes.
        return Redis()

    def _own_options(self, number: int) -> Mapping[str, object]:
        # Every other one is a container without a state directory.
        return {} if number % 2 else {"service.state_dir": self._states / str(number)}

    async def _fill_spare(self) -> None:
        """Make it the store of somebody else."""
        store = RedisStore(
            self.spare.url, key_prefix=KEY_PREFIX, matchmaking_topic="__matchmaking", timeout=5
        )
        try:
            await store.open()
            await store.add("another", "stranger", None)
        finally:
            await store.close()

    def direct(self, name: str, server: Redis) -> None:
        """Have a daemon find another server at the address of its store."""
        proxy = self.proxies[name.replace("daemon", "net-store")]
        proxy.target_port = server.port
        proxy.reset()

    def take_spare(self) -> None:
        """Have the spare be the store from now on, and the store be spare."""
        processes = self.processes
        processes["redis"], processes["spare"] = processes["spare"], processes["redis"]


class Forgetting:
    """Runs rounds on a scene.

    :param say: takes lines for people.
    :param actions: how many daemons are ended and started in a round.
    :param pause_s: the mean pause before each of these.
    """

    def __init__(
        self,
        scene: ForgetfulScene,
        say: Callable[[str], object],
        *,
        seed: int,
        recovery_limit_s: float,
        calm_s: float,
        actions: int = 3,
        pause_s: float = 0.5,
    ) -> None:
        self._scene = scene
        self._say = say
        self._random = random.Random(seed)
        self._limit_s = recovery_limit_s
        self._calm_s = calm_s
        self._actions = actions
        self._pause_s = pause_s
        self._runner = Runner(scene, say, recovery_limit_s=recovery_limit_s, calm_s=calm_s)
        self._dump = scene.record / "dump.rdb"
        self._saved = 0.0
        self._accept_said = ""

    def run(self, kinds: Iterable[str]) -> Verdict:
        """Have the rounds, and judge what came of them."""
        self._runner.wait_until_it_works()
        for kind in kinds:
            try:
                getattr(self, f"_have_it_{kind}")()
            except AssertionError as error:
                self._runner.ended("operator", f"cannot go on: {error}")
                break
            self._runner.heal()
            self._runner.write_store_down()
            self._runner.wait(self._calm_s)
        return self._runner.finish()

    # The rounds.

    def _have_it_emptied(self) -> None:
        self._save()
        self._pause()
        began = self._begin("emptied", "redis")
        self._scene.redis.ask("FLUSHALL")
        self._end_and_start_daemons()
        if self._random.random() < 0.5:
            self._say("    an older dump is brought back")
            self._bring_back()
            self._runner.forgot("emptied", began=began, since=self._saved)
        else:
            self._accept()
            self._runner.forgot("emptied", began=began)

    def _have_it_evicted(self) -> None:
        began = self._begin("evicted", "redis")
        logs = self._logged()
        with redis.Redis(port=self._scene.redis.port, decode_responses=True) as client:
            keys = [str(key) for key in client.scan_iter(f"{KEY_PREFIX}*")]
            # A few mostly, of which more can be rebuilt.
            most = self._random.choice((3, 3, len(keys)))
            keys = self._random.sample(keys, self._random.randint(1, most))
            for key in keys:
                self._say(f"    {key}")
                client.delete(key)
                # Others are gone before any daemon has looked.
                if self._random.random() < 0.5:
                    self._pause(0.4)
        self._end_and_start_daemons()
        self._accept_if_they_wait(logs)
        # All else can be rebuilt from claims.
        if f"{KEY_PREFIX}claims" in keys:
            self._runner.forgot("evicted", began=began)

    def _have_it_restored(self) -> None:
        self._save()
        self._pause()
        self._end_and_start_daemons()
        began = self._begin("restored", "redis")
        self._bring_back()
        self._runner.forgot("restored", began=began, since=self._saved)
        self._end_and_start_daemons()

    def _have_it_swapped(self) -> None:
        scene = self._scene
        hit = self._random.sample(scene.daemons, self._random.randint(1, len(scene.daemons)))
        everywhere = len(hit) == len(scene.daemons)
        began = self._begin("swapped", ", ".join(sorted(hit)))
        for name in hit:
            scene.direct(name, scene.spare)
        self._end_and_start_daemons()
        if everywhere and self._random.random() < 0.5:
            self._accept()
            scene.take_spare()
            self._runner.forgot("swapped", began=began)
        else:
            self._say("    the store is back at its address")
            for name in hit:
                scene.direct(name, scene.redis)

    # What they are made of.

    def _begin(self, kind: str, target: str) -> float:
        self._say(f"  {kind} {target}")
        return self._runner.begin(kind, target)

    def _pause(self, part: float = 1.0) -> None:
        self._runner.wait(self._random.uniform(0, 2 * part * self._pause_s))

    def _end_and_start_daemons(self) -> None:
        for _ in range(self._actions):
            self._pause()
            name = self._random.choice(self._scene.daemons)
            kind = self._random.choice(("kill", "restart"))
            self._begin(kind, name)
            self._runner.down.add(name)
            daemon = self._scene.daemon(name)
            daemon.kill() if kind == "kill" else daemon.stop()
            before = len(daemon.log)
            self._scene.start(daemon)
            self._runner.down.discard(name)
            self._until(lambda: _has_looked(daemon.log[before:]))  # noqa: B023 - called at once

    def _until(self, condition: Callable[[], object]) -> None:
        def look() -> object:
            self._runner.wait(0.01)
            return condition()

        eventually(look, self._limit_s)

    def _save(self) -> None:
        assert self._scene.redis.ask("SAVE").startswith("+OK")
        shutil.copy(self._scene.redis.directory / "dump.rdb", self._dump)
        self._saved = now()

    def _bring_back(self) -> None:
        server = self._scene.redis
        self._runner.down.add("redis")
        server.kill()
        shutil.copy(self._dump, server.directory / "dump.rdb")
        server.start()
        self._runner.down.discard("redis")

    def _accept(self) -> None:
        self._until(self._accepted)

    def _accepted(self) -> bool:
        """Give the word, as an operator does; it is refused while a daemon still serves."""
        config = self._scene.daemon("daemon-0").config_file
        done = forkserver.run(
            "gearhorn-fanout", ["--config", str(config), "--accept-store"], environment=os.environ
        )
        said = (done.stdout or done.stderr).decode().strip()
        if said != self._accept_said:
            self._accept_said = said
            self._say(f"    {said}")
        return done.returncode == 0

    def _accept_if_they_wait(self, logs: Mapping[str, int]) -> None:
        """Give the word whenever a daemon has said since then that it waits for it."""
        scene = self._scene
        recovery = Recovery(now(), scene.publishers, scene.topics, scene.standing)

        def works() -> bool:
            nonlocal logs
            recovery.feed(self._runner.look())
            said = self._logged()
            if any(_WAITS in scene.daemon(name).log[logs[name] :] for name in scene.daemons):
                self._accept()
            logs = said
            return not recovery.missing

        self._until(works)

    def _logged(self) -> Mapping[str, int]:
        return {name: len(self._scene.daemon(name).log) for name in self._scene.daemons}


def _has_looked(log: str) -> bool:
    """Return true if a daemon that starts has seen who else is there."""
    return " is ready" in log or _WAITS in log
