# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A soak: steady traffic for long, all connections reset now and then, and what is used up.

``python -m gearhorn.tests.ledger.soak``; ``tools/run-soak`` installs what it needs first. What was
published and received is judged as in a run under faults.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gearhorn.tests.ledger import usage
from gearhorn.tests.ledger.checker import Verdict
from gearhorn.tests.ledger.plot import draw
from gearhorn.tests.ledger.runner import Runner, say
from gearhorn.tests.ledger.scene import KEY_PREFIX, Scene
from gearhorn.tests.ledger.usage import Usage

MAX_GROWTH = {
    # Of what stands at the start, and in any case.
    "resident_kib": (0.05, 2048),
    "files": (0.0, 8),
    "threads": (0.0, 1),
    "keys": (0.0, 40),
}
"""The growth that is allowed until the end: a share, or a number, whichever is more."""


class Soak:
    """Runs a scene without faults but for resets.

    :param say: takes lines for people.
    :param reset_every_s: after so many seconds all connections are reset.
    :param sample_every_s: after so many seconds everybody's usage is taken.
    """

    def __init__(
        self,
        scene: Scene,
        say: Callable[[str], object],
        *,
        reset_every_s: float,
        sample_every_s: float,
    ) -> None:
        self._scene = scene
        self._say = say
        self._reset_every_s = reset_every_s
        self._sample_every_s = sample_every_s
        self._runner = Runner(scene, say, recovery_limit_s=30.0, calm_s=0.0)
        self.samples: list[Usage] = []
        self.resets: list[float] = []

    def run(self, seconds: float) -> Verdict:
        """Soak for so long; what the ledger says of it."""
        self._runner.wait_until_it_works()
        started = time.monotonic()
        reset_at = self._reset_every_s
        while (at := time.monotonic() - started) < seconds:
            self._sample(at)
            if at >= reset_at:
                self.resets.append(at)
                reset_at += self._reset_every_s
                self._runner.reset_everything()
            self._runner.wait(self._sample_every_s)
        return self._runner.finish()

    def _sample(self, at: float) -> None:
        scene = self._scene
        for name, process in scene.processes.items():
            if name.startswith(("daemon", "publisher", "subscriber")):
                self.samples.append(usage.of_process(at, name, process))
        self.samples.append(usage.of_store(at, scene.redis.port, KEY_PREFIX))


def growths(samples: list[Usage], quantities: tuple[str, ...]) -> list[str]:
    """Return a sentence for each quantity that has grown more than it may."""
    found = []
    for who in usage.names(samples):
        for quantity in quantities:
            share, number = MAX_GROWTH[quantity]
            trend = usage.trend(samples, who, quantity)
            if trend.growth > max(share * trend.first, number):
                found.append(f"{quantity} of {who} grew from {trend.first:g} to {trend.last:g}")
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run-soak",
        description="Run gearhorn under a steady load for long. Ends with 1 if something grows "
        "or a promise was broken.",
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (default: 20)")
    parser.add_argument(
        "--reset-every", type=float, default=60.0, help="seconds between resets (default: 60)"
    )
    parser.add_argument("--record", type=Path, help="the directory of the record; it is kept")
    parser.add_argument("--csv", type=Path, help="write the samples to that file")
    parser.add_argument("--plot", type=Path, help="draw them into that file, as SVG")
    return parser.parse_args()


def main() -> int:
    options = parse()
    record = options.record or Path(tempfile.mkdtemp(prefix="gearhorn-soak-"))
    record.mkdir(parents=True, exist_ok=True)
    say(f"the record is in {record}")
    # As it is configured by default, but for the pace of the programs.
    scene = Scene(record, pause=0.05, queue="builtin", daemon_options={})
    try:
        soak = Soak(scene, say, reset_every_s=options.reset_every, sample_every_s=5.0)
        verdict = soak.run(60 * options.minutes)
    finally:
        scene.close()
    found = growths(soak.samples, tuple(MAX_GROWTH))
    say(f"{options.minutes:g} minutes, {len(soak.resets)} times all connections were reset")
    say(usage.table(soak.samples))
    say("\n".join(found) or "nothing grows")
    say(str(verdict))
    if options.csv:
        usage.write(soak.samples, options.csv)
    if options.plot:
        draw(soak.samples, soak.resets, options.plot)
    return 1 if found or verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
