# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Rounds in which subscribers stay away until their queues are full.

=========  ============================================================
a round    what happens
=========  ============================================================
absent     a subscriber is killed
frozen     a subscriber is stopped with SIGSTOP: it counts as a worker
daemon     the same as absent; then a daemon is killed and starts again
server     the same; then a job server is killed and starts again
=========  ============================================================

The subscriber comes back when reports have named its queues as full, of each topic. Then it
is given what was queued, and nothing of what reports have called full.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from gearhorn.tests.ledger.checker import Verdict
from gearhorn.tests.ledger.record import Acknowledged, Attempt
from gearhorn.tests.ledger.runner import Runner
from gearhorn.tests.ledger.scene import DAEMON_OPTIONS, Scene
from gearhorn.tests.processes import eventually

KINDS = ("absent", "frozen", "daemon", "server")

OPTIONS: Mapping[str, object] = {
    **DAEMON_OPTIONS,
    "limits.max_waiting": 100,
    # A busy machine is no server that is lost.
    "gearman.liveness_timeout": 30,
    "store.timeout": 5,
    "service.drain_timeout": 0.5,
}


class FillableScene(Scene):
    """A scene with few subscribers that come and go, and limits that are soon reached."""

    def __init__(self, record: Path, *, pause: float = 0.01, **options: object) -> None:
        given: dict[str, object] = {
            "daemon_options": OPTIONS,
            "passing": 5,
            "at_once": 1,
            "foreground": 0.05,
            # Whoever waits for an absent receiver goes on soon, and fills its queue.
            "timeout": 0.5,
            **options,
        }
        super().__init__(record, pause=pause, **given)  # type: ignore[arg-type]

    def _add_registrar(
        self, passing: int, at_once: int, pause: float, ttl: float | None, renew: float | None
    ) -> None:
        # The daemons are to send messages, and not to read lists.
        super()._add_registrar(passing, at_once, 20 * pause, ttl, renew)


class Filling:
    """Runs rounds on a scene.

    :param say: takes lines for people.
    :param fill_limit_s: how long it may take until the queues of a subscriber are full.
    """

    def __init__(
        self,
        scene: FillableScene,
        say: Callable[[str], object],
        *,
        seed: int,
        recovery_limit_s: float,
        calm_s: float,
        fill_limit_s: float = 60.0,
    ) -> None:
        self._scene = scene
        self._say = say
        self._random = random.Random(seed)
        self._calm_s = calm_s
        self._fill_limit_s = fill_limit_s
        self._runner = Runner(scene, say, recovery_limit_s=recovery_limit_s, calm_s=calm_s)

    def run(self, rounds: int) -> Verdict:
        """Have so many rounds, one kind after the other, and judge what came of them."""
        self._runner.wait_until_it_works()
        for number in range(rounds):
            try:
                self._round(KINDS[number % len(KINDS)])
            except AssertionError as error:
                self._runner.ended("runner", f"cannot go on: {error}")
                break
            self._runner.heal()
            self._runner.write_store_down()
            self._runner.wait(self._calm_s)
        return self._runner.finish()

    def _round(self, kind: str) -> None:
        scene, runner = self._scene, self._runner
        number = self._random.randrange(len(scene.standing))
        name = f"subscriber-{number}"
        subscriber = scene.processes[name]
        self._say(f"  {kind} {name}")
        runner.down.add(name)
        runner.begin("freeze" if kind == "frozen" else "kill", name)
        subscriber.pause() if kind == "frozen" else subscriber.kill()
        self._wait_until_full(scene.standing[number])
        if kind in ("daemon", "server"):
            self._kill_one("daemon-" if kind == "daemon" else "gearmand-")
            # Whoever has only just started refuses as well.
            self._wait_until_full(scene.standing[number])
        if kind == "frozen":
            subscriber.resume()
        else:
            scene.start(subscriber)
        runner.down.discard(name)

    def _kill_one(self, prefix: str) -> None:
        scene, runner = self._scene, self._runner
        name = self._random.choice([name for name in scene.processes if name.startswith(prefix)])
        self._say(f"    kill {name}")
        runner.down.add(name)
        runner.begin("kill", name)
        scene.processes[name].kill()
        scene.start(scene.processes[name])
        runner.down.discard(name)

    def _wait_until_full(self, client_id: str) -> None:
        """Return when reports of messages that are sent from now on call all queues full."""
        waited_for = set(self._scene.topics)
        topics: dict[str, str] = {}

        def look() -> bool:
            for entry in self._runner.look():
                if isinstance(entry, Attempt):
                    topics[entry.message] = entry.topic
                elif isinstance(entry, Acknowledged) and client_id in entry.full:
                    waited_for.discard(topics.get(entry.message, ""))
            return not waited_for

        eventually(look, self._fill_limit_s)
