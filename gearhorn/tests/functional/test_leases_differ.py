# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A registration holds for daemons whose lists or entries last for another time."""

from __future__ import annotations

import time
from typing import Any

from gearhorn.tests.functional.fleet import Fleet
from gearhorn.tests.processes import eventually

LONG: dict[str, Any] = {"matchmaking.cache_ttl": 2.5, "matchmaking.daemon_ttl": 60}
BRIEF: dict[str, Any] = {"matchmaking.cache_ttl": 0.2, "matchmaking.daemon_ttl": 60}


def test_a_registration_waits_for_the_longest_list_of_any_daemon(fleet: Fleet) -> None:
    one, other = fleet.add("one", **LONG), fleet.add("other", **BRIEF)
    assert one.reached(fleet.topic) == 0
    one.daemon.pause()

    begun = time.monotonic()
    other.register(fleet.topic, "bob")

    assert time.monotonic() - begun >= 2.5 * 1.1
    other.daemon.kill()
    handle = one.start_fanout(fleet.topic)
    one.daemon.resume()
    assert one.finish(handle).report["subscribers"] == 1


def test_it_does_so_when_that_daemon_has_no_entry_any_more(fleet: Fleet) -> None:
    one, other = fleet.add("one", **LONG), fleet.add("other", **BRIEF)
    assert one.reached(fleet.topic) == 0
    one.daemon.pause()
    other.unregister("__matchmaking", one.worker_id)
    # Bars are for as long as its lists last.
    handle = one.start_fanout(fleet.topic)
    other.register(fleet.topic, "bob")
    one.daemon.resume()
    assert one.finish(handle).report["subscribers"] == 1


def test_an_entry_stands_for_as_long_as_its_daemon_says(fleet: Fleet) -> None:
    one = fleet.add("one", **{**LONG, "matchmaking.daemon_ttl": 8})
    other = fleet.add("other", **{**BRIEF, "matchmaking.daemon_ttl": 0.9})
    assert one.reached(fleet.topic) == 0
    one.daemon.pause()
    paused = time.monotonic()
    # By its own time, the other would have removed the entry.
    eventually(lambda: time.monotonic() - paused > 2)
    handle = one.start_fanout(fleet.topic)
    other.register(fleet.topic, "bob")
    one.daemon.resume()
    assert one.finish(handle).report["subscribers"] == 1
    assert not other.said("has not renewed its entry")

    one.daemon.pause()
    other.until_it_says(f"daemon {one.worker_id} has not renewed its entry for more than 8 seconds")
