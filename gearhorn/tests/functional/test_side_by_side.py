# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The last release and this one, on one store and one job server, as in a rolling upgrade."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

import gearhorn
from gearhorn.tests.functional.fleet import SHORT, Fleet, Member
from gearhorn.tests.functional.test_endings import DISCARDS
from gearhorn.tests.processes import eventually

pytestmark = pytest.mark.once

LAST_RELEASE = "24409e3f0e2aa2f3e9885af30ee08161cdc41aeb"
"""The last commit of it."""


@pytest.fixture(scope="session")
def last_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package of the last release."""
    done = subprocess.run(
        ["git", "archive", LAST_RELEASE, "gearhorn"],
        cwd=Path(gearhorn.__file__).parents[1],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("the last release is not in this clone")
    directory = tmp_path_factory.mktemp("last-release")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory


def add_old(fleet: Fleet, last_release: Path, url: str | None) -> Member:
    """Start a daemon of the last release, which has no function to read journals."""
    options: dict[str, Any] = {**SHORT, "functions.read": None}
    environment = {"PYTHONPATH": f"{last_release}"}
    return fleet.add("old", store_url=url, environment=environment, **options)


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_no_topic_has_a_journal_while_the_last_release_runs(
    fleet: Fleet, last_release: Path, tmp_path: Path, kind: str
) -> None:
    url = None if kind == "redis" else f"sqlite://{tmp_path}/store.db"
    old = add_old(fleet, last_release, url)
    constants = {"gearhorn.daemon.journal.in_force.LOOK_S": 0.1}
    options: dict[str, Any] = {**SHORT, "journal.topics": "t*", "constants": constants}
    new = fleet.add("new", store_url=url, **options)
    new.until_it_says(f"which know of none: {old.worker_id}")
    assert "sequence" not in new.publish(fleet.topic)

    assert old.daemon.stop() == 0
    eventually(lambda: "sequence" in new.publish(fleet.topic))


@pytest.mark.parametrize("first", ["old", "new"])
@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_registrations_and_fan_outs_go_through_each(
    fleet: Fleet, last_release: Path, tmp_path: Path, first: str, kind: str
) -> None:
    url = None if kind == "redis" else f"sqlite://{tmp_path}/store.db"

    def add(name: str) -> Member:
        if name == "old":
            return add_old(fleet, last_release, url)
        return fleet.add(name, store_url=url, **SHORT)

    members = [add(name) for name in sorted(["old", "new"], key=lambda name: name != first)]
    for number, member in enumerate(members):
        member.register(fleet.topic, f"bob{number}")
        assert [other.reached(fleet.topic) for other in members] == [number + 1] * 2
    for number, member in enumerate(members):
        member.unregister(fleet.topic, f"bob{number}")
        assert [other.reached(fleet.topic) for other in members] == [1 - number] * 2

    # Each finds again what it left to the other.
    for member in members:
        assert member.daemon.stop() == 0
        member.daemon.start()
        member.register(fleet.topic, f"alice-{member.name}")
    assert [other.reached(fleet.topic) for other in members] == [2, 2]
    marks = [name for name in fleet.gearmand.admin.status() if "_store_" in name]
    assert len(marks) == 1
    eventually(lambda: fleet.gearmand.admin.queue(marks[0]).workers == 1)
    for member in members:
        assert "The store" not in member.daemon.log


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_nothing_is_discarded_while_the_last_release_runs(
    fleet: Fleet, last_release: Path, tmp_path: Path, kind: str
) -> None:
    url = None if kind == "redis" else f"sqlite://{tmp_path}/store.db"
    old = add_old(fleet, last_release, url)
    new = fleet.add("new", store_url=url, **DISCARDS)
    (queue,) = new.register_all(fleet.topic, ["bob"])
    new.publish(fleet.topic)
    new.unregister(fleet.topic, "bob")
    new.until_it_says(f"left is discarded while daemon {old.worker_id} runs")
    # It registers whoever it likes, and leaves the record. The queue is not the record's then.
    old.register(fleet.topic, "bob")
    assert old.daemon.stop() == 0
    assert new.reached(fleet.topic) == 1
    new.unregister(fleet.topic, "bob")
    eventually(lambda: fleet.gearmand.admin.queue(queue).total == 0)
