# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The command line of the ledger; ``tools/run-ledger`` installs what it needs first."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from gearhorn.tests.ledger.checker import Verdict, check
from gearhorn.tests.ledger.clustered import ClusterScene
from gearhorn.tests.ledger.durability import measure
from gearhorn.tests.ledger.filling import FillableScene, Filling
from gearhorn.tests.ledger.forgetting import KINDS, ForgetfulScene, Forgetting
from gearhorn.tests.ledger.journaling import (
    APPENDFSYNC,
    STORES,
    JournalRunner,
    JournalScene,
    Kills,
)
from gearhorn.tests.ledger.record import read
from gearhorn.tests.ledger.runner import Runner, say
from gearhorn.tests.ledger.scene import Scene
from gearhorn.tests.ledger.schedule import Schedule


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run-ledger",
        description="Break processes and the network under a running gearhorn, write down what "
        "was asked, answered and received, and judge it. Ends with 1 if a promise was broken.",
    )
    parser.add_argument("--seed", type=int, help="repeat the schedule of a run")
    parser.add_argument("--faults", type=int, default=240, help="how many (default: 240)")
    parser.add_argument("--per-round", type=int, default=12, help="how many in a row (default: 12)")
    parser.add_argument(
        "--pause", type=float, default=1.0, help="seconds from one to the next (default: 1)"
    )
    parser.add_argument(
        "--recovery", type=float, default=30.0, help="seconds in which all works (default: 30)"
    )
    parser.add_argument("--daemons", type=int, default=3)
    parser.add_argument("--publishers", type=int, default=2)
    parser.add_argument("--subscribers", type=int, default=3)
    parser.add_argument(
        "--passing", type=int, default=4, help="subscribers that come and go, at a time"
    )
    parser.add_argument(
        "--rest", type=float, default=0.15, help="seconds between messages (default: 0.15)"
    )
    parser.add_argument(
        "--queue",
        choices=["libsqlite3", "builtin"],
        default="libsqlite3",
        help="gearmand's; builtin loses all at a restart, which shows what the checker finds",
    )
    parser.add_argument(
        "--forget",
        type=int,
        metavar="ROUNDS",
        help="instead, have the store emptied, evicted from, restored or swapped so often while "
        "daemons start and stop",
    )
    parser.add_argument(
        "--only", choices=KINDS, action="append", help="with --forget: rounds of this kind alone"
    )
    parser.add_argument(
        "--store",
        choices=["redis", "cluster"],
        default="redis",
        help="cluster: three nodes and a replica, whose slot is moved and changes its master",
    )
    parser.add_argument(
        "--fill",
        type=int,
        metavar="ROUNDS",
        help="instead, have subscribers stay away so often until their queues are full",
    )
    parser.add_argument(
        "--journal",
        type=int,
        metavar="ROUNDS",
        help="instead, give the topics journals, and kill everybody, --per-round in each round",
    )
    parser.add_argument(
        "--appendfsync",
        choices=APPENDFSYNC,
        default="always",
        help="with --journal: that of Redis; with everysec it loses what it wrote last",
    )
    parser.add_argument(
        "--journals",
        choices=STORES,
        default="redis",
        help="with --journal: where they are; an SQLite file outlives all that is killed",
    )
    parser.add_argument("--record", type=Path, help="the directory of the record; it is kept")
    parser.add_argument("--check", type=Path, help="only judge the record in that directory")
    parser.add_argument(
        "--durability",
        type=int,
        metavar="KILLS",
        help="only ask a bare client what gearmand loses when it is killed so often",
    )
    return parser.parse_args()


def run(options: argparse.Namespace, seed: int, record: Path) -> Verdict:
    """Break processes and the network."""
    kind = ClusterScene if options.store == "cluster" else Scene
    scene = kind(
        record,
        daemons=options.daemons,
        publishers=options.publishers,
        subscribers=options.subscribers,
        passing=max(25, 2 * options.passing),
        at_once=options.passing,
        pause=options.rest,
        queue=options.queue,
    )
    try:
        runner = Runner(scene, say, recovery_limit_s=options.recovery, calm_s=5.0)
        schedule = Schedule(seed, scene.targets, options.pause)
        return runner.run(schedule, faults=options.faults, per_round=options.per_round)
    finally:
        scene.close()


def forget(options: argparse.Namespace, seed: int, record: Path) -> Verdict:
    """Have the store forget."""
    scene = ForgetfulScene(
        record,
        daemons=options.daemons,
        publishers=options.publishers,
        subscribers=options.subscribers,
        pause=options.rest,
    )
    kinds = options.only or list(KINDS)
    try:
        forgetting = Forgetting(
            scene, say, seed=seed, recovery_limit_s=options.recovery, calm_s=1.0
        )
        return forgetting.run([kinds[number % len(kinds)] for number in range(options.forget)])
    finally:
        scene.close()


def fill(options: argparse.Namespace, seed: int, record: Path) -> Verdict:
    """Have queues filled to their limits."""
    scene = FillableScene(
        record,
        daemons=options.daemons,
        publishers=options.publishers,
        subscribers=options.subscribers,
    )
    try:
        filling = Filling(scene, say, seed=seed, recovery_limit_s=options.recovery, calm_s=1.0)
        return filling.run(options.fill)
    finally:
        scene.close()


def journal(options: argparse.Namespace, seed: int, record: Path) -> Verdict:
    """Have everybody killed while topics have journals."""
    scene = JournalScene(
        record,
        appendfsync=options.appendfsync,
        store=options.journals,
        daemons=options.daemons,
        publishers=options.publishers,
        subscribers=options.subscribers,
        pause=options.rest,
    )
    try:
        runner = JournalRunner(scene, say, recovery_limit_s=options.recovery, calm_s=0.5)
        kills = Kills(seed, scene.targets, options.pause)
        return runner.run(
            kills, faults=options.journal * options.per_round, per_round=options.per_round
        )
    finally:
        scene.close()


def main() -> int:
    options = parse()
    if options.durability:
        say(str(measure(options.durability, options.queue)))
        return 0
    if options.check:
        verdict = check(read(options.check), recovery_limit_s=options.recovery)
    else:
        seed = random.randrange(2**31) if options.seed is None else options.seed
        record = options.record or Path(tempfile.mkdtemp(prefix="gearhorn-ledger-"))
        record.mkdir(parents=True, exist_ok=True)
        say(f"seed {seed}; the record is in {record}")
        started = time.monotonic()
        modes = {forget: options.forget, fill: options.fill, journal: options.journal}
        mode = next((each for each, asked in modes.items() if asked), run)
        verdict = mode(options, seed, record)
        say(f"seed {seed}, {time.monotonic() - started:.0f} s")
    say(str(verdict))
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
