# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Daemons whose store is a Redis Cluster, of which masters die and slots move."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gearhorn.store.redis_cluster import slot_of, tagged
from gearhorn.tests.clusters import Cluster
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.functional.diagnosis import doctor
from gearhorn.tests.functional.fleet import SHORT, Fleet, Member
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

QUICK: dict[str, Any] = {**SHORT, "store.timeout": 3}


@pytest.fixture
def members(fleet: Fleet, moving: Cluster) -> tuple[Member, Member]:
    """Two daemons, and a topic with one subscriber."""
    one, other = (fleet.add(name, store_url=moving.url, **QUICK) for name in ("one", "other"))
    one.register(fleet.topic, "bob")
    return one, other


@pytest.fixture
def slot(fleet: Fleet) -> int:
    return slot_of(tagged(fleet.key_prefix))


def test_a_master_of_a_cluster_that_dies(
    fleet: Fleet, moving: Cluster, members: tuple[Member, Member], slot: int
) -> None:
    one, other = members
    replica = moving.replicate(slot)
    key = f"{tagged(fleet.key_prefix)}topic:{fleet.topic}"
    eventually(lambda: replica.has_copied(key, "bob"))
    master = moving.holder(slot)

    master.kill()
    handle = one.start_registration(fleet.topic, "alice")
    published = other.start_fanout("cold")
    assert one.finish(handle, 30).completed
    assert other.finish(published, 30).completed

    assert [member.reached(fleet.topic) for member in members] == [2, 2]
    for member in members:
        member.until_it_says("The store is back after")
        assert member.daemon.log.count("The store is away; jobs wait") == 1
    assert moving.holder(slot) is replica
    master.start()


def test_a_slot_that_is_moved_under_registrations_and_fan_outs(
    fleet: Fleet, moving: Cluster, members: tuple[Member, Member], slot: int
) -> None:
    one, other = members
    for number in range(30):
        one.register(f"{fleet.topic}-{number}", "bob")
    source = moving.holder(slot)
    registered, published = [], []
    for number, _ in enumerate(moving.move(slot, moving.other_than(source))):
        registered.append(one.start_registration(fleet.topic, f"alice {number}"))
        published.append(other.start_fanout(f"{fleet.topic}-{number}"))
        # So that there is something to be asked for while a part has moved.
        time.sleep(0.02)
    for handle in registered:
        assert one.finish(handle, 30).completed
    for handle in published:
        outcome = other.finish(handle, 30)
        assert outcome.completed, outcome
        assert outcome.report["subscribers"] == 1
    assert [member.reached(fleet.topic) for member in members] == [1 + len(registered)] * 2
    assert moving.holder(slot) is not source
    for member in members:
        assert "Traceback" not in member.daemon.log


def test_doctor_says_what_to_ask_a_cluster_that_does_not_answer(
    moving: Cluster, daemon: NewDaemon, gearmand: Gearmand, key_prefix: str
) -> None:
    daemon(store_url=moving.url)
    assert set(doctor([gearmand.address]).findings) <= {"server-options"}
    with moving.nobody_serves(slot_of(tagged(key_prefix))):
        finding = doctor([gearmand.address]).only("store")
    assert finding["subject"] == "store_away"
    assert "redis-cli --cluster check" in finding["advice"]
