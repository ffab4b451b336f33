# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Steps of the wall clock: no decision of a daemon rests on it, but for SQLite's expiry."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gearhorn
from gearhorn import clock
from gearhorn.tests.functional.clocks import DAY_S, Step
from gearhorn.tests.functional.fleet import NOBODY_GOES_BY_TIME, SHORT, Fleet
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Redis


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


def test_the_wall_clock_of_a_daemon_is_set(fleet: Fleet, step: Step) -> None:
    # Lists grow old soon, and a daemon that is slow on a busy machine is not taken for dead.
    leases: dict[str, Any] = {**SHORT, "matchmaking.daemon_ttl": 3}
    one = fleet.add("one", **leases)
    other = fleet.add("other", environment=step.environment, **leases)
    redis: Redis = fleet.fixture("redis_server")
    one.register(fleet.topic, "bob", ttl=3600)
    count = 1
    for seconds in (DAY_S, -DAY_S):
        assert other.reached(fleet.topic) == count
        step.to(seconds)
        other.register(fleet.topic, f"alice{seconds}", ttl=3600)
        one.register(fleet.topic, f"carol{seconds}")
        count += 2
        assert [member.reached(fleet.topic) for member in (one, other)] == [count, count]
        # The lists still grow old, as one learns from what nobody is told of.
        redis.ask("SADD", f"{fleet.key_prefix}topic:{fleet.topic}", f"dave{seconds}")
        count += 1
        eventually(lambda: other.reached(fleet.topic) == count)  # noqa: B023
    # Longer than daemon_ttl: nobody is taken for dead, nothing has expired.
    time.sleep(3.3)
    assert fleet.entries() == {one.worker_id, other.worker_id}
    assert other.reached(fleet.topic) == count
    for member in (one, other):
        assert not member.said("has not renewed its entry")
        assert not member.said("joining again")
        assert not member.said("subscriptions expired")
    # Its own log shows that the clock was set.
    assert other.daemon.stop() == 0
    (line,) = (line for line in other.daemon.log.splitlines() if "SIGTERM: draining" in line)
    assert line.split()[0] == time.strftime("%Y-%m-%d", time.localtime(time.time() - DAY_S))


def test_a_list_is_used_for_as_long_as_ever_when_the_wall_clock_is_set(
    fleet: Fleet, step: Step
) -> None:
    one = fleet.add("one", environment=step.environment, **NOBODY_GOES_BY_TIME)
    redis: Redis = fleet.fixture("redis_server")
    assert one.reached(fleet.topic) == 0
    redis.ask("SADD", f"{fleet.key_prefix}topic:{fleet.topic}", "bob")
    for seconds in (DAY_S, -DAY_S, 0):
        step.to(seconds)
        assert one.reached(fleet.topic) == 0


def test_the_daemons_clock_counts_suspension_and_is_never_set() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= clock.now() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def _wall_clocks(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in ("time.time", "time.time_ns", "time.CLOCK_REALTIME", "time.localtime"):
                yield name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if "datetime" in names or getattr(node, "module", None) == "datetime":
                yield "datetime"


def test_nothing_but_what_expires_in_sqlite_reads_the_wall_clock() -> None:
    package = Path(gearhorn.__file__).parent
    readers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if package / "tests" not in path.parents
        and list(_wall_clocks(ast.parse(path.read_text("utf-8"))))
    }
    # Subscriptions expire by it there, as by the server's in Redis.
    in_sqlite = {"store/sqlite.py", "store/sqlite_endings.py"}
    # Messages of a journal, too.
    in_sqlite |= {"store/sqlite_journal.py", "store/sqlite_append.py"}
    # People read when a letter died, when a line was logged, and when a sample was taken.
    shown = {"client/dead_letters.py", "cmd/cli/dead.py", "service/site.py"}
    assert readers == in_sqlite | shown | {"daemon/guard/sampler.py"}
